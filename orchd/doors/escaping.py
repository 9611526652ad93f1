"""Undoes go-livepeer's second escaping of a path. Pure, and linear in its length.

go-livepeer takes a path that its client has escaped for plain text, and escapes it again: `a%20b` arrives as `a%2520b`.
What Go leaves in an escaped path and escapes in a plain one are these eight characters and no others, so those are what
is undone. None of them separates segments, ends a path or means a folder: the path leads where it led before, and is
checked after this like any other. Livepeer Node escapes once; its paths are passed on as they come.

Source: docs/protocol/live-runner.md, 4.3; docs/protocol/livepeer-node.md, 9.1.
"""

from __future__ import annotations

import re

_AGAIN = re.compile(r"%(25|21|27|28|29|2A|5B|5D)")
_PLAIN = {"25": "%", "21": "!", "27": "'", "28": "(", "29": ")", "2A": "*", "5B": "[", "5D": "]"}
_ESCAPED_ONCE = re.compile(r"%(?!25|21|27|28|29|2A|5B|5D)")
_NO_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def escaped_once(path: str) -> str:
    """Return the path as go-livepeer's client has escaped it.

    One that can't have been escaped twice is returned as it is: it holds other escapes, or what would be left is no
    escaped path.
    """
    if "%" not in path or _ESCAPED_ONCE.search(path):
        return path
    once = _AGAIN.sub(lambda found: _PLAIN[found[1]], path)
    return path if _NO_ESCAPE.search(once) else once

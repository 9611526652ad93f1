"""Where a runner's `Location` leads its caller. Pure.

A runner knows neither the address nor the path under which callers reach it. Where it names itself, what it names is
put below the URL that the caller knows; other addresses are none of ours, and pass as they are.
"""

from __future__ import annotations

import re

from orchd.domain.ids import Address, ModelKey
from orchd.errors import Code, JobRefused
from orchd.http1.names import LOWER
from orchd.http1.rules import AnswerHead

_URL = re.compile(rb"(?i:https?):(?://([^/?#]*))(.*)", re.DOTALL)
_LOCAL = frozenset({b"localhost", b"127.0.0.1", b"[::1]", b"0.0.0.0"})


def for_caller(answer: AnswerHead, key: ModelKey, address: Address, root: str) -> bytes | None:
    """Return the `Location` that the caller gets instead of the runner's; None = that may pass, or there is none.

    Args:
        address: of the runner.
        root: what leads from the URL of the caller's request to the root of the runner; ends with a slash.

    Raises:
        JobRefused: BACKEND_UNUSABLE: the runner has a base path, and this is outside of it.
    """
    said = next((value.strip(b" \t") for name, value in answer.headers if LOWER[name] == b"location"), b"")
    path = _own_path(said, address)
    if path is None:
        return None
    base = address.base_path.encode("latin-1")
    if base and path != base and not path.startswith((base + b"/", base + b"?", base + b"#")):
        raise JobRefused(
            Code.BACKEND_UNUSABLE,
            f"cannot pass on the answer of the runner of {key}: {answer.status}, it leads out of the base path of its "
            "url",
        )
    return root.encode("latin-1") + path[len(base) :].lstrip(b"/")


def _own_path(said: bytes, address: Address) -> bytes | None:
    """Return the path with all that follows, if it is one of the runner's own; None = it is relative, or elsewhere."""
    if said.startswith(b"/") and not said.startswith(b"//"):
        return said
    url = _URL.fullmatch(said)
    if url is None:
        return None
    host, colon, port = url[1].lower().rpartition(b":")
    if not colon or url[1].endswith(b"]"):
        host, port = url[1].lower(), b""
    own = f"[{address.host}]" if ":" in address.host else address.host
    same = host == own.lower().encode("ascii", "replace") and port in (b"", b"%d" % address.port)
    return (url[2] or b"/") if same or host in _LOCAL else None

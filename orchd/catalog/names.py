"""Names of fields: both spellings read, typing errors noticed. Pure.

`maxSessions`, `max_sessions` and `MaxSessions` are one field, since go-livepeer does not look at case either.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def squash(name: str) -> str:
    """Return what all spellings of a field have in common."""
    return name.replace("_", "").lower()


def camel(name: str) -> str:
    """Return the camelCase spelling of a snake_case name."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known field that `name` was probably meant to be, in the style that `name` is written in."""
    by_squashed = {squash(field): field for field in known}
    match = difflib.get_close_matches(squash(name), by_squashed, n=1)
    if not match:
        return None
    found = by_squashed[match[0]]
    return camel(found) if name != name.lower() else found

"""Names of fields: both spellings read, typing errors noticed. Pure.

`maxSessions`, `max_sessions` and `MaxSessions` are one field, since go-livepeer does not look at case either.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from functools import lru_cache


@lru_cache(maxsize=1024)  # A file has the same few names in each of its entries.
def squash(name: str) -> str:
    """Return what all spellings of a field have in common."""
    return name.replace("_", "").lower()


def camel(name: str) -> str:
    """Return the camelCase spelling of a snake_case name."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def is_comment(name: str) -> bool:
    """Return whether a key is a note of the operator's, and no field: orchd does not read it."""
    return name.startswith(("_", "//"))


def nearest_field(name: str, known: Iterable[str]) -> str | None:
    """Return the known field that `name` was probably meant to be."""
    by_squashed = {squash(field): field for field in known}
    match = difflib.get_close_matches(squash(name), by_squashed, n=1)
    return by_squashed[match[0]] if match else None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known field that `name` was probably meant to be, in the style that `name` is written in."""
    found = nearest_field(name, known)
    return in_style_of(name, found) if found else None


def in_style_of(name: str, field: str) -> str:
    """Return the spelling of `field`, snake_case or camelCase, that goes with `name`."""
    return camel(field) if name != name.lower() else field


_WORDS = re.compile(r"[A-Z]?[a-z]+")
_ABBREVIATIONS = {"cmd": "command", "img": "image"}


def near_miss(name: str, known: Iterable[str]) -> str | None:
    """Return the known field that `name` misses by a slip: a letter too many, too few or wrong, or letters swapped.

    Stricter than `nearest`, whose answer is only a hint: `comment` is near to `command`, but no slip.
    """
    plain = squash(name)
    for field in known:
        goal = squash(field)
        if abs(len(plain) - len(goal)) <= 1 and plain != goal and _slipped(plain, goal):
            return field
    return None


def near_miss_in_words(name: str, known: Iterable[str]) -> str | None:
    """As `near_miss`; also where a word of `name` is the field, as in `docker_image`, or is short for it, as `cmd`."""
    known = tuple(known)
    if found := near_miss(name, known):
        return found
    words = [_ABBREVIATIONS.get(word, word) for word in map(str.lower, _WORDS.findall(name))]
    return next((field for field in known if field in words and squash(name) != squash(field)), None)


def _slipped(plain: str, goal: str) -> bool:
    """One letter too many, too few or wrong; or the same letters in another order."""
    if sorted(plain) == sorted(goal):
        return len(goal) > 2 and sum(a != b for a, b in zip(plain, goal, strict=True)) <= 3
    start = 0
    while start < min(len(plain), len(goal)) and plain[start] == goal[start]:
        start += 1
    rest, rest_goal = plain[start:], goal[start:]
    return rest[1:] == rest_goal[1:] or rest[1:] == rest_goal or rest == rest_goal[1:]

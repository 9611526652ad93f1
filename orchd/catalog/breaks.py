"""Where the JSON of `aiModels.json` breaks, in words: what was expected, and which usual slip it looks like. Pure."""

from __future__ import annotations

import json
import re

_BLANK = re.compile(r"[ \t\r\n]*")
_CONFLICT = re.compile(r"^(?:<{7}|\|{7}|={7}|>{7})(?=[ \r\n]|\Z)", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORDS = {"none": "; write null", "true": "; write true", "false": "; write false", "undefined": "; write null"}
_COMMENT_HINT = "; JSON has no comments: remove it, or begin a key with // or _ for a note"
_NO_ARRAYS = {
    "{": "an object (put it into [ ])",
    '"': "a text in quotes",
    "null": "null",
    "true": "true",
    "false": "false",
    "<": "HTML or XML",
}
_EXPECTED = {
    "Expecting value": "expected a value",
    "Expecting ',' delimiter": "expected ',' or the closing bracket",
    "Expecting ':' delimiter": "expected ':' after the key",
    "Expecting property name enclosed in double quotes": 'expected a key in double quotes or "}"',
    "Unterminated string starting at": "expected a closing double quote for the text that starts here",
    "Illegal trailing comma before end of object": 'expected a key in double quotes or "}"',
    "Illegal trailing comma before end of array": "expected a value",
    "Invalid control character at": "expected no line break or other control character inside a text",
}


def conflict_mark(text: str) -> tuple[int, str] | None:
    """Return where git's conflict marks are, and the message; None = there are none.

    Whatever the break looks like, these are its cause: no JSON has a line that begins so.
    """
    mark = _CONFLICT.search(text)
    if mark is None:
        return None
    said = f"cannot read on: {mark[0]} is a conflict mark of git; settle the conflict and remove its marks"
    return mark.start(), said


def broken(text: str, exc: json.JSONDecodeError) -> tuple[int, str]:
    """Return where Python's reader stopped, and the message: the same whatever Python's version."""
    at = exc.pos
    if exc.msg.startswith("Illegal trailing comma"):  # Python 3.13 names the comma, others what follows it.
        at = skip_blank(text, at + 1)
    return at, break_at(text, at, _EXPECTED.get(exc.msg, exc.msg))


def break_at(text: str, at: int, expected: str) -> str:
    """Return the message for a break at `at`, with a hint at the usual slips."""
    found = text[at : at + 1]
    hint = ""
    if not found:
        hint = "; the file ends too early"
    elif found in "/#":
        hint = _COMMENT_HINT
    elif found in "'\u2018\u2019\u201c\u201d\u201e":
        hint = '; JSON wants double quotes, "'
    elif word := _WORD.match(text, at):
        hint = _WORDS.get(word[0].lower(), f"; text stands in double quotes: {quoted(word[0])}")
    elif (found in "}]" and text[:at].rstrip().endswith(",")) or (
        found == "," and text[at + 1 :].lstrip()[:1] in ("}", "]")
    ):
        hint = "; remove the trailing comma"
    return f"cannot read on: {expected}{hint}"


def no_array(text: str, at: int) -> str:
    """Return what is there in place of the array."""
    rest, expected = text[at : at + 5], "expected a JSON array, '[' first; no models at all is []"
    if rest.startswith(("//", "/*", "#")):
        return f"cannot read on: {expected}{_COMMENT_HINT}"
    for start, what in _NO_ARRAYS.items():
        if rest.startswith(start):
            return f"cannot read {what}: {expected}"
    if not rest:
        return f"cannot read an empty file: {expected}"
    what = "a number" if rest[0] in "-0123456789" else "this text"
    return f"cannot read {what}: {expected}"


def skip_blank(text: str, at: int) -> int:
    """Return where the white space that begins at `at` ends."""
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at


def quoted(name: str) -> str:
    """Return the name in JSON's quotes, cut to a length for a message."""
    return json.dumps(name[:40])

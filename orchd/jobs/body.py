"""`model_id` in the first bytes of a body: JSON, form or multipart. Pure.

Only what is certain counts: a value that may go on after the bytes at hand is not taken. Anybody may send these bytes,
so each search is linear in them, and takes few steps in Python: the numbers of members, parts and parameters that are
looked at have bounds.
"""

from __future__ import annotations

import json
import re
from urllib.parse import unquote_to_bytes

from orchd.doors.routes import READ_AHEAD_BYTES

FORM = "application/x-www-form-urlencoded"
MAX_MEMBERS = 256
MAX_PARTS = 128
MAX_PART_HEAD_BYTES = 4096
MAX_PART_LINES = 16
MAX_PARAMETERS = 16
LONGEST_BOUNDARY = 70
"""RFC 2046, section 5.1.1."""
_FIELD = "model_id"


def model_id_in(content_type: str, head: bytes, *, complete: bool) -> str | None:
    """Return the model id that a body names, or None.

    Args:
        head: the first bytes of the body, at most `doors.routes.READ_AHEAD_BYTES`.
        complete: `head` is the whole body.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return _in_multipart(content_type, head)
    # curl's -d says "form" whatever it sends; a form never begins with a brace.
    if kind == FORM and not head.lstrip().startswith(b"{"):
        return _in_form(head, complete=complete)
    if kind in ("", FORM, "text/plain") or kind.endswith(("/json", "+json")):
        return text_member(head, _FIELD)
    return None


_BLANK = re.compile(r"[ \t\r\n]*")


def text_member(head: bytes, member: str) -> str | None:
    """Return the text that the outermost object of a JSON document has under this name, as far as the bytes go.

    Args:
        head: the first bytes of the document; at most `doors.routes.READ_AHEAD_BYTES` of them are looked at.
    """
    text = head[:READ_AHEAD_BYTES].decode("utf-8", "ignore")
    decoder = json.JSONDecoder()
    found: str | None = None
    try:
        at = _expect(text, _skip(text, 0), "{")
        for _ in range(MAX_MEMBERS):
            name, at = decoder.raw_decode(text, at)
            value, at = decoder.raw_decode(text, _skip(text, _expect(text, _skip(text, at), ":")))
            if name == member:
                # A lone surrogate is no text: it could be neither looked up, nor logged.
                found = value.encode("utf-8", "replace").decode() if isinstance(value, str) else None
            at = _skip(text, _expect(text, _skip(text, at), ","))
    except (ValueError, RecursionError):
        pass  # The end of the object, of the bytes at hand, or of our patience.
    return found


def _skip(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return blank.end() if blank is not None else at


def _expect(text: str, at: int, mark: str) -> int:
    if text[at : at + 1] != mark:
        raise ValueError(mark)
    return _skip(text, at + 1)


# Each letter of the name may be escaped. The pattern has nothing to try again: it is linear.
_IN_FORM = re.compile(
    rb"(?:\A|&)"
    + b"".join(
        rb"(?:%b|%%(?i:%02x))" % (re.escape(letter), letter[0])
        for letter in (bytes([code]) for code in _FIELD.encode())
    )
    + rb"(?:=([^&]*+)|(?=&|\Z))(&?)"
)


def _in_form(head: bytes, *, complete: bool) -> str | None:
    found = _IN_FORM.search(head)
    if found is None or not (complete or found[2]):
        return None
    return unquote_to_bytes((found[1] or b"").replace(b"+", b" ")).decode("utf-8", "replace")


def _in_multipart(content_type: str, head: bytes) -> str | None:
    boundary = parameter(content_type, "boundary")
    if not boundary or len(boundary) > LONGEST_BOUNDARY or not boundary.isascii():
        return None
    # The first part is what precedes the first boundary; the last one may go on after the bytes at hand.
    for part in (b"\r\n" + head).split(b"\r\n--" + boundary.encode(), MAX_PARTS)[1:-1]:
        header, _, value = part.partition(b"\r\n\r\n")
        lines = header[:MAX_PART_HEAD_BYTES].decode("utf-8", "replace").split("\r\n", MAX_PART_LINES)
        for line in lines[:MAX_PART_LINES]:
            name, _, disposition = line.partition(":")
            if name.strip().lower() == "content-disposition":
                if parameter(disposition, "name") == _FIELD:
                    return value.decode("utf-8", "replace")
                break
    return None


# A name and a value, which is a token or a quoted string; or one of the two signs that only separate. What it has
# taken it does not give back, so that no text is looked at twice.
_PARAMETER = re.compile(
    r'[ \t]*+([^\s;="]*+)[ \t]*+(?:=[ \t]*+(?:"((?:[^"\\]|\\.)*+)"|([^\s;"]*+)))?[^;]*+(?:;|\Z)', re.DOTALL
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def parameter(value: str, name: str) -> str:
    """Return the first parameter of this name (lower case) after the first semicolon of a header's value; empty =
    there is none among the first `MAX_PARAMETERS`.
    """
    at = value.find(";") + 1
    for _ in range(MAX_PARAMETERS if at else 0):
        found = _PARAMETER.match(value, at)
        if found is None or found.end() == at:
            break
        if found[1].lower() == name:
            return _ESCAPE.sub(r"\1", found[2]) if found[2] is not None else found[3] or ""
        at = found.end()
    return ""

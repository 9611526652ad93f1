"""`model_id` in the first bytes of a body: JSON, form or multipart. Pure.

Only what is certain counts: a value that may go on behind the bytes at hand is not taken.
"""

from __future__ import annotations

import json
from email.message import Message
from urllib.parse import unquote_to_bytes

from orchd.jobs.request import FORM

READ_AHEAD_BYTES = 64 * 1024
_FIELD = "model_id"


def model_id_in(content_type: str, head: bytes, *, complete: bool) -> str | None:
    """Return the model id that a body names, or None.

    Args:
        head: the first bytes of the body, at most `READ_AHEAD_BYTES`.
        complete: `head` is the whole body.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return _in_multipart(content_type, head)
    # curl's -d says "form" whatever it sends; a form never begins with a brace.
    if kind == FORM and not head.lstrip().startswith(b"{"):
        return _in_form(head, complete=complete)
    if kind in ("", FORM, "text/plain") or kind.endswith(("/json", "+json")):
        return _in_json(head.decode("utf-8", "ignore"))
    return None


def _in_json(text: str) -> str | None:
    """Walk the members of the outermost object, as far as the text goes."""
    decoder = json.JSONDecoder()
    found: str | None = None
    try:
        at = _expect(text, _skip(text, 0), "{")
        while True:
            name, at = decoder.raw_decode(text, at)
            value, at = decoder.raw_decode(text, _skip(text, _expect(text, _skip(text, at), ":")))
            if name == _FIELD:
                # A lone surrogate is no text: it could be neither looked up, nor logged.
                found = value.encode("utf-8", "replace").decode() if isinstance(value, str) else None
            at = _skip(text, _expect(text, _skip(text, at), ","))
    except (ValueError, RecursionError):
        # The end of the object, of the bytes at hand, or of our patience.
        return found


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\r", "\n"):
        at += 1
    return at


def _expect(text: str, at: int, mark: str) -> int:
    if text[at : at + 1] != mark:
        raise ValueError(mark)
    return _skip(text, at + 1)


def _in_form(head: bytes, *, complete: bool) -> str | None:
    pairs = head.split(b"&")
    for pair in pairs if complete else pairs[:-1]:
        name, _, value = pair.partition(b"=")
        if _plain(name) == _FIELD:
            return _plain(value)
    return None


def _plain(quoted: bytes) -> str:
    return unquote_to_bytes(quoted.replace(b"+", b" ")).decode("utf-8", "replace")


def _in_multipart(content_type: str, head: bytes) -> str | None:
    boundary = _parameter(content_type, "boundary")
    if not boundary:
        return None
    # The first part is what precedes the first boundary; the last one may go on behind the bytes at hand.
    for part in (b"\r\n" + head).split(b"\r\n--" + boundary.encode("latin-1", "replace"))[1:-1]:
        header, _, value = part.partition(b"\r\n\r\n")
        for line in header.decode("utf-8", "replace").split("\r\n"):
            name, _, disposition = line.partition(":")
            if name.strip().lower() == "content-disposition" and _parameter(disposition, "name") == _FIELD:
                return value.decode("utf-8", "replace")
    return None


def _parameter(value: str, name: str) -> str:
    message = Message()
    message["Content-Type"] = value.strip().replace("\r", "").replace("\n", "")
    found = message.get_param(name)
    return found if isinstance(found, str) else ""

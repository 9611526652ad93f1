"""What a trickle server answers: statuses, headers and texts. Pure. Source: docs/protocol/trickle.md 3 and 4."""

from __future__ import annotations

from dataclasses import dataclass

SEQ, LATEST, CLOSED, RESET = "Lp-Trickle-Seq", "Lp-Trickle-Latest", "Lp-Trickle-Closed", "Lp-Trickle-Reset"
NOT_HELD = 470
"""The channel exists, the segment does not: its reader goes on at `LATEST`."""

Headers = tuple[tuple[str, str], ...]
_TEXT = ("Content-Type", "text/plain; charset=utf-8")
_ERROR: Headers = (_TEXT, ("X-Content-Type-Options", "nosniff"))
_HANG_UP = ("Connection", "close")
"""Wakes a client whose body is still open."""


@dataclass(frozen=True, slots=True)
class TrickleAnswer:
    """The head of an answer, and its body.

    Attributes:
        headers: without those of the framing (`Content-Length`, `Transfer-Encoding`).
        body: whole; None = it follows in pieces.
    """

    status: int
    headers: Headers = ()
    body: bytes | None = b""


def _error(status: int, text: str, *more: tuple[str, str]) -> TrickleAnswer:
    return TrickleAnswer(status, (*_ERROR, *more), text.encode() + b"\n")


OK = TrickleAnswer(200)
NO_CHANNEL = _error(404, "Stream not found")
NO_CHANNEL_TO_WRITE = _error(404, "Stream not found", _HANG_UP)
NO_CHANNEL_TO_REMOVE = _error(400, "invalid stream")
NO_SEGMENT_TO_END = _error(400, "Nonexistent segment")
BAD_NUMBER = _error(400, "Invalid idx")
BUSY = _error(503, "server busy", ("Retry-After", "1"), _HANG_UP)
"""Too many requests are under way."""
NO_ROUTE = _error(404, "404 page not found")


def method_not_allowed(*allowed: str) -> TrickleAnswer:
    return _error(405, "Method Not Allowed", ("Allow", ", ".join(allowed)))


def head_number(head: int) -> TrickleAnswer:
    return TrickleAnswer(200, (_TEXT, (LATEST, str(head))), str(head).encode())


def not_held(seq: int, head: int) -> TrickleAnswer:
    """Return 470.

    Args:
        head: as it was when the request came.
    """
    return TrickleAnswer(NOT_HELD, (_TEXT, (SEQ, str(seq)), (LATEST, str(head))), b"Entry not found")


def data_follows(seq: int, head: int, mime_type: str) -> TrickleAnswer:
    """Return the head of an answer with data; one that waited at the live edge is told no `LATEST`.

    Args:
        head: as it was when the request came.
        mime_type: of the channel, never of the upload.
    """
    latest = ((LATEST, str(head)),) if seq != head else ()
    return TrickleAnswer(200, (("Content-Type", mime_type), (SEQ, str(seq)), *latest), None)


def no_data(seq: int, head: int, *, gone: bool) -> TrickleAnswer:
    """Return the answer to who reads a segment that ended without a byte.

    Args:
        head: as it is now.
        gone: the channel has been removed: the end of the stream.
    """
    return TrickleAnswer(200, ((SEQ, str(seq)), (LATEST, str(head)), *_gone(gone)))


def written(seq: int, *, any_byte: bool, gone: bool) -> TrickleAnswer:
    """Return the answer to an upload that has ended, or has nothing to wait for any more.

    Args:
        any_byte: of its body has come; else it is woken in case that its body is still open.
        gone: the channel has been removed.
    """
    return TrickleAnswer(200, ((SEQ, str(seq)), *_gone(gone), *(() if any_byte else (_HANG_UP,))))


def too_long(seq: int) -> TrickleAnswer:
    return _error(413, "segment exceeds maximum size", (SEQ, str(seq)), _HANG_UP)


def no_room(seq: int) -> TrickleAnswer:
    return _error(503, "no room for the segment", (SEQ, str(seq)), _HANG_UP)


def _gone(gone: bool) -> Headers:
    return ((CLOSED, "terminated"),) if gone else ()

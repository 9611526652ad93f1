"""Values -> bytes. Only `Date` reads a clock."""

from __future__ import annotations

import time
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus

from orchd.http1.names import Header

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


def status_line(status: int, reason: bytes) -> bytes:
    """Return the first line of an answer; an empty reason gets the standard one, if there is one."""
    return b"HTTP/1.1 %d %b\r\n" % (status, reason or _REASONS.get(status, b""))


def lines(headers: Iterable[Header]) -> bytes:
    """Return header fields, or trailers, each with its line end."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def chunk(piece: bytes) -> bytes:
    """Return a piece of a body, not empty, as one chunk."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def last_chunk(trailers: Iterable[Header]) -> bytes:
    """Return the end of a chunked body."""
    return b"0\r\n%b\r\n" % lines(trailers)


class Date:
    """The `Date` line, made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        if (now := int(time.time())) != self._second:
            self._second = now
            self._line = b"Date: %b\r\n" % formatdate(now, usegmt=True).encode()
        return self._line

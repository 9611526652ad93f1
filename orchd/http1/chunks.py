"""The chunked transfer coding: RFC 9112, section 7.1. Pure, and strict: lines end in CR LF, sizes are hex digits."""

from __future__ import annotations

import re
from enum import Enum

from orchd.http1.names import Header
from orchd.http1.rules import Malformed

_TEXT = rb"[\t\x20-\x7e\x80-\xff]*"
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;" + _TEXT + rb")?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(" + _TEXT + rb")")


class _Expects(Enum):
    SIZE = "size"
    END_OF_CHUNK = "end of chunk"
    TRAILER = "trailer"


class ChunkedBody:
    """Decodes one body. Args:
    most: bytes of one line, and of all trailers together.
    """

    __slots__ = ("_expects", "_left", "_line", "_most", "_of_trailers", "trailers")

    def __init__(self, most: int) -> None:
        self.trailers: list[Header] = []
        self._most = most
        self._left = 0
        self._line = b""
        self._of_trailers = 0
        self._expects = _Expects.SIZE

    def feed(self, data: bytes, pieces: list[bytes]) -> bytes | None:
        """Append what `data` has of the body to `pieces`; return what follows the body, None if it goes on.

        Raises:
            Malformed.
        """
        at, size = 0, len(data)
        while at < size:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                continue
            end = data.find(b"\n", at) + 1
            line = self._line + (data[at:end] if end else data[at:])
            if len(line) + self._of_trailers > self._most:
                raise Malformed(f"has more than {self._most // 1024} KiB in a chunk's head or in its trailers")
            if not end:
                self._line = line
                return None
            self._line, at = b"", end
            if line[-2:-1] != b"\r":
                raise Malformed("has a line in its chunked body that ends without CR")
            if self._take(line[:-2]):
                return data[at:]
        return None

    def _take(self, line: bytes) -> bool:
        """Understand a line; return whether it ends the body."""
        match self._expects:
            case _Expects.SIZE:
                size = _SIZE.fullmatch(line)
                if size is None:
                    raise Malformed("has a chunk without a proper size")
                self._left = int(size[1], 16)
                self._expects = _Expects.END_OF_CHUNK if self._left else _Expects.TRAILER
            case _Expects.END_OF_CHUNK:
                if line:
                    raise Malformed("has a chunk that is longer than it says")
                self._expects = _Expects.SIZE
            case _Expects.TRAILER:
                if not line:
                    return True
                field = _FIELD.fullmatch(line)
                if field is None:
                    raise Malformed("has a malformed trailer")
                self._of_trailers += len(line)
                self.trailers.append((field[1], field[2]))
        return False

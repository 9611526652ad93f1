"""The chunked transfer coding: RFC 9112, section 7.1. Pure, and strict: lines end in CR LF, sizes are hex digits."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum

from orchd.http1.names import Header
from orchd.http1.rules import Malformed

_TEXT = rb"[\t\x20-\x7e\x80-\xff]*"
# None of these has two neighbours that may take the same byte: a search that tries again would be quadratic.
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;" + _TEXT + rb")?")
_PLAIN_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(_TEXT)


MOST_TRAILERS = 1000
"""As many as header fields: many tiny ones are far more work, and memory, than their bytes."""


class _Expects(Enum):
    SIZE = "size"
    END_OF_CHUNK = "end of chunk"
    TRAILER = "trailer"


_SIZE_LINE = _Expects.SIZE


class ChunkedBody:
    """Decodes one chunked body.

    Args:
        most: bytes of one line, and of all trailers together.

    Attributes:
        ended: the body and its trailers are whole.
    """

    __slots__ = ("_expects", "_left", "_line", "_most", "_of_trailers", "ended", "trailers")

    def __init__(self, most: int) -> None:
        self.trailers: list[Header] = []
        self.ended = False
        self._most = most
        self._left = 0
        self._line = bytearray()  # The beginning of a line whose end has not come.
        self._of_trailers = 0
        self._expects = _SIZE_LINE

    def feed(self, data: bytes, take: Callable[[bytes], None], steps: int) -> tuple[int, int]:
        """Give what `data` has of the body to `take`, as one piece.

        Args:
            steps: how many lines may be read, and chunks that come whole.

        Returns:
            How many bytes of `data` were read, and how many steps are left. Bytes are left if the body has ended, or no
            steps are.

        Raises:
            Malformed.
        """
        pieces: list[bytes] = []
        try:
            return self._decode(data, pieces, steps)
        finally:
            if pieces:
                take(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def _decode(self, data: bytes, pieces: list[bytes], steps: int) -> tuple[int, int]:
        at, size = 0, len(data)
        while at < size and steps > 0:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                continue
            steps -= 1
            if self._expects is _SIZE_LINE and not self._line:
                # The usual chunk comes whole. The steps below would do the same.
                line = _PLAIN_SIZE.match(data, at)
                if line is not None:
                    start = line.end()
                    end = start + int(line[1], 16)
                    if start < end < size - 1 and data[end : end + 2] == b"\r\n":
                        pieces.append(data[start:end])
                        at = end + 2
                        continue
            end = data.find(b"\n", at) + 1
            part = data[at:end] if end else data[at:]
            if len(self._line) + len(part) + self._of_trailers > self._most:
                raise Malformed(f"has more than {self._most // 1024} KiB in a chunk's head or in its trailers")
            if not end:
                self._line += part
                return size, steps
            if self._line:
                part = bytes(self._line + part)
                self._line.clear()
            at = end
            if part[-2:-1] != b"\r":
                raise Malformed("has a line in its chunked body that ends without CR")
            if self._take(part[:-2]):
                self.ended = True
                break
        return at, steps

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
                self._expects = _SIZE_LINE
            case _Expects.TRAILER:
                if not line:
                    return True
                name, colon, value = line.partition(b":")
                if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
                    raise Malformed("has a malformed trailer")
                if len(self.trailers) >= MOST_TRAILERS:
                    raise Malformed(f"has more than {MOST_TRAILERS} trailers")
                self._of_trailers += len(line)
                self.trailers.append((name, value.lstrip(b" \t")))
        return False

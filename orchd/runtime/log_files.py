"""Reads logs that lie in files, in pieces of bounded size. The standard library alone: commands use it, too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

PIECE = 65536
"""Bytes of a piece."""


def tail_from(file: BinaryIO, start: int, end: int, lines: int | None) -> int:
    """Return where the last `lines` lines before byte `end` begin; at `start` at the earliest. None = all of them."""
    if lines is None:
        return start
    if lines == 0:
        return end
    at, left = end, lines
    while at > start:
        size = min(PIECE, at - start)
        file.seek(at - size)
        piece = file.read(size)
        stop = len(piece)
        if at == end and piece.endswith(b"\n"):
            stop -= 1  # It ends the last line.
        while (found := piece.rfind(b"\n", 0, stop)) >= 0:
            left -= 1
            if left == 0:
                return at - size + found + 1
            stop = found
        at -= size
    return start


def pieces(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """Yield what lies between two bytes of a file; less if it has become shorter."""
    file.seek(start)
    left = end - start
    while left > 0 and (piece := file.read(min(PIECE, left))):
        left -= len(piece)
        yield piece


def size_of(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size

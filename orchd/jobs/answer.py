"""Read a runner's answer, RFC 9112: head, then body without its framing. No sockets; whatever is not HTTP is refused.

Each answer has a connection of its own, so an odd one can't reach into the next.
"""

from __future__ import annotations

import asyncio
import re

from orchd.jobs.ports import PIECE_BYTES, Answer, RunnerBroke
from orchd.jobs.request import Header

HEAD_BYTES = 256 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9][0-9])(?: (.*))?")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Return the head of the final answer, or of 101; interim ones (1xx) are skipped.

    Raises:
        RunnerBroke: the connection ended, or this is not a head.
    """
    while True:
        answer = await _read_head(reader)
        if answer.status >= 200 or answer.status == 101:
            return answer


async def _read_head(reader: asyncio.StreamReader) -> Answer:
    first = await _line(reader, "closed the connection before it answered")
    status = _STATUS.fullmatch(first)
    if status is None:
        raise RunnerBroke(f"did not answer in HTTP/1: {first[:80]!r}")
    headers: list[Header] = []
    room = HEAD_BYTES - len(first)
    while line := await _line(reader, "closed the connection in the middle of its headers"):
        room -= len(line)
        if room < 0:
            raise RunnerBroke(f"answered with more than {HEAD_BYTES // 1024} KiB of headers")
        if line[:1] in (b" ", b"\t") and headers:  # A folded line, which a gateway mends (RFC 9112, section 5.2).
            name, value = headers.pop()
            headers.append((name, f"{value} {line.strip().decode('latin-1')}".strip()))
            continue
        raw_name, colon, raw_value = line.partition(b":")
        if not colon or not _NAME.fullmatch(raw_name) or b"\r" in raw_value or b"\0" in raw_value:
            raise RunnerBroke(f"answered with a malformed header: {raw_name[:80]!r}")
        headers.append((raw_name.decode("latin-1"), raw_value.strip(b" \t").decode("latin-1")))
    return Answer(int(status[1]), (status[2] or b"").decode("latin-1"), tuple(headers))


async def _line(reader: asyncio.StreamReader, broken: str) -> bytes:
    """Return one line without its end, which may be a bare LF."""
    try:
        line = await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError as exc:
        raise RunnerBroke("answered with a line that is too long") from exc
    except (asyncio.IncompleteReadError, OSError) as exc:
        raise RunnerBroke(broken) from exc
    return line[:-2] if line.endswith(b"\r\n") else line[:-1]


class Body:
    """The pieces of an answer's body, as its framing says (RFC 9112, section 6.3)."""

    def __init__(self, reader: asyncio.StreamReader, method: str, answer: Answer) -> None:
        """Raises:
        RunnerBroke: the framing makes no sense.
        """
        self._reader = reader
        self._chunked = self._until_close = False
        self._left = 0
        self._in_chunk = False
        self._ended = False
        values = [value for name, value in answer.headers if name.lower() == "transfer-encoding"]
        codings = [part.strip().lower() for value in values for part in value.split(",")]
        lengths = {
            part.strip()
            for name, value in answer.headers
            if name.lower() == "content-length"
            for part in value.split(",")
        }
        if answer.status == 101:
            self._until_close = True
        elif method == "HEAD" or answer.status in (204, 304):
            self._ended = True
        elif codings:
            if codings != ["chunked"]:
                raise RunnerBroke(f"answered with a transfer coding that orchd does not know: {codings}")
            self._chunked = True
        elif lengths:
            length = lengths.pop()
            if lengths or not (length.isascii() and length.isdigit()):
                raise RunnerBroke("answered with a Content-Length that makes no sense")
            self._left = int(length)
            self._ended = not self._left
        else:
            self._until_close = True

    async def read(self) -> bytes:
        """Return the next piece as soon as it is there; empty at the end.

        Raises:
            RunnerBroke: the body ends short of its framing.
        """
        if self._ended:
            return b""
        if self._chunked and not self._left:
            await self._next_chunk()
            if self._ended:
                return b""
        try:
            piece = await self._reader.read(PIECE_BYTES if self._until_close else min(PIECE_BYTES, self._left))
        except OSError as exc:
            raise RunnerBroke("lost the connection in the middle of its answer") from exc
        if self._until_close:
            self._ended = not piece
            return piece
        if not piece:
            raise RunnerBroke("closed the connection in the middle of its answer")
        self._left -= len(piece)
        self._ended = not self._left and not self._chunked
        return piece

    async def _next_chunk(self) -> None:
        # The end of the last chunk is looked for only now, so that its bytes went on as soon as they were there.
        if self._in_chunk and await _line(self._reader, "closed the connection in the middle of its answer"):
            raise RunnerBroke("sent a chunk that is longer than it said")
        self._in_chunk = True
        line = await _line(self._reader, "closed the connection in the middle of its answer")
        size = _SIZE.fullmatch(line)
        if size is None:
            raise RunnerBroke(f"sent a malformed chunk: {line[:40]!r}")
        self._left = int(size[1], 16)
        if not self._left:
            room = HEAD_BYTES
            while trailer := await _line(self._reader, "closed the connection in the middle of its trailers"):
                room -= len(trailer)
                if room < 0:
                    raise RunnerBroke("sent too many trailers")
            self._ended = True

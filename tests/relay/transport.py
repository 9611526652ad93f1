"""A connection without a socket: does what asyncio's transports do, when the test says so."""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from typing import Any

from orchd.relay.wire import Wire
from tests.faults.message import Message, parse

PIECE_BYTES = 256 * 1024


class NoSocket:
    """Has no descriptor, so that nothing is spliced and the kernel is not asked."""

    def __init__(self) -> None:
        self.resets = False

    def fileno(self) -> int:
        raise OSError(errno.EBADF, "no descriptor")

    def setsockopt(self, *_: object) -> None:
        self.resets = True


class FakeTransport(asyncio.Transport):
    """One end is orchd's protocol, the other is the test: `say`, `finish`, `lose`, `take`.

    Attributes:
        sent: what has reached the test.
        room: how many more bytes the test takes; None = all there are.
        reading: orchd wants bytes; those that it does not want yet wait in `inbox`.
        ended: orchd has said that it sends no more, and the test has seen that.
        broken: the test has reset the connection.
        lost: the connection is over; so the protocol was told, once.
    """

    def __init__(self, protocol: Wire, room: int | None = None) -> None:
        super().__init__({"peername": ("192.0.2.1", 4711)})
        self.protocol = protocol
        self.room = room
        self.sent = bytearray()
        self.inbox: deque[bytes | Exception | None] = deque()
        self.reading = True
        self.ended = False
        self.lost = False
        self.socket = NoSocket()
        self._buffer = bytearray()
        self._high = 0
        self._full = False
        self._finishing = False
        self._closing = False
        self._losing = False
        self._whole: list[Message] = []
        self._parsed = 0
        self.broken = False
        self._vanished = False
        protocol.connection_made(self)

    # The test's end.

    def say(self, data: bytes) -> None:
        self.inbox.extend(data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES))
        self._pump()

    def finish(self) -> None:
        """The test sends no more."""
        self.inbox.append(None)
        self._pump()

    def lose(self) -> None:
        """The test resets the connection."""
        self.broken = True
        self.inbox.append(ConnectionResetError(errno.ECONNRESET, "reset"))
        self._pump()

    def vanish(self) -> None:
        """The test has closed the connection, which orchd hears in the next turn; what it writes meets a reset."""
        self._vanished = True
        self.inbox.append(None)
        asyncio.get_running_loop().call_soon(self._pump)

    def take(self, size: int | None = None) -> None:
        """Make room for so many bytes more, or for all."""
        self.room = None if size is None else (self.room or 0) + size
        self._flush()

    @property
    def messages(self) -> list[Message]:
        """What has come, the last one maybe unfinished; an unfinished head is left out."""
        while (message := parse(bytes(self.sent[self._parsed :]))) is not None:
            if message.end is None:
                return [*self._whole, message]
            self._whole.append(message)
            self._parsed += message.end
        return list(self._whole)

    @property
    def over(self) -> bool:
        """Nothing more will come."""
        return self.lost or self.ended

    def _pump(self) -> None:
        while self.inbox and self.reading and not self._closing:
            piece = self.inbox.popleft()
            if piece is None:
                self.reading = False
                if not self.protocol.eof_received():
                    self.close()
            elif isinstance(piece, Exception):
                self._lose(piece)
            else:
                buffer = self.protocol.get_buffer(-1)
                size = min(len(buffer), len(piece))
                buffer[:size] = piece[:size]
                if size < len(piece):
                    self.inbox.appendleft(piece[size:])
                self.protocol.buffer_updated(size)

    def _flush(self) -> None:
        size = len(self._buffer) if self.room is None else min(self.room, len(self._buffer))
        if size:
            self.sent += self._buffer[:size]
            del self._buffer[:size]
        if self.room is not None:
            self.room -= size
        if self._full and len(self._buffer) <= self._high // 4 and not self._losing:
            self._full = False
            self.protocol.resume_writing()
        if self._buffer or self._losing:
            return
        if self._finishing:
            self.ended = True
        if self._closing:
            self._lose(None)

    def _lose(self, why: Exception | None) -> None:
        self._closing = True
        self._buffer.clear()
        if not self._losing:
            self._losing = True
            asyncio.get_running_loop().call_soon(self._tell_lost, why)

    def _tell_lost(self, why: Exception | None) -> None:
        self.lost = True
        self.protocol.connection_lost(why)

    # orchd's end.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.socket if name == "socket" else super().get_extra_info(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        self._high = high
        self._pause_if_full()

    def _pause_if_full(self) -> None:
        if len(self._buffer) > self._high and not self._full:
            self._full = True
            self.protocol.pause_writing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self._finishing, "written behind the end"
        if self._closing or not data:
            return
        if self.broken:
            self._lose(BrokenPipeError(errno.EPIPE, "broken"))
            return
        if self._vanished:
            self.broken = True
            return
        self._buffer += data
        self._flush()
        self._pause_if_full()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._closing and not self._finishing:
            self._finishing = True
            self._flush()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        if not self._closing:
            self.reading = True
            asyncio.get_running_loop().call_soon(self._pump)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self.reading = False
            self._flush()

    def abort(self) -> None:
        self._lose(None)

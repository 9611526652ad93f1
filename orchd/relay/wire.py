"""EDGE. What both sides' connections share: when writes go out, how bytes are read, and the socket."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import socket
import struct
import termios
from collections.abc import Callable
from typing import cast

from orchd.http1.parser import STEPS, AnswerParser, RequestParser
from orchd.relay.busy_poll import BusyPoll
from orchd.relay.congestion import send_unpaced

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, with no time: closing resets.
# Of Linux's struct tcp_info.
_ACKED = struct.Struct("=120xQ")  # tcpi_bytes_acked, since 4.1.
_OUT_QUEUE = struct.Struct("=i")  # Of the ioctl TIOCOUTQ, which all sockets know as SIOCOUTQ.

TURN_BYTES = 2 * 1024 * 1024
"""Most bytes of one connection's bulk between two turns of the loop: uvloop would read 32 times in a row."""
SMALL_BYTES = 16 * 1024
# One of each for all connections: what is read is copied out before anything else is read. Small where a head may come,
# so that the body after it stays in the kernel, from where it can be spliced.
_SMALL, _LARGE = memoryview(bytearray(16 * 1024)), memoryview(bytearray(256 * 1024))


class Batch:
    """Small writes of one turn of the loop: the first goes out at once, the others together at its end.

    So their receiver is woken twice and not for each: waking a sleeping processor costs more than a small job. Where
    there is just one, it does not wait.

    How: the first write of a turn sets `waiting` and asks the loop for a call of `_end`, which comes after all that the
    loop had to do in this turn. Until then, whatever is small and whole is kept in its connection's `unsent`.

    Args:
        poll_s: as of `BusyPoll`.
    """

    def __init__(self, poll_s: float) -> None:
        self.waiting: list[Wire] | None = None
        """For the end of the turn; None = nothing has been written yet in it."""
        self.soon = asyncio.get_running_loop().call_soon  # To ask for the loop costs a system call until Python 3.12.
        self._sent = BusyPoll(self.soon, poll_s).sent

    def begin(self) -> None:
        """The first of a turn has been written."""
        self.waiting = []
        self.soon(self._end)

    def _end(self) -> None:
        waiting, self.waiting = self.waiting, None
        for wire in waiting or ():
            wire.flush()
        self._sent(alone=not waiting)


class Wire(asyncio.BufferedProtocol):
    """One connection, of whichever side.

    Attributes:
        sent: bytes of messages that were written, or went out by another way.
        parsed: what comes goes to the parser; else `unparsed` gets it.
        bypassed: some of the body that the parser waits for went another way.
        unsent: what `write` keeps until the end of the loop's turn.
        parser: of what the peer sends.
        bulk: much is coming: read as much as there is at once.
        paused: the peer takes no more now; what we wrote last is not all out.
        reading: we want its bytes.
        resting: it is the turn of others: what is held is looked at, and more is read, from the loop's next turn on.
        made: there is a transport.
        closed: nothing can be sent any more.
    """

    __slots__ = (
        "_batch", "_socket", "_turn_left", "bulk", "bypassed", "closed", "made", "parsed", "paused", "reading",
        "resting", "sent", "transport", "unsent",
    )  # fmt: skip

    transport: asyncio.Transport
    parser: RequestParser | AnswerParser

    def __init__(self, batch: Batch) -> None:
        self.paused = self.made = self.closed = self.bulk = self.bypassed = False
        self.parsed = self.reading = True
        self.resting = False
        self.sent = 0
        self.unsent: list[bytes] = []
        self._turn_left = TURN_BYTES
        self._batch = batch
        self._socket: socket.socket | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made = True
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only.
        # No buffer but the kernel's: `paused` says exactly whether all is out, and nothing waits for the loop's turn.
        # (With TLS, 0 would pause an empty buffer.)
        self.transport.set_write_buffer_limits(high=0 if self.plain else 1)
        send_unpaced(transport.get_extra_info("socket"))

    def get_buffer(self, sizehint: int) -> memoryview:
        return _LARGE if self.bulk else _SMALL

    def buffer_updated(self, nbytes: int) -> None:
        if self.bulk:
            data = _LARGE[:nbytes].tobytes()
            self._turn_left -= nbytes
            if self._turn_left <= 0:
                self._turn_left = TURN_BYTES
                self.rest()
        else:
            data = _SMALL[:nbytes].tobytes()
        if not self.parsed:
            return self.unparsed(data)
        try:
            self.parser.feed(data)
            self.parsed_more()
        except Exception as exc:  # noqa: BLE001 - it is raised again where the job waits
            self.crashed(exc)
        if self.parser.steps <= 0:
            self.rest()
        return None

    def unparsed(self, data: bytes) -> None:
        """Take bytes that are not for the parser."""
        raise NotImplementedError

    def parsed_more(self) -> None:
        """Look at what the parser has: it may be something new, or nothing."""
        raise NotImplementedError

    def crashed(self, why: Exception) -> None:
        """Tell the job of a bug of ours that came up while bytes were looked at."""
        raise NotImplementedError

    def send(self, data: bytes) -> None:
        """Send at once; `paused` then says whether all is out."""
        if not self.closed:
            if self.unsent:
                self.unsent.append(data)
                self.flush()
            else:
                self.transport.write(data)

    def write(self, data: bytes, *, whole: bool = False) -> None:
        """Send what is of a message; `whole`: it ends with this. What is small and whole is sent by the end of the
        loop's turn: see `Batch`.
        """
        size = len(data)
        self.sent += size
        batch = self._batch
        if not whole or size > SMALL_BYTES:
            self.send(data)
        elif batch.waiting is None:
            if self.unsent or self.closed:
                self.send(data)
            else:  # As `send`, without its call.
                self.transport.write(data)
            batch.begin()
        else:
            if not self.unsent:
                batch.waiting.append(self)
            self.unsent.append(data)

    def soon(self, what: Callable[[], None]) -> None:
        """Have this called in the loop's next turn."""
        self._batch.soon(what)

    def flush(self) -> None:
        if self.unsent and not self.closed:
            pieces, self.unsent = self.unsent, []
            self.transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def set_reading(self, on: bool) -> None:
        if on is not self.reading:
            self.reading = on
            if not self.resting and not self.closed:
                if on:
                    self.transport.resume_reading()
                else:
                    self.transport.pause_reading()
            if on and self.parser.held:
                self.rest()  # That comes first.

    def rest(self) -> None:
        """It is the turn of others: go on in the loop's next turn.

        How: the transport is paused, so that nothing comes, and `_wake` is due in the next turn. That gives the parser
        new steps, looks at what the parser holds, and only then resumes the transport: bytes stay in order.
        """
        if not self.resting:
            self.resting = True
            if self.reading and not self.closed:
                self.transport.pause_reading()
            self._batch.soon(self._wake)

    def _wake(self) -> None:
        self.resting = False
        parser = self.parser
        parser.steps = STEPS
        # A message that took the last steps to be parsed has not been looked at yet, and nothing else may ever come.
        if self.reading and self.parsed and (parser.held or parser.messages):
            try:
                parser.go_on()
                self.parsed_more()
            except Exception as exc:  # noqa: BLE001 - as above
                self.crashed(exc)
            if parser.steps <= 0:
                self.rest()
        if self.reading and not self.resting and not self.closed:
            self.transport.resume_reading()

    def socket(self) -> socket.socket:
        """Return a duplicate of the connection's socket, kept until the connection is lost."""
        if self._socket is None:
            self._socket = socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno()))
        return self._socket

    @property
    def plain(self) -> bool:
        """The bytes on the socket are those that we read and write: there is no TLS."""
        return self.transport.get_extra_info("sslcontext") is None

    def write_eof(self) -> bool:
        """Say that nothing more comes; False where that can't be said."""
        if self.closed or not self.transport.can_write_eof():
            return False
        self.flush()
        self.transport.write_eof()
        return True

    def set_closed(self) -> None:
        """Nothing can be sent any more."""
        self.closed = True

    def close(self) -> None:
        """Close when all is out."""
        if not self.closed:
            self.flush()
            self.set_closed()
            self.forget_socket()
            self.transport.close()

    def abort(self, *, reset: bool = False) -> None:
        """Close now. With `reset` the peer can't take it for a proper end."""
        if not self.closed:
            self.set_closed()
            if reset and self.plain:
                sock = self.transport.get_extra_info("socket")
                with contextlib.suppress(OSError):  # It is gone already.
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.forget_socket()
            self.transport.abort()

    def forget_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def peer_left(self) -> bool:
        """Ask the kernel, where we don't read and so can't see it. False where it can't say."""
        try:
            poll = select.poll()
            poll.register(self.socket().fileno(), select.POLLRDHUP)
            return bool(poll.poll(0))
        except (OSError, AttributeError):
            return False

    def was_reset(self) -> bool:
        """The peer's kernel has said that it knows no such connection (any more)."""
        return self._tcp_info(1)[:1] == b"\x07"

    def acked(self) -> int | None:
        """Return how many bytes the peer's kernel has taken over the connection's life; None = unknown."""
        info = self._tcp_info(_ACKED.size)
        return _ACKED.unpack(info)[0] if len(info) == _ACKED.size else None

    def taken(self) -> int | None:
        """Return a number that grows when the peer's kernel takes bytes of ours; None = unknown."""
        if (acked := self.acked()) is not None:
            return acked
        try:
            unsent = fcntl.ioctl(self.socket().fileno(), termios.TIOCOUTQ, bytes(_OUT_QUEUE.size))
        except (OSError, AttributeError):
            return None
        (queued,) = _OUT_QUEUE.unpack(unsent)
        return -int(queued) - self.transport.get_write_buffer_size()

    def _tcp_info(self, size: int) -> bytes:
        try:
            return self.socket().getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
        except (OSError, AttributeError):
            return b""

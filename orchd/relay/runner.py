"""EDGE. One connection to a runner: one request at a time, and kept for the next where the runner allows it.

A connection that idles is still read from, so one that its runner closes is gone the moment the kernel knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
from typing import Protocol

from orchd.http1.parser import AnswerParser
from orchd.relay.sides import RunnerExchange, RunnerTunnel
from orchd.relay.splice import Pipes
from orchd.relay.wire import Batch, Wire

HEAD_BYTES = 256 * 1024
LEFT_OVER_BYTES = 1024 * 1024  # An answer that came before its runner reset the connection; a longer one is lost.


class HomePool(Protocol):
    """The pool of its runner, as one connection sees it."""

    @property
    def batch(self) -> Batch:
        """Where small requests are sent."""

    @property
    def pipes(self) -> Pipes:
        """For splicing."""

    def release(self, connection: RunnerConnection) -> None:
        """Keep a connection whose exchange is whole for the next job."""

    def drop(self, connection: RunnerConnection) -> None:
        """Close an idle connection that is of no more use."""

    def lost(self, connection: RunnerConnection) -> None:
        """Forget a connection that has ended."""


class RunnerConnection(Wire):
    """One connection to a runner.

    Attributes:
        home: where it goes when its exchange is whole.
        exchange: the job on it, or what is left of one that was cut; None = it idles.
        tunnel: the same, if it has switched protocols; else None.
        ended: nothing more comes, and what came has been looked at.
        reused: it has served a job before.
        idle_until: when it is closed if it still idles then (loop clock, seconds).
    """

    __slots__ = (
        "_poll", "_proper", "_sent_before", "ended", "exchange", "home", "idle_until", "parser", "reused", "tunnel",
    )  # fmt: skip

    parser: AnswerParser

    def __init__(self, home: HomePool) -> None:
        super().__init__(home.batch)
        self.home = home
        self.parser = AnswerParser(HEAD_BYTES)
        self.exchange: RunnerExchange | None = None
        self.tunnel: RunnerTunnel | None = None
        self.parsed = self.reused = self.ended = False
        self._proper: bool | None = None  # How it has ended; None = it has not.
        self.idle_until = 0.0
        self._sent_before = 0
        self._poll: select.poll | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        with contextlib.suppress(OSError, AttributeError):  # Out of descriptors, or no such thing on this system.
            poll = select.poll()
            poll.register(self.socket().fileno(), select.POLLIN)
            self._poll = poll

    # The exchange on it.

    def begin(self, exchange: RunnerExchange, method: bytes) -> None:
        """Serve this exchange, whose request has this method."""
        self.exchange = exchange
        self.parsed = True
        self.parser.expect(method)
        self._sent_before = self.sent

    def switch(self, tunnel: RunnerTunnel) -> bytes:
        """From now on, what the runner sends is not HTTP; return what it has sent already."""
        self.exchange = self.tunnel = tunnel
        self.parsed = False
        return self.parser.take_held()

    def leave(self) -> None:
        """Serve no exchange any more."""
        self.exchange = self.tunnel = None
        self.parsed = False

    def quiet(self) -> bool:
        """Ask the kernel whether it idles still: neither bytes nor an end have come since the loop looked last."""
        return self._poll is None or not self._poll.poll(0)

    def unsent_yet(self) -> bool:
        """Nothing of the request under way has left us."""
        return self.sent - self._sent_before == sum(map(len, self.unsent))

    def say_no_more(self) -> bool:
        """End our side in the middle of the request or after it, and read on; False where that can't be said."""
        self.unsent = []  # It must not make the request look whole.
        try:
            said = self.write_eof()
        except OSError:  # The peer has reset the connection; we are about to be told.
            said = True
        if said:
            self.bulk = False
            self.set_reading(True)
        return said

    def unseen(self) -> bool:
        """Return whether it is certain that the runner has seen nothing of the request under way.

        Called when the runner has closed its side. Certain means: its kernel took no byte of the request before that
        (the first byte that is counted is the one that opened the connection), and has refused it after that. A reset
        alone proves nothing: it may overtake the acknowledgement of what was read.
        """
        if self.unsent:
            return True
        acked = self.acked()
        return acked is not None and acked <= self._sent_before + 1 and self.was_reset()

    # What happens to it.

    def unparsed(self, data: bytes) -> None:
        if self.tunnel is not None:
            self.tunnel.runner_said(data)
        else:
            self.home.drop(self)  # Nobody asked.

    def parsed_more(self) -> None:
        if self.exchange is not None:
            self.exchange.runner_moved()
        if self._proper is not None:
            self._tell_end()

    def crashed(self, why: Exception) -> None:
        if self.exchange is not None:
            self.exchange.crashed(why)

    def eof_received(self) -> bool:
        if self.tunnel is not None:
            self.tunnel.runner_finished()
            return True
        if self.exchange is None:
            self.home.drop(self)
        else:
            self._end(proper=True)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed:
            if exc is not None and self.exchange is not None and self.exchange.reads_runner:
                for piece in self._left_over():
                    self.parser.feed(piece)
                if self.parser.steps <= 0:
                    self.rest()
            self._end(proper=exc is None)
        self.forget_socket()
        self.home.lost(self)
        if self.ended or self.exchange is None:
            self.parser.close()

    def give_up(self) -> None:
        """Close a connection that was being made: the loop may have begun to tell us of it, and will say no more."""
        if self.made:
            self.abort()
        self.forget_socket()
        self.parser.close()

    def _end(self, *, proper: bool) -> None:
        """Nothing more comes. A reset is not a proper end of an answer."""
        self.set_closed()
        self._proper = proper
        self._tell_end()

    def _tell_end(self) -> None:
        """Tell the job once that nothing more comes, after all that has come: what is held is looked at first."""
        exchange, proper = self.exchange, self._proper
        if proper is None or self.ended or (exchange is not None and self.parser.held):
            return
        self.ended = True
        if exchange is not None:
            if proper and self.tunnel is None:
                self.parser.feed_eof()
            exchange.runner_lost(proper=proper)

    def _left_over(self) -> list[bytes]:
        """Return what came before a reset: a runner may answer, and close without having read the body."""
        pieces: list[bytes] = []
        size = 0
        try:
            while size < LEFT_OVER_BYTES and (piece := self.socket().recv(64 * 1024)):
                pieces.append(piece)
                size += len(piece)
        except OSError:
            pass
        return pieces

    def pause_writing(self) -> None:
        self.paused = True
        if self.exchange is not None:
            self.exchange.upload_changed()

    def resume_writing(self) -> None:
        self.paused = False
        if self.exchange is not None:
            self.exchange.upload_changed()

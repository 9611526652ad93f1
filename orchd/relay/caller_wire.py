"""EDGE. One caller's connection as a connection: its state, its deadline, and how it ends. See `caller_state`.

What it carries, requests and their answers, is in `caller`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from orchd.errors import Code, JobRefused
from orchd.http1 import render
from orchd.http1.message import Message
from orchd.http1.names import Header
from orchd.http1.parser import RequestParser
from orchd.http1.rules import Malformed, RequestHead
from orchd.relay.caller_state import BUSY, PARSED, CallerEvent, CallerState, next_caller_state
from orchd.relay.ports import CallerGone, Owner
from orchd.relay.settings import RelaySettings
from orchd.relay.sides import CallerExchange, CallerTunnel
from orchd.relay.slowness import Slowness
from orchd.relay.wire import Batch, Wire

MIB = 1024 * 1024
NEVER = float("inf")

# Looked up for each piece of each job.
AWAITING, SERVING, TUNNELLING = CallerState.AWAITING, CallerState.SERVING, CallerState.TUNNELLING
DROPPING, LEAVING, TURNED_AWAY = CallerState.DROPPING, CallerState.LEAVING, CallerState.TURNED_AWAY


class Hub(Protocol):
    """What all connections of a listener share.

    Attributes:
        section: of the settings that the listener has its limits from.
        silent_s: for how long a new connection may say nothing.
    """

    section: str
    settings: RelaySettings
    silent_s: float
    clock: Callable[[], float]
    leaving: bool
    batch: Batch
    date: render.Date

    def joined(self, connection: CallerWire) -> bool:
        """Count it; False = there is no room for it."""

    def turned_away(self) -> JobRefused | None:
        """Return what to tell a connection beyond the limit; None = there are too many even of these."""

    def left(self, connection: CallerWire) -> None:
        """The connection is lost."""

    def refused(self, why: JobRefused) -> tuple[list[Header], bytes]:
        """Count a request that never became a job; return headers and body of what it is answered."""

    def closed(self, reason: str) -> None:
        """Count a connection that we closed."""


class CallerWire(Wire):
    """A caller's connection, whatever it carries.

    Attributes:
        state: moved by `move`, and by the two moves of each job in `caller`.
        peer: the caller's address; empty = it has none.
        deadline: when `expire` is to be called (loop clock, seconds).
        owner: who decides about the request that is served; None = none is.
        exchange, tunnel: see `sides`; None = there is none.
        message: the request that is served, or was served last.
        drops: bytes and seconds of a body that are dropped behind the answer; None = as the settings say.
    """

    __slots__ = (
        "_dropped", "_hub", "_slowness", "deadline", "drops", "exchange", "message", "owner", "parser", "peer",
        "state", "tunnel",
    )  # fmt: skip

    message: Message[RequestHead]
    parser: RequestParser
    _hub: Hub

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub.batch)
        self._hub = hub
        self.parser = RequestParser(hub.settings.max_header_kb * 1024)
        self.state = AWAITING
        self.peer = ""
        self.deadline = NEVER
        self.owner: Owner | None = None
        self.exchange: CallerExchange | None = None
        self.tunnel: CallerTunnel | None = None
        self.drops: tuple[int, float] | None = None
        self._dropped = 0
        self._slowness = Slowness(hub.settings)

    def move(self, event: CallerEvent) -> None:
        """Take the state to what follows from `event`."""
        self.state = state = next_caller_state(self.state, event)
        self.parsed = state in PARSED

    # What happens to it.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.peer = peer_of(transport.get_extra_info("peername"))
        self.deadline = self._hub.clock() + self._hub.silent_s
        if not self._hub.joined(self):
            self.move(CallerEvent.NO_ROOM)
            if self._hub.turned_away() is None:
                self.close()

    def unparsed(self, data: bytes) -> None:
        if self.tunnel is not None:
            return self.tunnel.caller_said(data)
        self._dropped += len(data)
        if self._dropped > self.most_dropped:
            self.abort()
        return None

    @property
    def most_dropped(self) -> int:
        """Bytes of a body that are dropped, at most, so that the answer before them can be read."""
        return self._hub.settings.refused_body_mb * MIB if self.drops is None else self.drops[0]

    @property
    def longest_drop_s(self) -> float:
        """For how many seconds they are."""
        return self._hub.settings.refused_body_s if self.drops is None else self.drops[1]

    def crashed(self, why: Exception) -> None:
        if self.owner is None:
            raise why
        self.owner.fail(why)

    def eof_received(self) -> bool:
        if self.tunnel is not None:
            self.tunnel.caller_finished()
            return self.plain  # TLS can't be closed by halves.
        self._gone()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.set_closed()
        self._gone()
        self.forget_socket()
        self._hub.left(self)
        self.parser.close()

    def give_up_unmade(self) -> None:
        """Let go of everything, if its TLS never came to be."""
        if not self.made:
            self.parser.close()

    def _gone(self) -> None:
        if (owner := self.owner) is not None:
            owner.fail(CallerGone())

    def set_closed(self) -> None:
        super().set_closed()
        self.move(CallerEvent.CLOSED)

    # How it ends.

    def tell_no_room(self) -> None:
        """Answer that there is no room, if there is room for that, and close.

        It does not linger: that is for connections that there is room for.
        """
        if (why := self._hub.turned_away()) is not None:
            self.refuse(why)
        self.close()

    def refuse(self, why: JobRefused) -> None:
        """Answer what is not a request, and leave."""
        headers, body = self._hub.refused(why)
        self.write(self.own_head(why.status, headers, body) + b"Connection: close\r\n\r\n" + body)
        self.leave(CallerEvent.REFUSED)

    def own_head(self, status: int, headers: list[Header], body: bytes) -> bytes:
        """Return the head of an answer of our own, except its end."""
        # A 204 has none (RFC 9110, section 8.6), and that of a 304 would be another answer's.
        length = b"" if status in (204, 304) else b"Content-Length: %d\r\n" % len(body)
        return render.status_line(status, b"") + render.lines(headers) + length + self._hub.date.line()

    def leave(self, event: CallerEvent) -> None:
        """Say that nothing more comes, and give the caller time to read what came."""
        self.move(event)
        self._dropped = 0
        self.parser.held.clear()
        if event is not CallerEvent.ANSWERED_LAST:
            self.drops = None  # They were those of a request before, or have been used up.
        self.deadline = self._hub.clock() + self.longest_drop_s
        if not self.write_eof() and event is CallerEvent.ANSWERED_LAST and self.message.ended:
            # TLS can't be closed by halves. Whole it can be, where no body is on its way that would reset it.
            return self.close()
        return self.set_reading(True)

    def end_if_idle(self) -> None:
        """orchd stops: a connection on which nothing is served is closed."""
        if self.state in (AWAITING, TURNED_AWAY):
            self.close()

    # Deadlines, and what no event tells.

    def expire(self) -> None:
        """The deadline has passed."""
        if self._takes_bytes():
            return
        self.deadline = NEVER
        match self.state:
            case CallerState.SERVING | CallerState.TUNNELLING:
                if self.owner is not None:
                    self.owner.expire()
            case CallerState.AWAITING if self.parser.mid_head:
                seconds = self._hub.settings.header_timeout_s
                self._hub.closed("header_timeout")
                self.refuse(
                    JobRefused(Code.HEADER_TIMEOUT, f"cannot read the request: its head took longer than {seconds:g} s")
                )
            case CallerState.AWAITING:
                self._hub.closed("idle")
                if self.paused:
                    self.abort(reset=True)  # It does not take even the last answer.
                else:
                    self.close()
            case CallerState.DROPPING:
                self.leave(CallerEvent.BODY_GIVEN_UP)
            case CallerState.LEAVING | CallerState.TURNED_AWAY:
                self.abort()

    def excuse(self, seconds: float) -> None:
        """Give back this much time, in which orchd itself stood still."""
        self.deadline += seconds
        self._slowness.skip(seconds)

    @property
    def serving(self) -> bool:
        """There is a job on it."""
        return self.state in BUSY

    def look_out(self, now: float) -> None:
        """See what no event tells; call it once a second while something is served, or nothing is read.

        That the caller has left, although nothing is read from it; that it sends its body too slowly; and that the side
        that is to take bytes takes some, although too many are still left to write more.
        """
        if not self.reading and not self.closed and self.peer_left():
            self._gone()
            return self.abort()
        if self.state is SERVING and not self.message.ended:
            why = self._slowness.of_body(now, self.message, self.exchange, collects=self.collects and self.reading)
            if why and self.owner is not None:
                self.no_more_requests()
                self.owner.fail(
                    JobRefused(Code.BODY_TOO_SLOW, f"cannot go on: the caller's body comes too slowly, {why}")
                )
        self._takes_bytes()
        return None

    @property
    def collects(self) -> bool:
        """The owner waits for a part of the body."""
        raise NotImplementedError

    def no_more_requests(self) -> None:
        """No request may follow the one that is served, such as when its body will not be whole."""
        raise NotImplementedError

    def _takes_bytes(self) -> bool:
        """Return whether the side that is to take bytes has taken some since the last call: then it is not late."""
        exchange = self.exchange
        if not self._slowness.takes_bytes((self if self.paused else None) if exchange is None else exchange.taker):
            return False
        if self.owner is not None:
            self.owner.moved()
        else:
            self.deadline = self._hub.clock() + self._hub.settings.between_bytes_timeout_s
        return True


def peer_of(name: object) -> str:
    """Return the address of a socket's peer by its name; empty = it has none, as those of unix sockets."""
    return str(name[0]) if isinstance(name, tuple) else ""


def refusal_of(why: Malformed, section: str) -> JobRefused:
    """Return what a caller is told whose bytes are not a request.

    Args:
        section: of the settings that the listener has its limits from.
    """
    code = Code.HEADER_TOO_LARGE if why.status == 431 else Code.BAD_REQUEST
    hint = f"; the limit is set by {section}.max_header_kb" if why.why.endswith(" of head") else ""
    return JobRefused(code, f"cannot read the request: it {why.why}{hint}")

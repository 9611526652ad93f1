"""EDGE. One caller's connection: its requests in order, what is read when, and how it ends.

    AWAITING -> a head is there -> SERVING -> answered -> AWAITING, or DROPPING what is left of the body, or LEAVING:
    our half is closed, and what still comes is dropped, so that closing does not destroy the answer.
    TURNED_AWAY: there is no room for it, which it is told once it asks for something: an answer that nobody has asked
    for could be taken for that to another request.

There is one deadline; what it means follows from the state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

from orchd.errors import Code, JobRefused
from orchd.http1 import render
from orchd.http1.names import Header
from orchd.http1.parser import HEAD_STEPS, Message, RequestParser
from orchd.http1.rules import AnswerHead, Malformed, RequestHead, bodiless
from orchd.relay.headers import interim, persistence
from orchd.relay.pace import BodyPace, is_paced
from orchd.relay.ports import CallerGone, Owner
from orchd.relay.settings import RelaySettings
from orchd.relay.wire import Batch, Wire

MIB = 1024 * 1024
AHEAD_BYTES = 64 * 1024
REFUSAL_STEPS = 224
"""What it takes to refuse a request, as the model that was probably meant may be looked for among hundreds."""
NEVER = float("inf")


class State(Enum):
    """Of a caller's connection."""

    AWAITING = "awaiting"
    SERVING = "serving"
    DROPPING = "dropping"
    LEAVING = "leaving"
    TURNED_AWAY = "turned away"


# Looked up for each piece of each job.
AWAITING, SERVING, DROPPING, LEAVING = State.AWAITING, State.SERVING, State.DROPPING, State.LEAVING
TURNED_AWAY = State.TURNED_AWAY


class Hub(Protocol):
    """What all connections of callers share."""

    settings: RelaySettings
    clock: Callable[[], float]
    leaving: bool
    batch: Batch
    date: render.Date

    def joined(self, connection: CallerConnection) -> bool:
        """Count it; False = there is no room for it."""

    def turned_away(self) -> JobRefused | None:
        """Return what a connection is told that there is no room for; None = there are too many even of these."""

    def left(self, connection: CallerConnection) -> None: ...

    def serve(self, connection: CallerConnection) -> None:
        """Serve its `message`; ends, now or later, with `done`."""

    def refused(self, why: JobRefused) -> tuple[list[Header], bytes]:
        """Count a request that never became a job; return headers and body of what it is answered."""

    def closed(self, reason: str) -> None:
        """Count a connection that we closed."""


class CallerExchange(Protocol):
    """The exchange that serves a request, as its caller's connection sees it."""

    @property
    def bytes_in(self) -> int:
        """Bytes of the request's body that were moved."""

    @property
    def taker(self) -> Wire | None:
        """The connection whose other end must take bytes before anything goes on; None = neither."""

    @property
    def waits_for_body(self) -> bool:
        """The caller is to send more of its body, and nothing but the caller holds that up."""

    def wants_body(self) -> bool:
        """More of the request's body can be used now."""

    def upload_changed(self) -> None:
        """Body came, or the request ended."""

    def download_changed(self) -> None:
        """The caller takes bytes (no more, again)."""


class CallerTunnel(CallerExchange, Protocol):
    """After both sides have switched protocols."""

    def caller_said(self, data: bytes) -> None:
        """Bytes came."""

    def caller_finished(self) -> None:
        """The caller sends no more, and may still take bytes."""


class CallerConnection(Wire):
    """After `relay.ports.Caller`."""

    __slots__ = (
        "_advancing", "_collect", "_continued", "_dropped", "_hub", "_keep", "_owner", "_pace", "_sent_before",
        "_taken", "deadline", "exchange", "listener", "message", "parser", "peer", "state", "tunnel",
    )  # fmt: skip

    message: Message[RequestHead]
    parser: RequestParser

    def __init__(self, hub: Hub, listener: Any = None) -> None:
        super().__init__(hub.batch)
        self.listener = listener
        self._hub = hub
        self.parser = RequestParser(hub.settings.max_header_kb * 1024)
        self.state = AWAITING
        self.peer = ""
        self.deadline = NEVER
        self._sent_before = 0
        self.exchange: CallerExchange | None = None
        self.tunnel: CallerTunnel | None = None
        self._owner: Owner | None = None
        self._collect = 0
        self._advancing = False
        self._keep = True
        self._continued = False
        self._dropped = 0
        self._pace: BodyPace | None = None  # Of the body under way; None = nobody has looked yet.
        self._taken: tuple[Wire, int | None] | None = None  # Who is to take bytes, and how many it had taken.

    # What happens to the connection.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        name = transport.get_extra_info("peername")
        self.peer = str(name[0]) if isinstance(name, tuple) else ""
        self.deadline = self._hub.clock() + self._hub.settings.header_timeout_s
        if not self._hub.joined(self):
            self.state = TURNED_AWAY
            if self._hub.turned_away() is None:
                self.close()

    def unparsed(self, data: bytes) -> None:
        if self.tunnel is not None:
            self.tunnel.caller_said(data)
        else:
            self._drop(len(data))

    def crashed(self, why: Exception) -> None:
        if self._owner is None:
            raise why
        self._owner.fail(why)

    def parsed_more(self) -> None:
        state = self.state
        if state is AWAITING:
            self._advance()
        elif state is SERVING:
            self._more_body()
        elif state is DROPPING:
            self._drop_body()
        elif state is TURNED_AWAY and (self.parser.messages or self.parser.mid_head or self.parser.broken is not None):
            if (why := self._hub.turned_away()) is not None:
                self._refuse(why)
            self.close()  # Lingering is for those that there is room for.

    def eof_received(self) -> bool:
        if self.tunnel is not None:
            self.tunnel.caller_finished()
            return True
        self._gone()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._gone()
        self.forget_socket()
        self._hub.left(self)
        self.parser.close()

    def _gone(self) -> None:
        if (owner := self._owner) is not None:
            owner.fail(CallerGone())

    def pause_writing(self) -> None:
        self.paused = True
        if self.exchange is not None:
            self.exchange.download_changed()

    def resume_writing(self) -> None:
        self.paused = False
        if self.exchange is not None:
            self.exchange.download_changed()
        elif self.state is AWAITING and (self.parser.held or self.parser.messages):
            self.deadline = NEVER
            self._advance()

    # Requests in, one after the other.

    def _advance(self) -> None:
        """Serve what is there, as long as there are steps, and the caller takes its answers. Not by recursion: a
        thousand refusals may be waiting.
        """
        if self._advancing:
            return None
        self._advancing = True
        parser, hub = self.parser, self._hub
        messages = parser.messages
        while self.state is AWAITING and not (self.closed or self.paused) and parser.steps > 0:
            if not messages:
                if not parser.held:
                    break
                parser.go_on()
                if not messages:
                    break
            parser.steps -= HEAD_STEPS
            self.message = message = messages[0]
            self.state = SERVING
            self._continued = False
            self._sent_before = self.sent
            self._keep = message.head.keep_alive
            hub.serve(self)
        self._advancing = False
        if self.state is SERVING:
            if parser.broken is not None and self._body_broke():
                return None
            return self.choose_reading() if self.exchange is None else None  # It has done so itself.
        return self._await() if self.state is AWAITING and not self.closed else None

    def _await(self) -> None:
        """Nothing is being served: until when may that be so?"""
        parser, hub = self.parser, self._hub
        settings, now = hub.settings, hub.clock()
        if parser.messages or parser.held:
            if self.paused:  # It takes no answers: it gets no more of them.
                self.deadline = now + settings.between_bytes_timeout_s
                return self.set_reading(False)
            self.set_reading(True)
            return self.rest()  # No steps are left.
        if parser.broken is not None:
            return self._refuse(_refusal(parser.broken))
        if not parser.mid_head:
            if self.deadline == NEVER:  # Else it has sent empty lines, for which it gets no more time.
                self.deadline = now + settings.keepalive_s
        elif self.deadline > now + settings.header_timeout_s:
            self.deadline = now + settings.header_timeout_s
        return None if self.reading else self.set_reading(True)

    def _more_body(self) -> None:
        if self._owner is None or self._body_broke():
            return None
        if self.exchange is not None:
            self.exchange.upload_changed()
        elif self._collect:
            self._owner.moved()
            self.collect(self._collect)
        return self.choose_reading()

    def _body_broke(self) -> bool:
        """Tell the owner if the body under way can't be understood."""
        broken = self.parser.broken
        if self._owner is None or broken is None or self.message.ended:
            return False
        self._keep = False
        self._owner.fail(JobRefused(Code.BAD_REQUEST, f"cannot read the body: the request {broken.why}"))
        return True

    def choose_reading(self) -> None:
        """Read while there is use for it: for the body, or, behind it, to see the caller leave."""
        if self.state is not SERVING or self.tunnel is not None:
            return
        message = self.message
        if message.ended:
            wanted = not self.parser.held and self.parser.broken is None
        elif self.exchange is not None:
            wanted = self.exchange.wants_body()
        else:
            wanted = message.waiting < max(AHEAD_BYTES, self._collect)
        if wanted is not self.reading:
            self.set_reading(wanted)

    # What the owner of the request asks for.

    def own(self, owner: Owner) -> None:
        self._owner = owner

    def collect(self, most: int) -> None:
        self._collect = most
        if self.message.ended or self.message.waiting >= most:
            self._collect = 0
            if self._owner is not None:
                self._owner.deliver(None)

    def proceed(self) -> None:
        if self.message.head.expects and not self._continued and not self.message.received:
            self._continued = True
            self.send(render.CONTINUE)

    @property
    def answered(self) -> bool:
        return self.sent != self._sent_before

    def write_interim(self, head: AnswerHead) -> None:
        self.send(interim(head))

    def keeps_alive(self, answer: AnswerHead) -> bool:
        request = self.message.head
        if self._hub.leaving or self.bypassed or (answer.length is None and not request.modern):
            self._keep = False
        return self._keep

    def answer(self, status: int, headers: list[Header], body: bytes) -> None:
        message = self.message
        if status >= 400:
            self.parser.steps -= REFUSAL_STEPS
        self._keep = self._keep and not self._hub.leaving and (message.ended or self._fits(message))
        head = self._own_head(status, headers, body) + persistence(message.head, keep_alive=self._keep)
        self.write(head if bodiless(message.head.method, status) else head + body, whole=True)

    def _own_head(self, status: int, headers: list[Header], body: bytes) -> bytes:
        """Return the head of an answer of our own, but for its end."""
        # A 204 has none (RFC 9110, section 8.6), and that of a 304 would be another answer's.
        length = b"" if status in (204, 304) else b"Content-Length: %d\r\n" % len(body)
        return render.status_line(status, b"") + render.lines(headers) + length + self._hub.date.line()

    def _fits(self, message: Message[RequestHead]) -> bool:
        """A body that we mean to read to its end does not cost the caller its connection."""
        waits = message.head.expects and not self._continued and not message.received
        length = message.head.length
        return not waits and length is not None and length <= self._hub.settings.refused_body_mb * MIB

    def finish(self, data: bytes) -> None:
        self.write((render.chunk(data) if data else b"") + render.LAST_CHUNK, whole=True)

    def break_off(self) -> None:
        self.abort(reset=True)

    def switch(self, tunnel: CallerTunnel, head: bytes) -> None:
        """Tell the caller by `head` that from now on what it sends is not HTTP."""
        self.exchange = self.tunnel = tunnel
        self.parsed = self._keep = False
        self.write(head)
        rest = self.parser.take_held()
        self.set_reading(True)
        if rest:
            tunnel.caller_said(rest)

    def done(self) -> None:
        tunnelled = self.tunnel is not None
        self._owner = self.exchange = self.tunnel = None
        self._collect = 0
        self._pace = None
        self.deadline = NEVER
        self.bulk = False
        if self.closed:
            return None
        message, parser = self.message, self.parser
        if tunnelled:
            return self.close()
        if not message.ended:
            if not self._keep or self.bypassed or not self._fits(message) or parser.broken is not None:
                return self._leave()
            self.state = DROPPING
            self.deadline = self._hub.clock() + self._hub.settings.refused_body_s
            return self._drop_body()
        if not self._keep:
            return self._leave()
        messages = parser.messages
        messages.popleft()
        self.state = AWAITING
        if parser.switched:
            parser.decline()
        if self._advancing or parser.held:
            return self._advance()
        return self._await()

    # Ways out.

    def _drop_body(self) -> None:
        message, parser = self.message, self.parser
        parser.go_on()
        message.take()
        if parser.broken is not None and not message.ended:
            return self._leave()
        if message.ended:
            parser.messages.popleft()
            self.state = AWAITING
            self.deadline = NEVER
            return self._advance()
        return self.set_reading(True)

    def _refuse(self, why: JobRefused) -> None:
        """Answer what is no request, and leave."""
        headers, body = self._hub.refused(why)
        self.write(self._own_head(why.status, headers, body) + b"Connection: close\r\n\r\n" + body)
        self._leave()

    def _leave(self) -> None:
        """Say that nothing more comes, and give the caller time to read what came."""
        self.state = LEAVING
        self.parsed = False
        self._dropped = 0
        self.parser.held.clear()
        self.deadline = self._hub.clock() + self._hub.settings.refused_body_s
        self.write_eof()
        self.set_reading(True)

    def _drop(self, size: int) -> None:
        self._dropped += size
        if self._dropped > self._hub.settings.refused_body_mb * MIB:
            self.abort()

    def expire(self) -> None:
        """The deadline has passed."""
        if self._takes_bytes():
            return
        self.deadline = NEVER
        match self.state:
            case State.SERVING:
                if self._owner is not None:
                    self._owner.expire()
            case State.AWAITING if self.parser.mid_head:
                seconds = self._hub.settings.header_timeout_s
                self._hub.closed("header_timeout")
                self._refuse(
                    JobRefused(Code.HEADER_TIMEOUT, f"cannot read the request: its head took longer than {seconds:g} s")
                )
            case State.AWAITING:
                self._hub.closed("idle")
                if self.paused:
                    self.abort(reset=True)  # It does not take even the last answer.
                else:
                    self.close()
            case State.DROPPING:
                self._leave()
            case State.LEAVING | State.TURNED_AWAY:
                self.abort()

    @property
    def serving(self) -> bool:
        return self.state is SERVING

    def look_out(self, now: float) -> None:
        """See what no event tells; call it once a second while something is served, or nothing is read.

        That the caller has left, although nothing is read from it; that it sends its body too slowly; and that whoever
        is to take bytes takes some, although there are still too many for more.
        """
        if not self.reading and not self.closed and self.peer_left():
            self._gone()
            return self.abort()
        if self.state is SERVING and self.tunnel is None and not self.message.ended:
            self._look_at_pace(now)
        self._takes_bytes()
        return None

    def excuse(self, seconds: float) -> None:
        """orchd stood still so long: nobody was late but us."""
        self.deadline += seconds
        if self._pace is not None:
            self._pace.skip(seconds)

    def _look_at_pace(self, now: float) -> None:
        exchange, message, settings = self.exchange, self.message, self._hub.settings
        if not (settings.min_body_rate or settings.body_timeout_s) or not is_paced(message.head.value(b"content-type")):
            return
        waits = self._collect > 0 and self.reading if exchange is None else exchange.waits_for_body
        if self._pace is None:
            self._pace = BodyPace(now, waits=waits)
        received = max(message.received, 0 if exchange is None else exchange.bytes_in)
        why = self._pace.look(now, received, settings, waits=waits)
        if why and self._owner is not None:
            self._keep = False
            self._owner.fail(JobRefused(Code.BODY_TOO_SLOW, f"cannot go on: the caller's body comes too slowly, {why}"))

    def _takes_bytes(self) -> bool:
        """Return whether whoever is to take bytes has taken some since this was asked last. Who does so is not late."""
        exchange = self.exchange
        taker = (self if self.paused else None) if exchange is None else exchange.taker
        if taker is None or taker.closed:
            self._taken = None
            return False
        before, taken = self._taken, taker.taken()
        self._taken = taker, taken
        if before is None or before[0] is not taker or taken is None or before[1] is None or taken <= before[1]:
            return False
        if self._owner is not None:
            self._owner.moved()
        else:
            self.deadline = self._hub.clock() + self._hub.settings.between_bytes_timeout_s
        return True

    def end_if_idle(self) -> None:
        """orchd stops: a connection on which nothing is served is closed."""
        if self.state in (AWAITING, TURNED_AWAY):
            self.close()


def _refusal(why: Malformed) -> JobRefused:
    code = Code.HEADER_TOO_LARGE if why.status == 431 else Code.BAD_REQUEST
    hint = "; the limit is set by jobs.max_header_kb" if why.why.endswith(" of head") else ""
    return JobRefused(code, f"cannot read the request: it {why.why}{hint}")

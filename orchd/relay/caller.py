"""EDGE. One caller's connection: its requests in order, what is read when, and their answers.

How it ends is in `caller_wire`; what states there are, in `caller_state`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from orchd.errors import Code, JobRefused
from orchd.http1 import render
from orchd.http1.message import Message
from orchd.http1.names import Header
from orchd.http1.parser import HEAD_STEPS
from orchd.http1.rules import AnswerHead, RequestHead, bodiless
from orchd.relay.caller_state import MOVES, CallerEvent
from orchd.relay.caller_wire import (
    AWAITING,
    DROPPING,
    NEVER,
    SERVING,
    TUNNELLING,
    TURNED_AWAY,
    CallerWire,
    Hub,
    refusal_of,
)
from orchd.relay.headers import interim, persistence
from orchd.relay.sides import CallerTunnel

# Each job moves twice, by these: looked up once. Both sides of them are parsed, so `move` would change nothing else.
AFTER_REQUEST, AFTER_ANSWER = MOVES[AWAITING][CallerEvent.REQUEST], MOVES[SERVING][CallerEvent.ANSWERED]

AHEAD_BYTES = 64 * 1024
REFUSAL_STEPS = 224
"""What it takes to refuse a request, as the model that was probably meant may be looked for among hundreds."""


class ServingHub(Hub, Protocol):
    """What all connections of callers share, and who serves their requests."""

    def serve(self, connection: CallerConnection) -> None:
        """Serve its `message`; ends, now or later, with `done`."""


class CallerConnection(CallerWire):
    """As `relay.ports.Caller`."""

    __slots__ = ("_advancing", "_collect", "_continued", "_keep", "_sent_before", "listener")

    _hub: ServingHub

    def __init__(self, hub: ServingHub, listener: Any = None) -> None:
        super().__init__(hub)
        self.listener = listener
        self._sent_before = 0
        self._collect = 0  # How much of the body the owner waits for; 0 = it does not.
        self._advancing = False
        self._keep = True
        self._continued = False

    def parsed_more(self) -> None:
        state = self.state
        if state is AWAITING:
            self._advance()
        elif state is SERVING:
            self._more_body()
        elif state is DROPPING:
            self._drop_body()
        elif state is TURNED_AWAY and (self.parser.messages or self.parser.mid_head or self.parser.broken is not None):
            self.tell_no_room()

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
        """Serve what is there, as long as there are steps, and the caller takes its answers.

        A loop and not recursion, as a thousand refusals may be waiting: `serve` may end its request before it returns,
        `done` then calls this again, finds `_advancing` set and leaves the next request to the loop below.
        """
        if self._advancing:
            return None
        self._advancing = True
        parser, hub = self.parser, self._hub
        messages = parser.messages
        while self.state is AWAITING and not self.paused and parser.steps > 0:
            if not messages:
                if not parser.held:
                    break
                parser.go_on()
                if not messages:
                    break
            parser.steps -= HEAD_STEPS
            self.message = message = messages[0]
            self.state = AFTER_REQUEST
            self._continued = False
            self._sent_before = self.sent
            self._keep = message.head.keep_alive
            self.drops = None
            hub.serve(self)
        self._advancing = False
        if self.state is SERVING:
            if parser.broken is not None and self._body_broke():
                return None
            return self.choose_reading() if self.exchange is None else None  # It has done so itself.
        return self._await() if self.state is AWAITING else None

    def _await(self) -> None:
        """Nothing is being served: set the deadline, and whether to read."""
        parser, hub = self.parser, self._hub
        settings, now = hub.settings, hub.clock()
        if parser.messages or parser.held:
            if self.paused:  # It takes no answers, so it gets no more of them.
                self.deadline = now + settings.between_bytes_timeout_s
                return self.set_reading(False)
            self.set_reading(True)
            return self.rest()  # No steps are left.
        if parser.broken is not None:
            return self.refuse(refusal_of(parser.broken, hub.section))
        if not parser.mid_head:
            if self.deadline == NEVER:  # Else it has sent empty lines, for which it gets no more time.
                self.deadline = now + settings.keepalive_s
        elif self.deadline > now + settings.header_timeout_s:
            self.deadline = now + settings.header_timeout_s
        return None if self.reading else self.set_reading(True)

    def _more_body(self) -> None:
        if self.owner is None or self._body_broke():
            return None
        if self.exchange is not None:
            self.exchange.upload_changed()
        elif self._collect:
            self.owner.moved()
            self.collect(self._collect)
        return self.choose_reading()

    def _body_broke(self) -> bool:
        """Tell the owner if the body under way can't be understood."""
        broken = self.parser.broken
        if self.owner is None or broken is None or self.message.ended:
            return False
        self._keep = False
        self.owner.fail(JobRefused(Code.BAD_REQUEST, f"cannot read the body: the request {broken.why}"))
        return True

    def choose_reading(self) -> None:
        """Read while there is use for it: for the body, or, after its end, to see the caller leave."""
        if self.state is not SERVING:
            return
        message = self.message
        if message.ended:
            # What is held is the next request: to read on would heap up more of them.
            wanted = not self.parser.held and self.parser.broken is None
        elif self.exchange is not None:
            wanted = self.exchange.wants_body()
        else:
            wanted = message.waiting < max(AHEAD_BYTES, self._collect)
        if wanted is not self.reading:
            self.set_reading(wanted)

    def _drop_body(self) -> None:
        """Read and drop the rest of a body, to its end. It is short: see `_fits`."""
        message, parser = self.message, self.parser
        parser.go_on()
        message.take()
        if parser.broken is not None and not message.ended:
            return self.leave(CallerEvent.BODY_GIVEN_UP)
        if message.ended:
            parser.messages.popleft()
            self.move(CallerEvent.BODY_ENDED)
            self.deadline = NEVER
            return self._advance()
        return self.set_reading(True)

    @property
    def collects(self) -> bool:
        return self._collect > 0

    def no_more_requests(self) -> None:
        self._keep = False

    # What the owner of the request asks for.

    def collect(self, most: int) -> None:
        self._collect = most
        if self.message.ended or self.message.waiting >= most:
            self._collect = 0
            if self.owner is not None:
                self.owner.deliver(None)

    def drop(self, most: int, seconds: float) -> None:
        self.drops = most, seconds

    def proceed(self) -> None:
        if self.message.head.expects and not self._continued and not self.message.received:
            self._continued = True
            self.send(render.CONTINUE)

    @property
    def answered(self) -> bool:
        return self.sent != self._sent_before

    def write_interim(self, head: AnswerHead) -> None:
        """Pass on an interim answer of the runner."""
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
        head = self.own_head(status, headers, body) + persistence(message.head, keep_alive=self._keep)
        self.write(head if bodiless(message.head.method, status) else head + body, whole=True)

    def own_start(self, status: int, headers: Sequence[Header]) -> bytes:
        """Return the head of an answer of our own whose body follows in pieces: in chunks, if the caller knows them."""
        request = self.message.head
        self._keep = self._keep and request.modern and not self._hub.leaving
        framing = b"Transfer-Encoding: chunked\r\n" if request.modern else b""
        head = render.status_line(status, b"") + render.lines(headers) + framing + self._hub.date.line()
        return head + persistence(request, keep_alive=self._keep)

    def _fits(self, message: Message[RequestHead]) -> bool:
        """Return whether we mean to read this body to its end, so that it does not cost the caller its connection."""
        waits = message.head.expects and not self._continued and not message.received
        length = message.head.length
        return not waits and length is not None and length <= self.most_dropped

    def finish(self, data: bytes) -> None:
        self.write((render.chunk(data) if data else b"") + render.LAST_CHUNK, whole=True)

    def break_off(self) -> None:
        self.abort(reset=True)

    def switch(self, tunnel: CallerTunnel, head: bytes) -> None:
        """Tell the caller by `head` that from now on what it sends is not HTTP."""
        self.move(CallerEvent.SWITCHED)
        self.exchange = self.tunnel = tunnel
        self._keep = False
        self.write(head)
        rest = self.parser.take_held()
        self.set_reading(True)
        if rest:
            tunnel.caller_said(rest)

    def done(self) -> None:
        self.owner = self.exchange = self.tunnel = None
        self._collect = 0
        self._slowness.pace = None
        self.deadline = NEVER
        self.bulk = False
        if self.closed:
            return None
        message, parser = self.message, self.parser
        if self.state is TUNNELLING:
            return self.close()
        if not message.ended:
            if not self._keep or self.bypassed or not self._fits(message) or parser.broken is not None:
                return self.leave(CallerEvent.ANSWERED_LAST)
            self.move(CallerEvent.ANSWERED_EARLY)
            self.deadline = self._hub.clock() + self.longest_drop_s
            return self._drop_body()
        if not self._keep:
            return self.leave(CallerEvent.ANSWERED_LAST)
        parser.messages.popleft()
        self.state = AFTER_ANSWER
        if parser.switched:
            parser.decline()
        if self._advancing or parser.held:
            return self._advance()
        return self._await()

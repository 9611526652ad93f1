"""EDGE. One attempt at one job: its request goes to a runner's connection, and the answer comes back.

Nothing is queued here and nothing runs: each step is a call from one of the two connections (bytes came, it takes
bytes again, it ended), and does what can be done now. The bytes of a direction are moved by a `Half`; here is what the
two directions have to do with each other, with the connections and with the job. The job (`Owner`) is told of
the answer's head, of the end, and of what went wrong.

Every call of the owner may end the job before it returns: design.md, "Re-entrancy". So such a call is the last thing
that a step does, or what follows looks again at what it relies on.
"""

from __future__ import annotations

from orchd.errors import Code
from orchd.http1.message import Message
from orchd.http1.rules import CONTINUE, AnswerHead, RequestHead
from orchd.relay.abandoned import AbandonedExchange, abandon
from orchd.relay.caller import CallerConnection
from orchd.relay.half import Half
from orchd.relay.headers import trailers_to_caller, trailers_to_runner
from orchd.relay.ports import CallerGone, EventStream, Owner, RunnerBroke
from orchd.relay.runner import RunnerConnection
from orchd.relay.splice import SinkBroke
from orchd.relay.tunnel import Tunnel
from orchd.relay.wire import Wire

RETAINED_BYTES = 64 * 1024
BODY_STALLED, CALLER_STALLED = Code.BODY_STALLED, Code.CALLER_STALLED
BACKEND_STALLED, BACKEND_TIMEOUT = Code.BACKEND_STALLED, Code.BACKEND_TIMEOUT


class Exchange:
    """As `relay.ports.Transfer`, `caller.CallerExchange` and `runner.RunnerExchange`.

    Args:
        most: bytes of the request's body; 0 = no limit.

    Attributes:
        up, down: what moves the request, and the answer.
        started: the answer's head is on its way to the caller.
        tunnel: has taken our place on both connections, which have switched protocols; None = they have not.
        retained: the whole body that was sent, if it is small; None = it is not at hand.
    """

    __slots__ = (
        "_answer", "_clean", "_owner", "caller", "down", "request", "retained", "runner", "started", "tunnel", "up",
    )  # fmt: skip

    request: Message[RequestHead]

    def __init__(self, owner: Owner, caller: CallerConnection, runner: RunnerConnection, most: int) -> None:
        self._owner = owner
        self.caller = caller
        self.runner = runner
        request = self.request = caller.message
        self.up = up = Half(owner, caller, runner, trailers_to_runner, most)
        up.message = request
        up.chunked = request.head.chunked
        self.down = Half(owner, runner, caller, trailers_to_caller)
        self.started = False
        self.tunnel: Tunnel | None = None
        self.retained: bytes | None = None
        self._answer: Message[AnswerHead] | None = None
        self._clean = True  # No interim answer has announced a body: interim answers have none.
        caller.exchange = self
        runner.begin(self, request.head.method)

    @property
    def bytes_in(self) -> int:
        return self.up.moved

    # The request, up.

    def send(self, head: bytes) -> None:
        """Begin: the head, and what there is of the body."""
        request = self.request
        if request.ended and request.received <= RETAINED_BYTES:
            self.retained = b"".join(request.pieces)
        self._push_up(head)

    def upload_changed(self) -> None:
        """Body came, the request ended, or the runner takes bytes (no more, again)."""
        if self.up.open and self.up.splice is None:
            self._push_up()

    def _push_up(self, head: bytes = b"") -> None:
        up, runner = self.up, self.runner
        if runner.closed and not head:
            return self._give_up_upload()
        if runner.closed:
            return self._owner.fail(RunnerBroke("closed the connection before it answered", unseen=True))
        if runner.paused and not head:
            return self._waits()
        if not up.push(head):
            return None
        return self._go_on(up) if up.open else self._waits()

    def _go_on(self, half: Half) -> None:
        """More of this half's body is to come: let the kernel move it, or read as fast as the other side takes it."""
        if not half.sink.paused and half.by_splice(self.runner.home.pipes, self._waits, self._spliced):
            if half.splice is None:  # It is through already, or broke; `_spliced` has dealt with that.
                return None
            half.source.set_reading(False)  # Only the kernel may read there.
        else:
            half.source.bulk = True
            half.source.set_reading(not half.sink.paused)
        return self._waits()

    def _spliced(self, half: Half, why: Exception | None) -> None:
        """The kernel has moved the rest of a half's body, or one of the two connections broke."""
        half.splice = None
        if why is None:
            half.spliced_whole()
            if half is self.down:
                self._let_runner_go()
                if not self.caller.paused:
                    return self._owner.deliver(None)
            return self._waits()
        broke = half.sink if isinstance(why, SinkBroke) else half.source
        if broke is self.caller:
            return self._owner.fail(CallerGone())
        if half is self.up:
            return self._give_up_upload()
        return self._owner.fail(RunnerBroke("closed the connection in the middle of its answer"))

    def _give_up_upload(self) -> None:
        """The runner takes no more; it may still answer, and if it does not, that is told when its connection ends."""
        self.up.open = False
        self._waits()

    # The answer, down.

    def runner_moved(self) -> None:
        """Its parser has something new, or is broken."""
        if self._answer is not None:
            if self.started and self.down.open and self.down.splice is None:
                self._push_down()
            return None
        parser = self.runner.parser
        messages = parser.messages
        while messages:
            message = messages[0]
            head = message.head
            if not head.interim:
                self._answer = self.down.message = message
                return self._owner.deliver(head)
            self._pass_interim(head)
            messages.popleft()
        if parser.broken is not None:
            self._owner.fail(RunnerBroke(f"gave an answer that {parser.broken.why}"))
        return None

    def _pass_interim(self, head: AnswerHead) -> None:
        """Pass on a 1xx. Not 100, which is between the two of us (RFC 9110, section 15.2), and none while the caller
        takes no bytes: they must not heap up. None after an early head either: what follows that is its body.
        """
        self._clean = self._clean and head.keep_alive
        if head.status != CONTINUE and self.request.head.modern and not (self.caller.paused or self.caller.answered):
            self.caller.write_interim(head)

    def start(self, head: bytes, *, chunked: bool, events: EventStream | None = None) -> None:
        """Send the answer's head, and let its body follow."""
        self.started = True
        self.down.chunked = chunked
        self.down.events = events
        assert self._answer is not None
        if self._answer.head.switches:
            self.tunnel = tunnel = Tunnel(self._owner, self.up, self.down, self.stop)
            tunnel.begin(self.caller, self.runner, head)
        else:
            self._push_down(head)

    def download_changed(self) -> None:
        """The caller takes bytes (no more, again)."""
        if not self.started or self.down.splice is not None:
            return
        if self.down.open:
            self._push_down()
        elif not self.caller.paused:
            self._owner.deliver(None)

    def _push_down(self, head: bytes = b"") -> None:
        down, caller, runner = self.down, self.caller, self.runner
        if caller.paused and not head:
            runner.set_reading(False)
            return self._waits()
        if not down.push(head):
            return None
        if not down.open:
            self._let_runner_go()
            return self._waits() if caller.paused else self._owner.deliver(None)
        if runner.ended:
            return self._owner.fail(RunnerBroke("closed the connection in the middle of its answer"))
        if (broken := runner.parser.broken) is not None:
            return self._owner.fail(RunnerBroke(f"gave an answer that {broken.why}"))
        return self._go_on(down)

    def _let_runner_go(self) -> None:
        """Its answer is whole and written; so is its connection, if the request is too.

        The job has ended once the caller's kernel has all of the answer.
        """
        runner, answer, up = self.runner, self._answer, self.up
        assert answer is not None
        parser = runner.parser
        asked = self.request.ended and not up.open and up.splice is None and not runner.paused
        told = answer.head.keep_alive and self._clean and parser.broken is None
        if asked and told and not (parser.surplus or parser.held):  # That would be taken for the next answer.
            runner.home.release(runner)
        else:
            self.up.open = False
            self.stop()

    # The end.

    @property
    def reads_runner(self) -> bool:
        """Nobody but its parser takes what the runner sends."""
        return self.down.splice is None

    def runner_lost(self, *, proper: bool) -> None:
        """The runner's connection has ended (`proper`: was closed, not reset); what it said before is in its parser."""
        was_splicing = self.down.splice is not None
        self._stop_splices()
        if was_splicing:
            return self._owner.fail(RunnerBroke("reset the connection in the middle of its answer"))
        parser = self.runner.parser
        if parser.messages:
            self.runner_moved()
        if self._answer is not None or self.runner.exchange is not self:
            return None
        if parser.mid_head:
            return self._owner.fail(RunnerBroke("closed the connection in the middle of its headers"))
        unseen = proper and not parser.messages and self.runner.unseen()
        return self._owner.fail(RunnerBroke("closed the connection before it answered", unseen=unseen))

    def crashed(self, why: Exception) -> None:
        self._owner.fail(why)

    def _stop_splices(self) -> None:
        if self.up.stop_splice():
            self.up.open = False
        self.down.stop_splice()

    @property
    def _has_runner(self) -> bool:
        """Its connection is still ours: neither released nor closed."""
        return self.runner.exchange is (self.tunnel or self)

    def stop(self) -> None:
        """Let go of both sides. The runner's connection is closed, unless it was released."""
        self._stop_splices()
        if self._has_runner:
            self.runner.leave()
            self.runner.abort()

    def cut(self) -> AbandonedExchange | None:
        """The job is cut: tell the runner by the end of our side, or by a reset if it has begun to answer.

        Return what is left of the job at the runner; None = nothing: it has ended its answer or closed, or it never had
        the job. An answer that we refuse to pass on is read to its end.
        """
        self._stop_splices()
        runner, answer = self.runner, self._answer
        if not self._has_runner:
            return None
        whole = answer is not None and answer.ended and not answer.head.switches
        if whole or runner.closed or runner.unsent_yet() or (not runner.reading and runner.peer_left()):
            self.stop()
            return None
        return abandon(runner, answer, started=self.started)

    # Timeouts.

    def _waits(self) -> None:
        """Tell the job which timeout runs now, and read from the caller if that is of use."""
        self.caller.choose_reading()
        if self.started:
            late = CALLER_STALLED if self.down.blocked else BACKEND_STALLED
        elif self.up.open:
            late = BACKEND_TIMEOUT if self.up.blocked else BODY_STALLED
        else:
            late = BACKEND_TIMEOUT
        self._owner.wait_for(late)

    @property
    def taker(self) -> Wire | None:
        """The connection whose other end must take bytes before anything goes on; None = neither."""
        if self.started and self.down.blocked:
            return self.caller
        return self.runner if self.up.open and self.up.blocked else None

    @property
    def waits_for_body(self) -> bool:
        """The caller is to send more of its body, and nothing but the caller holds that up."""
        return self.up.open and not self.up.blocked

    def wants_body(self) -> bool:
        """More of the request's body can be used now."""
        return self.up.open and not self.runner.paused and self.up.splice is None

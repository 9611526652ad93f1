"""EDGE. The one file that moves a job's bytes: from its caller's connection to its runner's, and back.

Nothing is queued here and nothing runs: each step is a call from one of the two connections (bytes came, it takes
bytes again, it ended), and does what can be done now. What holds one side up stops reading from the other, so that at
most one read of each side is in memory. Whoever decides (`Owner`) is told of the answer's head, of the end, and of what
went wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from orchd.errors import Code
from orchd.http1 import render
from orchd.http1.parser import Message
from orchd.http1.rules import CONTINUE, AnswerHead, RequestHead
from orchd.relay.event_stream import EventsEnd
from orchd.relay.headers import trailers_to_caller, trailers_to_runner
from orchd.relay.ports import CallerGone, Owner, RunnerBroke, TooMuch
from orchd.relay.rest import Rest
from orchd.relay.splice import WORTH_BYTES, SinkBroke, Splice, available
from orchd.relay.wire import Wire

if TYPE_CHECKING:
    from orchd.relay.caller import CallerConnection
    from orchd.relay.runner import RunnerConnection

RETAINED_BYTES = 64 * 1024
BODY_STALLED, CALLER_STALLED = Code.BODY_STALLED, Code.CALLER_STALLED
BACKEND_STALLED, BACKEND_TIMEOUT = Code.BACKEND_STALLED, Code.BACKEND_TIMEOUT


class Transfer:
    """One attempt at one job on one connection to a runner.

    Args:
        most: bytes of the body; 0 = no limit.

    Attributes:
        started: the answer's head is on its way to the caller.
        tunnel: both sides have switched protocols; bytes pass as they are.
        retained: the whole body that was sent, if it is small; None = it is not at hand.
    """

    __slots__ = (
        "_answer", "_chunked_down", "_clean", "_down", "_down_splice", "_events", "_most", "_owner", "_up",
        "_up_splice", "bytes_in", "bytes_out", "caller", "request", "retained", "runner", "started", "tunnel",
    )  # fmt: skip

    def __init__(self, owner: Owner, caller: CallerConnection, runner: RunnerConnection, most: int) -> None:
        self._owner = owner
        self.caller = caller
        self.request: Message[RequestHead] = caller.message
        self.runner = runner
        self._most = most
        self.started = self.tunnel = self._chunked_down = False
        self.retained: bytes | None = None
        self.bytes_in = self.bytes_out = 0
        self._events: EventsEnd | None = None
        self._answer: Message[AnswerHead] | None = None
        self._up = self._down = True  # Still open.
        self._clean = True  # No interim answer has announced a body, which none has.
        self._up_splice: Splice | None = None
        self._down_splice: Splice | None = None
        caller.transfer = self
        runner.begin(self, self.request.head.method)

    # The request, up.

    def send(self, head: bytes) -> None:
        """Begin: the head, and what there is of the body."""
        request = self.request
        if request.ended and request.received <= RETAINED_BYTES:
            self.retained = b"".join(request.pieces)
        self._push_up(head)

    def upload_changed(self) -> None:
        """Body came, the request ended, or the runner takes bytes (no more, again)."""
        if self.tunnel:
            self.caller.set_reading(not self.runner.paused)
            self._waits()
        elif self._up and self._up_splice is None:
            self._push_up()

    def _push_up(self, head: bytes = b"") -> None:
        request, runner = self.request, self.runner
        if runner.closed:
            if head:
                return self._owner.fail(RunnerBroke("closed the connection before it answered", unseen=True))
            return self._give_up_upload()
        if runner.paused and not head:
            return self._waits()
        data = request.take() if request.pieces else b""
        if data:
            self.bytes_in += len(data)
            if self._most and self.bytes_in > self._most:
                return self._owner.fail(TooMuch())
            if not head:  # Else `_waits` begins to count the time.
                self._owner.moved()
            if request.head.chunked:
                data = render.chunk(data)
        if request.ended:
            self._up = False
            if request.head.chunked:
                data += render.last_chunk(trailers_to_runner(request.head, request.trailers))
        if head:
            data = head + data
        if data:
            runner.write(data, whole=request.ended)
        if self._up:
            if not runner.paused and self._splice_up():
                return None
            self.caller.bulk = True
        return self._waits()

    def _splice_up(self) -> bool:
        request = self.request
        left = (request.head.length or 0) - request.received
        if left < WORTH_BYTES or self.caller.parser.held:
            return False
        splice = self._up_splice = self._splice(self.caller, self.runner, left, self._moved_up, self._spliced_up)
        if splice is None:
            return False
        self.caller.bypassed = True
        splice.start()
        if self._up_splice is splice:
            self.caller.set_reading(False)
            self._waits()
        return True

    def _splice(
        self,
        source: Wire,
        sink: Wire,
        left: int,
        moved: Callable[[int], None],
        done: Callable[[Exception | None], None],
    ) -> Splice | None:
        """Return what moves `left` bytes in the kernel; None where they have to be copied."""
        if not available or not (source.plain and sink.plain):
            return None
        try:
            ends = source.socket().fileno(), sink.socket().fileno()
            return Splice(self.runner.home.pipes, *ends, left, moved=moved, blocked=self._waits, done=done)
        except OSError:  # No descriptors left: copying needs none.
            return None

    def _moved_up(self, size: int) -> None:
        self.bytes_in += size
        self.runner.sent += size
        self._owner.moved()

    def _spliced_up(self, why: Exception | None) -> None:
        self._up_splice = None
        if why is None:
            self.caller.parser.passed_by()
            self.caller.bypassed = False
            self._up = False
            self._waits()
        elif isinstance(why, SinkBroke):
            self._give_up_upload()
        else:
            self._owner.fail(CallerGone())

    def _give_up_upload(self) -> None:
        """The runner takes no more; it may still answer, and if it does not, that is told when its connection ends."""
        self._up = False
        self._waits()

    # The answer, down.

    def runner_moved(self) -> None:
        """Its parser has something new, or is broken."""
        answer = self._answer
        if answer is not None:
            if self.started and self._down and self._down_splice is None:
                self._push_down()
            return None
        parser = self.runner.parser
        messages = parser.messages
        while messages:
            head = messages[0].head
            if not head.interim:
                self._answer = messages[0]
                return self._owner.deliver(head)
            self._pass_interim(head)
            messages.popleft()
        if parser.broken is not None:
            self._owner.fail(RunnerBroke(f"gave an answer that {parser.broken.why}"))
        return None

    def _pass_interim(self, head: AnswerHead) -> None:
        """1xx, save 100, which is between the two of us (RFC 9110, section 15.2). They must not heap up."""
        self._clean = self._clean and head.keep_alive
        if head.status != CONTINUE and self.request.head.modern and not self.caller.paused:
            self.caller.write_interim(head)

    def start(self, head: bytes, *, chunked: bool, events: EventsEnd | None = None) -> None:
        """Send the answer's head, and let its body follow."""
        self.started = True
        self._chunked_down = chunked
        self._events = events
        answer = self._answer
        assert answer is not None
        if answer.head.switches:
            self._begin_tunnel(head)
        else:
            self._push_down(head)

    def download_changed(self) -> None:
        """The caller takes bytes (no more, again)."""
        if not self.started or self._down_splice is not None:
            return
        if not self._down:
            if not self.caller.paused and not self.tunnel:
                self._owner.deliver(None)
            elif self.tunnel:
                self._tunnel_ended()
        elif self.tunnel:
            self.runner.set_reading(not self.caller.paused)
            self._waits()
        else:
            self._push_down()

    def _push_down(self, head: bytes = b"") -> None:
        answer, caller, owner = self._answer, self.caller, self._owner
        assert answer is not None
        if caller.paused and not head:
            self.runner.set_reading(False)
            return self._waits()
        data = answer.take() if answer.pieces else b""
        if data:
            self.bytes_out += len(data)
            if not head:
                owner.moved()
            if self._events is not None:
                self._events.saw(data)
            if self._chunked_down:
                data = render.chunk(data)
        if answer.ended and self._events is not None and (ending := self._events.ending()):
            data += render.chunk(ending) if self._chunked_down else ending
        if answer.ended and self._chunked_down:
            data += (
                render.last_chunk(trailers_to_caller(answer.head, answer.trailers))
                if answer.trailers
                else render.LAST_CHUNK
            )
        if head:
            data = head + data
        if data:
            caller.write(data, whole=answer.ended)
        if answer.ended:
            self._down = False
            self._let_runner_go()
            if not caller.paused:
                return owner.deliver(None)
            return self._waits()
        if self.runner.ended:
            return owner.fail(RunnerBroke("closed the connection in the middle of its answer"))
        if (broken := self.runner.parser.broken) is not None:
            return owner.fail(RunnerBroke(f"gave an answer that {broken.why}"))
        if not caller.paused and self._splice_down(answer):
            return None
        self.runner.bulk = True
        self.runner.set_reading(not caller.paused)
        return self._waits()

    def _splice_down(self, answer: Message[AnswerHead]) -> bool:
        left = (answer.head.length or 0) - answer.received
        if left < WORTH_BYTES or self._events is not None or self.runner.parser.held:
            return False
        splice = self._down_splice = self._splice(self.runner, self.caller, left, self._moved_down, self._spliced_down)
        if splice is None:
            return False
        splice.start()
        if self._down_splice is splice:
            self.runner.set_reading(False)
            self._waits()
        return True

    def _moved_down(self, size: int) -> None:
        self.bytes_out += size
        self._owner.moved()

    def _spliced_down(self, why: Exception | None) -> None:
        self._down_splice = None
        if why is None:
            self.runner.parser.passed_by()
            self._down = False
            self._let_runner_go()
            self._owner.deliver(None)
        elif isinstance(why, SinkBroke):
            self._owner.fail(CallerGone())
        else:
            self._owner.fail(RunnerBroke("closed the connection in the middle of its answer"))

    def _let_runner_go(self) -> None:
        """Its answer is whole; so is its connection, if the request is too."""
        runner, answer = self.runner, self._answer
        assert answer is not None
        parser = runner.parser
        whole = (
            not self._up
            and self._up_splice is None
            and answer.head.keep_alive
            and self._clean
            and parser.broken is None
            and not (parser.surplus or parser.held)  # It would be taken for the next answer.
            and not runner.paused
        )
        if whole and self.request.ended:
            runner.home.release(runner)
        else:
            self._up = False
            self.stop()

    # After 101.

    def _begin_tunnel(self, head: bytes) -> None:
        self.tunnel = self._up = True
        self.caller.bulk = self.runner.bulk = True
        rest = self.runner.parser.take_held()
        self.bytes_out += len(rest)
        self.caller.write(head + rest)
        self.caller.begin_tunnel()
        self._waits()

    def caller_said(self, data: bytes) -> None:
        self.bytes_in += len(data)
        self._owner.moved()
        self.runner.write(data)
        if self.runner.paused:
            self.caller.set_reading(False)
        self._waits()

    def runner_said(self, data: bytes) -> None:
        self.bytes_out += len(data)
        self._owner.moved()
        self.caller.write(data)
        if self.caller.paused:
            self.runner.set_reading(False)
        self._waits()

    def caller_finished(self) -> None:
        self._up = False
        if not self.runner.write_eof():
            self._down = False  # TLS can't be closed by halves.
        self._tunnel_ended()

    def runner_finished(self) -> None:
        self._down = False
        self.caller.write_eof()
        self._tunnel_ended()

    def _tunnel_ended(self) -> None:
        if not self._up and not self._down and not self.caller.paused:
            self.stop()
            self._owner.deliver(None)

    # The end.

    def runner_lost(self, *, proper: bool) -> None:
        """The runner's connection has ended (`proper`: was closed, not reset); what it said before is in its parser."""
        if self.tunnel:
            if self._down:
                self._owner.fail(RunnerBroke("reset the connection"))
            elif self._up:
                self._up = False
                self._tunnel_ended()
            return
        was_splicing = self._down_splice is not None
        self._stop_splices()
        if was_splicing:
            self._owner.fail(RunnerBroke("reset the connection in the middle of its answer"))
            return
        parser = self.runner.parser
        if parser.messages:
            self.runner_moved()
        if self._answer is None and self.runner.transfer is self:
            if parser.mid_head:
                self._owner.fail(RunnerBroke("closed the connection in the middle of its headers"))
            else:
                unseen = proper and not parser.messages and self.runner.unseen()
                self._owner.fail(RunnerBroke("closed the connection before it answered", unseen=unseen))

    def crashed(self, why: Exception) -> None:
        """A bug of ours came up while bytes were looked at."""
        self._owner.fail(why)

    def _stop_splices(self) -> None:
        if self._up_splice is not None:
            self._up_splice.stop()
            self._up_splice = None
            self._up = False
        if self._down_splice is not None:
            self._down_splice.stop()
            self._down_splice = None

    def stop(self) -> None:
        """Let go of both sides. The runner's connection is closed, unless it was released."""
        self._stop_splices()
        if self.runner.transfer is self:
            self.runner.transfer = None
            self.runner.abort()

    def cut(self) -> Rest | None:
        """The job is cut: tell the runner by the end of our side, or by a reset if it has begun to answer.

        Return what is left of the job at the runner; None = nothing: it has ended its answer or closed, or it never had
        the job. An answer that we refuse to pass on is read to its end.
        """
        self._stop_splices()
        runner = self.runner
        if runner.transfer is not self:
            return None
        answer, parser = self._answer, runner.parser
        whole = answer is not None and answer.ended and not answer.head.switches
        if whole or runner.closed or runner.unsent_yet() or (not runner.reading and runner.peer_left()):
            self.stop()
            return None
        unwanted = not self.started and (parser.broken is not None or (answer is not None and not answer.head.switches))
        began = answer is not None or parser.mid_head or parser.broken is not None or bool(parser.held)
        if (began and not unwanted) or not runner.say_no_more():
            self.runner.transfer = None
            runner.abort(reset=True)
            return Rest(runner, watched=False)
        rest = runner.transfer = Rest(runner, watched=True)
        return rest

    def _waits(self) -> None:
        """Tell who is waited for now, and read from the caller if that is of use."""
        self.caller.choose_reading()
        if self.started:
            splice = self._down_splice
            caller_is_late = self.caller.paused if splice is None else splice.waits_for_sink
            late = CALLER_STALLED if caller_is_late else BACKEND_STALLED
        elif self._up:
            splice = self._up_splice
            runner_is_late = self.runner.paused if splice is None else splice.waits_for_sink
            late = BACKEND_TIMEOUT if runner_is_late else BODY_STALLED
        else:
            late = BACKEND_TIMEOUT
        self._owner.wait_for(late)

    @property
    def taker(self) -> Wire | None:
        """The connection whose other end must take bytes before anything goes on; None = neither."""
        caller, runner = self.caller, self.runner
        splice = self._down_splice
        if self.started and (caller.paused if splice is None else splice.waits_for_sink):
            return caller
        splice = self._up_splice
        if self._up and (runner.paused if splice is None else splice.waits_for_sink):
            return runner
        return None

    @property
    def waits_for_body(self) -> bool:
        """The caller is to send more of its body, and nothing but the caller holds that up."""
        splice = self._up_splice
        return self._up and not self.tunnel and not (self.runner.paused if splice is None else splice.waits_for_sink)

    @property
    def reads_runner(self) -> bool:
        """Nobody but its parser takes what the runner sends."""
        return not self.tunnel and self._down_splice is None

    def wants_body(self) -> bool:
        """More of the request's body can be used now."""
        return self._up and not self.runner.paused and self._up_splice is None

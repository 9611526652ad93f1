"""EDGE. What is left of an exchange with a runner whose job was cut: its end is watched for, and nothing else.

The end of our side tells the runner that its answer is no longer wanted. Many see that and stop; others answer all the
same, and then their answer is read and dropped, so that its end is seen. The connection is used for nothing else.
"""

from __future__ import annotations

from collections.abc import Callable

from orchd.http1.message import Message
from orchd.http1.rules import AnswerHead
from orchd.relay.runner import RunnerConnection

MOST_BYTES = 16 * 1024 * 1024
"""How many bytes of an answer that nobody waits for are read. A longer one is cut off, so that a runner that sees only
failed writes sees one. As much as the answer of a call about a stream may have."""
MOST_INTERIM = 100
"""How many interim answers (1xx) are read before that."""


class AbandonedExchange:
    """As `relay.ports.Abandoned` and `runner.RunnerExchange`.

    Attributes:
        watched: its end can still be seen; `watch` says who is told.
    """

    __slots__ = ("_finished", "_interim", "_lost", "_runner", "watched")

    reads_runner = True

    def __init__(self, runner: RunnerConnection, *, watched: bool) -> None:
        self._runner = runner
        self.watched = watched
        self._interim = 0
        self._finished: Callable[[], None] = _nobody
        self._lost: Callable[[], None] = _nobody

    def watch(self, finished: Callable[[], None], lost: Callable[[], None]) -> None:
        """Set who is told, once: that the runner has ended its answer or closed, or that its end can't be seen."""
        self._finished, self._lost = finished, lost

    def close(self) -> None:
        """Watch no more."""
        self._reset()

    def runner_moved(self) -> None:
        """Drop what its parser has; see whether that was all."""
        parser = self._runner.parser
        messages = parser.messages
        while messages and messages[0].head.interim:
            messages.popleft()
            self._interim += 1
        answer = messages[0] if messages else None
        switches, received = False, 0
        if answer is not None:
            answer.take()
            switches, received = answer.head.switches, answer.received
            if answer.ended and not switches:
                self._reset()
                return self._finished()
        # Another protocol has no end that we know.
        if switches or parser.broken is not None or received > MOST_BYTES or self._interim > MOST_INTERIM:
            self._reset()
            return self._lost()
        return None

    def _reset(self) -> None:
        self.watched = False
        runner = self._runner
        if runner.exchange is self:
            runner.leave()
            runner.parser.take_held()
            runner.abort(reset=True)

    def runner_lost(self, *, proper: bool) -> None:
        """It has closed."""
        self.watched = False
        self._runner.leave()
        self._finished()

    def crashed(self, why: Exception) -> None:
        """A bug of ours came up while bytes were looked at."""
        self._reset()
        self._lost()

    def upload_changed(self) -> None:
        """Nothing is sent any more."""


def _nobody() -> None:
    """Nobody is told."""


def abandon(runner: RunnerConnection, answer: Message[AnswerHead] | None, *, started: bool) -> AbandonedExchange:
    """Tell a runner that its answer is no longer wanted, and return what is left of the exchange.

    It is told by the end of our side, or by a reset if it has begun to answer.

    Args:
        answer: what it has answered; None = nothing yet.
        started: the caller has got the answer's head.
    """
    parser = runner.parser
    unwanted = not started and (parser.broken is not None or (answer is not None and not answer.head.switches))
    began = answer is not None or parser.mid_head or parser.broken is not None or bool(parser.held)
    if (began and not unwanted) or not runner.say_no_more():
        runner.leave()
        runner.abort(reset=True)
        return AbandonedExchange(runner, watched=False)
    rest = runner.exchange = AbandonedExchange(runner, watched=True)
    return rest

"""When the slot of a session that has ended while its runner was at work is free again. No await in it.

`max_sessions` is about work: a caller that leaves, a timeout, a drain deadline ends the job for everybody but the
runner, which may work on. What is left of it at the runner is a *work* here, and its slot stays taken:

| the work is     | and then                                                       | it is        |
|-----------------|----------------------------------------------------------------|--------------|
| watched         | FINISHED: the runner has ended its answer, or closed           | over         |
| watched         | LOST: nothing more can be seen of it                           | out of sight |
| out of sight    | PROBED_FREE: a probe says that the runner is free              | over         |
| either of both  | TIME_UP: `inference.timeout_s` has passed since the cut        | over         |
| either of both  | GONE: its runner is gone, or orchd ends                        | over         |

What is not in the table changes nothing: a probe says nothing about a work that is watched, as it may have been asked
before the runner came to it. A session has several works if several requests rode on it (a realtime session does); its
slot is free when it has ended and the last of them is over.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from orchd.domain.ids import RunnerId
from orchd.domain.model import Model
from orchd.domain.outcomes import Outcome
from orchd.domain.ports import ProbeWord
from orchd.sessions.session import Session
from orchd.sessions.table import SessionTable


class WorkPhase(StrEnum):
    """Of a work."""

    WATCHED = "watched"
    OUT_OF_SIGHT = "out of sight"
    OVER = "over"


class WorkEvent(StrEnum):
    """What may happen to a work."""

    FINISHED = "finished"
    LOST = "lost"
    PROBED_FREE = "probed free"
    TIME_UP = "time up"
    GONE = "gone"


WORK_MOVES = {
    (WorkPhase.WATCHED, WorkEvent.FINISHED): WorkPhase.OVER,
    (WorkPhase.WATCHED, WorkEvent.LOST): WorkPhase.OUT_OF_SIGHT,
    (WorkPhase.OUT_OF_SIGHT, WorkEvent.PROBED_FREE): WorkPhase.OVER,
    (WorkPhase.WATCHED, WorkEvent.TIME_UP): WorkPhase.OVER,
    (WorkPhase.OUT_OF_SIGHT, WorkEvent.TIME_UP): WorkPhase.OVER,
    (WorkPhase.WATCHED, WorkEvent.GONE): WorkPhase.OVER,
    (WorkPhase.OUT_OF_SIGHT, WorkEvent.GONE): WorkPhase.OVER,
}


class Timer(Protocol):
    def cancel(self) -> None: ...


def _nothing() -> None:
    """There is no connection to close."""


class LeftoverWork:
    """What a runner may still be doing for a session.

    Attributes:
        since: when it was cut (loop clock, seconds).
        close: called once when it is over.
    """

    __slots__ = ("close", "phase", "session", "since", "timer")

    def __init__(self, session: Session, phase: WorkPhase, since: float, close: Callable[[], None]) -> None:
        self.session = session
        self.phase = phase
        self.since = since
        self.close = close
        self.timer: Timer | None = None


class LettingGo:
    """Keeps the slots of sessions that have ended while their runners may still work.

    Args:
        clock: seconds; the loop's clock.
        call_later: calls after so many seconds, as the loop's does.
    """

    def __init__(
        self,
        table: SessionTable,
        clock: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], Timer],
    ) -> None:
        self._table = table
        self._clock = clock
        self._call_later = call_later
        self._works: dict[Session, set[LeftoverWork]] = {}

    def cut(
        self, session: Session, seconds: float, *, watched: bool, close: Callable[[], None] = _nothing
    ) -> LeftoverWork:
        """Note that the runner may still be at work for this session, which has not ended yet.

        Args:
            seconds: longest time until the work is taken to be over.
            watched: somebody will say `finished` or `lost`.
        """
        phase = WorkPhase.WATCHED if watched else WorkPhase.OUT_OF_SIGHT
        work = LeftoverWork(session, phase, self._clock(), close)
        work.timer = self._call_later(seconds, lambda: self._happened(work, WorkEvent.TIME_UP))
        self._works.setdefault(session, set()).add(work)
        return work

    def end(self, session: Session, outcome: Outcome) -> bool:
        """End a session: its slot is free now, or when the last of its works is over. Only the first call counts."""
        if session in self._works:
            return self._table.let_go(session, outcome, lambda: self._freed(session))
        return self._table.end(session, outcome)

    def finished(self, work: LeftoverWork) -> None:
        """The runner has ended its answer, or its connection. Repeats are fine."""
        self._happened(work, WorkEvent.FINISHED)

    def lost(self, work: LeftoverWork) -> None:
        """Nothing more can be seen of a work that was watched."""
        self._happened(work, WorkEvent.LOST)

    def probed(self, runner: RunnerId, model: Model, word: ProbeWord, asked_at: float) -> None:
        """A probe that began `asked_at` (loop clock) has ended.

        That a runner is ready means that it is free where its words tell free from busy, and where it carries one
        session, so that it would be busy with any.
        """
        if word is not ProbeWord.READY or not model.health.busy or model.sessions_per_replica != 1:
            return
        for work in [work for works in self._works.values() for work in works]:
            if work.session.runner == runner and asked_at > work.since:
                self._happened(work, WorkEvent.PROBED_FREE)

    def close(self) -> None:
        """orchd ends: nothing is waited for any more."""
        for work in [work for works in self._works.values() for work in works]:
            self._happened(work, WorkEvent.GONE)

    def _happened(self, work: LeftoverWork, event: WorkEvent) -> None:
        if (phase := WORK_MOVES.get((work.phase, event))) is None:
            return
        work.phase = phase
        if phase is not WorkPhase.OVER:
            return
        session = work.session
        works = self._works[session]
        works.discard(work)
        if not works:
            del self._works[session]
            self._table.finish(session)  # If the session runs on, that does nothing.
        _over(work)

    def _freed(self, session: Session) -> None:
        """The slot is free; if that is not by the last work's end, its runner is gone."""
        for work in self._works.pop(session, ()):
            work.phase = WorkPhase.OVER
            _over(work)


def _over(work: LeftoverWork) -> None:
    if work.timer is not None:
        work.timer.cancel()
    work.close()

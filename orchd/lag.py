"""How long the event loop was stalled. That is our own fault, and must not be counted against anybody else.

While one callback computes, or orchd is stopped (SIGSTOP, a paused machine), answers wait unread in the kernel and
deadlines pass. `LoopLag.run` ticks; a late tick shows how long nothing was done.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog

from orchd.domain.stalls import Stall, lost_s

log = structlog.get_logger("orchd.lag")

TICK_S = 0.1

STALL_S = 0.05
"""A tick that is late by less is not a stall: other callbacks ran meanwhile."""

LONG_S = 1.0
"""Stalls this long are logged, and they extend the deadlines of others."""

REMEMBERED = 200
"""Greatest number of long stalls; if orchd stalls all the time, these are those of the last minutes."""


class LoopLag:
    """Measures stalls of the event loop. Until `run` has begun, it sees none.

    Args:
        observe: called with the delay of each tick, in seconds; for the metric.
    """

    def __init__(self, observe: Callable[[float], None] = lambda late_s: None) -> None:
        self._observe = observe
        self._stalled_s = 0.0
        self._due = 0.0
        # Kept while it runs, since each probe and each plan asks: Python 3.11 finds its loop by a system call.
        self._clock: Callable[[], float] | None = None
        self._stalls: deque[Stall] = deque(maxlen=REMEMBERED)

    async def run(self) -> None:
        """Tick until cancelled."""
        now = asyncio.get_running_loop().time
        try:
            self._due, self._clock = now() + TICK_S, now
            while True:
                await asyncio.sleep(max(0.0, self._due - now()))
                came = now()
                late_s = max(0.0, came - self._due)
                # By the same reading of the clock, so that no stall falls between two ticks.
                self._due = came + TICK_S
                if late_s >= STALL_S:
                    self._stalled_s += late_s
                if late_s >= LONG_S:
                    self._stalls.append(Stall(came, late_s))
                    log.warning("loop_stalled", stalled_s=round(late_s, 3))
                self._observe(late_s)
        finally:
            self._clock = None

    def stalled_s(self) -> float:
        """Return for how many seconds since the start the loop was stalled. Compare two of these.

        A stall that has just ended counts at once, even before the late tick has come.
        """
        late_s = self._late_s()
        return self._stalled_s + (late_s if late_s >= STALL_S else 0.0)

    def stalls(self) -> tuple[Stall, ...]:
        """Return the long stalls, the oldest first, including one that has just ended."""
        late_s = self._late_s()
        if late_s < LONG_S:
            return tuple(self._stalls)
        return (*self._stalls, Stall(self._due + late_s, late_s))

    def lost_s(self, since: float) -> float:
        """Return for how many seconds since `since` (loop clock) the loop was stalled, counting long stalls only."""
        return lost_s(self.stalls(), since)

    def timeout(self, seconds: float) -> Timeout:
        """As `asyncio.timeout`, but extended by the time in which the loop was stalled."""
        return Timeout(self, seconds)

    def _late_s(self) -> float:
        return 0.0 if self._clock is None else self._clock() - self._due


class Timeout:
    """A context manager that is entered once. It raises TimeoutError when it is left after its time."""

    def __init__(self, lag: LoopLag, seconds: float) -> None:
        self._lag = lag
        self._seconds = seconds
        self._limit = asyncio.timeout(None)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + self._seconds - self._lag.stalled_s()
        await self._limit.__aenter__()
        self._timer = self._loop.call_later(self._seconds, self._check)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def expire(self) -> None:
        """End it now, as if its time were over. It has been entered, and not left."""
        self._timer.cancel()
        self._limit.reschedule(self._loop.time())

    def _check(self) -> None:
        due = self._until + self._lag.stalled_s()
        if due <= self._loop.time():
            self.expire()
        else:
            self._timer = self._loop.call_at(due, self._check)

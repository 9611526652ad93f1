"""How long the event loop stood still: our own fault, which must not be counted against anybody else.

While one callback computes, or orchd is stopped (SIGSTOP, a paused machine), answers wait in the kernel unread, and
deadlines pass. `LoopLag.run` ticks; a tick that comes late shows how long nothing was done.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType

import structlog

from orchd.domain.stalls import Stall, lost_s

log = structlog.get_logger("orchd.lag")

TICK_S = 0.1

STALL_S = 0.05
"""A tick that is late by less is no stall: other callbacks had their turn."""

LONG_S = 1.0
"""Stalls this long are logged, and put off deadlines that are held against others."""

REMEMBERED = 200
"""Long stalls at most; of an orchd that stands still all the time, those of the last minutes."""


class LoopLag:
    """Measures it. Until `run` has begun, nothing is known, and no stall is seen.

    Args:
        observe: called with how late each tick was, in seconds; for the metric.
    """

    def __init__(self, observe: Callable[[float], None] = lambda late_s: None) -> None:
        self._observe = observe
        self._stalled_s = 0.0
        self._due: float | None = None
        self._stalls: deque[Stall] = deque(maxlen=REMEMBERED)

    async def run(self) -> None:
        """Tick until cancelled."""
        now = asyncio.get_running_loop().time
        try:
            self._due = now() + TICK_S
            while True:
                await asyncio.sleep(max(0.0, self._due - now()))
                came = now()
                late_s = max(0.0, came - self._due)
                # From the same reading of the clock, so that no stall falls between two ticks.
                self._due = came + TICK_S
                if late_s >= STALL_S:
                    self._stalled_s += late_s
                if late_s >= LONG_S:
                    self._stalls.append(Stall(came, late_s))
                    log.warning("loop_stalled", stalled_s=round(late_s, 3))
                self._observe(late_s)
        finally:
            self._due = None

    def stalled_s(self) -> float:
        """Return for how many seconds, since the start, the loop has stood still; compare two of these.

        A stall that has just ended counts at once, also for who is called before the late tick.
        """
        late_s = self._late_s()
        return self._stalled_s + (late_s if late_s >= STALL_S else 0.0)

    def stalls(self) -> tuple[Stall, ...]:
        """Return the long stalls, oldest first; one that has just ended is among them."""
        late_s = self._late_s()
        if late_s < LONG_S:
            return tuple(self._stalls)
        return (*self._stalls, Stall(asyncio.get_running_loop().time(), late_s))

    def lost_s(self, since: float) -> float:
        """Return for how many of the seconds since `since` (loop clock) the loop stood still, in long stalls."""
        return lost_s(self.stalls(), since)

    def timeout(self, seconds: float) -> _Timeout:
        """As `asyncio.timeout`, but time in which the loop stood still is given back to whoever is waited for."""
        return _Timeout(self, seconds)

    def _late_s(self) -> float:
        return 0.0 if self._due is None else asyncio.get_running_loop().time() - self._due


class _Timeout:
    """Entered once; raises TimeoutError when left after its time."""

    def __init__(self, lag: LoopLag, seconds: float) -> None:
        self._lag = lag
        self._seconds = seconds
        self._limit = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + self._seconds - self._lag.stalled_s()
        await self._limit.__aenter__()
        self._timer = self._loop.call_later(self._seconds, self._look)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def _look(self) -> None:
        due = self._until + self._lag.stalled_s()
        if due <= self._loop.time():
            self._limit.reschedule(self._loop.time())
        else:
            self._timer = self._loop.call_at(due, self._look)

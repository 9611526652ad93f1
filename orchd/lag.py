"""How long the event loop stood still: our own fault, which must not be counted against anybody else.

While one callback computes, or orchd is stopped (SIGSTOP, a paused machine), answers wait in the kernel unread, and
deadlines pass. `LoopLag.run` ticks; a tick that comes late shows how long nothing was done.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

log = structlog.get_logger("orchd.lag")

TICK_S = 0.1

STALL_S = 0.05
"""A tick that is late by less is no stall: other callbacks had their turn."""

TOLD_S = 1.0
"""Stalls this long are logged."""


class LoopLag:
    """Measures it. Until `run` has begun, nothing is known, and no stall is seen.

    Args:
        observe: called with how late each tick was, in seconds; for the metric.
    """

    def __init__(self, observe: Callable[[float], None] = lambda late_s: None) -> None:
        self._observe = observe
        self._stalled_s = 0.0
        self._due: float | None = None

    async def run(self) -> None:
        """Tick until cancelled."""
        now = asyncio.get_running_loop().time
        try:
            while True:
                self._due = now() + TICK_S
                await asyncio.sleep(TICK_S)
                late_s = max(0.0, now() - self._due)
                self._observe(late_s)
                if late_s >= STALL_S:
                    self._stalled_s += late_s
                if late_s >= TOLD_S:
                    log.warning("loop_stalled", stalled_s=round(late_s, 3))
        finally:
            self._due = None

    def stalled_s(self) -> float:
        """Return for how many seconds, since the start, the loop has stood still; compare two of these.

        A stall that has just ended counts at once, also for who is called before the late tick.
        """
        late_s = 0.0 if self._due is None else asyncio.get_running_loop().time() - self._due
        return self._stalled_s + (late_s if late_s >= STALL_S else 0.0)

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[None]:
        """As `asyncio.timeout`, but time in which the loop stood still is given back to whoever is waited for.

        Raises:
            TimeoutError.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds - self.stalled_s()
        timer: asyncio.TimerHandle
        async with asyncio.timeout(None) as limit:

            def look() -> None:
                nonlocal timer
                due = until + self.stalled_s()
                if due <= loop.time():
                    limit.reschedule(loop.time())
                else:
                    timer = loop.call_at(due, look)

            timer = loop.call_later(seconds, look)
            try:
                yield
            finally:
                timer.cancel()

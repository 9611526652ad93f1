"""The node's clock: a test moves it (`Clock`), or it is the loop's (`RealClock`).

Every timer of the node runs on it. The node's sockets are real: what a timer set going needs real time to come back,
so `advance` stops at each timer until what is `busy` has settled or had its grace.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

# Real seconds that one piece of I/O may hold `advance` up. Longer than any loopback exchange takes on a slow machine;
# what takes longer hangs on purpose, and then time goes on without it.
GRACE_S = 0.5


class Timer(Protocol):
    def cancel(self) -> None: ...


class _Timer:
    def __init__(self, call: Callable[[], object]) -> None:
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        self.call = None


class Clock:
    """Stands still until a test calls `advance`. Seconds since the clock was made."""

    def __init__(self) -> None:
        self._now = 0.0
        self._timers: list[tuple[float, int, _Timer]] = []
        self._order = itertools.count()
        self._busy: dict[int, float] = {}

    def now(self) -> float:
        return self._now

    def call_later(self, seconds: float, call: Callable[[], object]) -> Timer:
        timer = _Timer(call)
        heapq.heappush(self._timers, (self.now() + seconds, next(self._order), timer))
        return timer

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, lambda: None if woken.done() else woken.set_result(None))
        try:
            await woken
        finally:
            timer.cancel()

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[asyncio.Timeout]:
        """As `asyncio.timeout`, on this clock."""
        async with asyncio.timeout(None) as scope:
            loop = asyncio.get_running_loop()
            timer = self.call_later(seconds, lambda: scope.reschedule(loop.time()))
            try:
                yield scope
            finally:
                timer.cancel()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """I/O that a timer set going, and that would be over before the next timer if time were real."""
        token = next(self._order)
        self._busy[token] = asyncio.get_running_loop().time() + GRACE_S
        try:
            yield
        finally:
            del self._busy[token]

    def next_timer(self) -> float | None:
        """When the next timer is due."""
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass: each timer fires at its time, in order."""
        end = self._now + seconds
        await self.settle()
        while (due := self.next_timer()) is not None and due <= end:
            _, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, due)
            if timer.call is not None:
                timer.call()
            await self.settle()
        self._now = end

    async def settle(self) -> None:
        """Let everything run that time need not pass for."""
        for _ in range(10):
            await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        while any(until > loop.time() for until in self._busy.values()):
            await asyncio.sleep(0.001)
            for _ in range(10):
                await asyncio.sleep(0)


class RealClock(Clock):
    """The loop's own time: for the node as a process, and for tests before real containers."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def call_later(self, seconds: float, call: Callable[[], object]) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, call)

    async def advance(self, seconds: float) -> None:
        raise RuntimeError("real time can't be advanced")

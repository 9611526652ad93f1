"""An event loop whose clock stands still until everything has settled, then jumps to the next timer.

Tests with fakes at the ports run on it: seconds, minutes and backoffs pass at once and in an exact order, and a test
that would hang for ever fails instead (`Deadlock`). Not for tests with real sockets, threads or children: to those
it would look as if they took for ever.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar


class Deadlock(Exception):
    """Every task waits and no timer is left: nothing could ever happen again."""


class _Selector(selectors.SelectSelector):
    """Waits for nobody: tells the loop how long it wanted to wait instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            raise Deadlock("every task waits and no timer is left")
        self.loop.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time is `now`, in seconds since the loop was made."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        # Timers that are due by less than this count as due; keeps float sums from looping on the last nanosecond.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self.now


P = ParamSpec("P")
T = TypeVar("T")


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on a fresh `VirtualLoop` and return its result; a task that it leaves behind is an error."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:

        async def guarded() -> T:
            result = await main
            left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            assert not left, f"tasks left behind: {left}"
            return result

        return runner.run(guarded())


def virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make an async test one that runs on a `VirtualLoop`."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_virtual(test(*args, **kwargs))

    return run


def stand_still(seconds: float) -> None:
    """Let time pass in which the loop does nothing, as while a callback computes, or at SIGSTOP."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.now += seconds


async def settle() -> None:
    """Let everything that is ready run, without moving the clock."""
    for _ in range(50):
        await asyncio.sleep(0)

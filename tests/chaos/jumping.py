"""An event loop over real sockets whose clock jumps: whenever nothing moves any more, it is the next timer's time.

Everything that talks must live on this one loop (and on the threads of `asyncio` and `orchd.threads`, which it waits
for: time stands still while a disk is at work). Then
nothing is on its way once the sockets are quiet for a moment, and ten minutes pass in seconds without a time-out that
a real ten minutes would not have had. `tests/virtual_time.py` is the loop without sockets.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from orchd.domain.offer import NodeProgram
from orchd.threads import DaemonThreads

QUIET_S = 0.0002
"""Real seconds without a ready socket: loopback delivers within the sender's own system call, nearly always; a late
packet meets a clock that has gone on to the next timer, mostly less than a second away."""
HANGS_S = 90.0
"""Real seconds; nothing waits so long for a thread, or without any timer."""
TICK_S = 1e-6
"""Each jump goes so far beyond: a sum of floats that just misses its time would be waited for again and for ever."""
BIRTH = 1_700_000_000.0
"""Unix time at which the clock of each loop begins."""

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    loop: JumpingLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.loop.threads or timeout is None:
            ready = super().select(HANGS_S)
            assert ready, "everything waits, and nothing comes"
            return ready
        time.sleep(QUIET_S)  # epoll's own time-out is a whole millisecond at least.
        ready = super().select(0)
        if not ready:
            self.loop.now += timeout + TICK_S
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """Attributes:
    now: seconds since the loop was made.
    stepped: seconds by which the machine's clock was put forward; Unix time alone shows them.
    threads: calls under way in threads; time stands still for them.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.stepped = 0.0
        self.threads = 0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self._clock_resolution = TICK_S

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        self.threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _future: object) -> None:
        self.threads -= 1


def _counted(loop: JumpingLoop, run: Any) -> Any:
    async def counted(*args: Any) -> Any:
        loop.threads += 1
        try:
            return await run(*args)
        finally:
            loop.threads -= 1

    return counted


def run_jumping(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on a fresh loop, Unix time included; a task that it leaves behind is an error."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner, pytest.MonkeyPatch.context() as patch:
        loop = runner.get_loop()
        assert isinstance(loop, JumpingLoop)
        patch.setattr(time, "time", lambda: BIRTH + loop.stepped + loop.time())
        patch.setattr(DaemonThreads, "run", _counted(loop, DaemonThreads.run))

        async def guarded() -> T:
            result = await main
            left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            assert not left, f"tasks left behind: {left}"
            return result

        return runner.run(guarded())


def through_each_program(story: Callable[[NodeProgram], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test of a story that is told of each node program, on a loop of its own."""

    @pytest.mark.parametrize("program", list(NodeProgram))
    def test(program: NodeProgram) -> None:
        run_jumping(story(program))

    test.__doc__ = story.__doc__
    return test

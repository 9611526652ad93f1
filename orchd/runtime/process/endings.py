"""How processes are ended: the leader's group, what has left it, and in the end whatever still lives."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping

from orchd.domain.model import StopSpec
from orchd.domain.ports import StopReport
from orchd.errors import EngineUnavailable
from orchd.runtime.process.child import ChildRunner
from orchd.runtime.process.marks import Process, end_of, lives, send

KILL_WAIT_S = 5.0
"""A killed process ends within milliseconds, except one that hangs in the kernel, which nobody can help."""


class Endings:
    """Signals to runners, and the wait for their ends.

    Args:
        runners: those of the runtime, by handle.
        look: looks through /proc and returns what lives of all of them.
    """

    def __init__(self, runners: Mapping[str, ChildRunner], look: Callable[[], Awaitable[list[Process]]]) -> None:
        self._runners = runners
        self._look = look

    async def stop(self, handle: str, stop: StopSpec) -> StopReport:
        """Signal the group and the runner's processes that have left it, wait for all of them, kill what is left."""
        runner = self._runners.get(handle)
        if runner is None or runner.pidfd is None:
            return StopReport("already_gone", runner.exit_code if runner else None)
        number = signal.Signals[stop.signal]
        strays = [process for process in await self._processes(handle) if process.session != runner.pid]
        self.signal_group(handle, number)
        for process in strays:
            send(process, number)
        how = "signal"
        try:
            async with asyncio.timeout(stop.grace_s):
                await runner.ended.wait()
                await self._all_gone(handle)
        except TimeoutError:
            how = "killed"
            await self.kill(handle)
        return StopReport(how, runner.exit_code)

    async def kill(self, handle: str) -> None:
        """Kill all that is left of it, and wait for that.

        Raises:
            EngineUnavailable: it hangs in the kernel, or runs as another user.
        """
        runner = self._runners.get(handle)
        if runner is not None and runner.all_ended:
            return
        self.signal_group(handle, signal.SIGKILL)
        try:
            async with asyncio.timeout(KILL_WAIT_S):
                if runner is not None and runner.pid:
                    await runner.ended.wait()
                await self._all_gone(handle, signal.SIGKILL)
        except TimeoutError:
            raise EngineUnavailable(f"cannot end {handle}: it hangs in the kernel; look at it with ps") from None

    def signal_group(self, handle: str, number: signal.Signals) -> None:
        """Signal the leader's group, if the leader lives (and the group's id is still its own)."""
        runner = self._runners.get(handle)
        if runner is None or runner.pidfd is None:
            return
        try:
            signal_leader(runner, number)
        except PermissionError as exc:
            raise EngineUnavailable(f"cannot send {number.name} to {handle}: it runs as another user") from exc

    async def _all_gone(self, handle: str, number: signal.Signals | None = None) -> None:
        """Wait until no process of the runner lives; with `number`, send it to each of them."""
        while processes := await self._processes(handle):
            for process in processes:
                if number is not None:
                    send(process, number)
                await end_of(process)
        if (runner := self._runners.get(handle)) is not None and runner.ended.is_set():
            runner.all_ended = True

    async def _processes(self, handle: str) -> list[Process]:
        """Return what lives of the runner, by a look that begins now."""
        found = {process.pid: process for process in await self._look() if process.runner.name == handle}
        if (runner := self._runners.get(handle)) is not None:
            found = {pid: process for pid, process in runner.members.items() if lives(process)} | found
        return [*found.values()]


def signal_leader(runner: ChildRunner, number: signal.Signals) -> None:
    """Signal the group of a leader, unless it has just ended."""
    assert runner.pidfd is not None, "the caller has looked"
    runner.killed = runner.killed or number is signal.SIGKILL
    try:
        signal.pidfd_send_signal(runner.pidfd, 0)
        os.killpg(runner.pid, number)
    except ProcessLookupError:
        pass  # Ended just now.

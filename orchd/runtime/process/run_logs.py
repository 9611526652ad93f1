"""Reads and bounds what a process writes while it runs, and keeps it when it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from typing import TypeVar

import structlog

from orchd.domain.ids import RunnerId
from orchd.domain.runs import EndedRun, LogView
from orchd.errors import EngineUnavailable, LogGone
from orchd.reasons import why
from orchd.runtime.keep import LogKeeper
from orchd.runtime.kept_logs import LOG_BYTES
from orchd.runtime.log_files import PIECE
from orchd.runtime.process.logs import Logs
from orchd.threads import DaemonThreads

log = structlog.get_logger("orchd.runtime")

T = TypeVar("T")

FOLLOW_S = 0.2
"""How often it is looked whether a process has written more: what a person takes for at once."""
LEFT = "orchd was not there when it ended, so how is not known"


class RunLogs:
    """The logs of processes, as `ports.Runtime` offers them.

    Args:
        disk: threads that touch files; of one thread, so that no file is cut while it is read.
        timeout_s: for each look at a file.
    """

    def __init__(self, logs: Logs, keeper: LogKeeper, disk: DaemonThreads, timeout_s: float) -> None:
        self._logs = logs
        self._keeper = keeper
        self._disk = disk
        self._timeout_s = timeout_s
        self._told_slow = False

    async def bound(self, alive: frozenset[str]) -> None:
        """Keep the files within their bound. A disk that does not answer is said once, and nothing waits for it."""
        try:
            await self._run(lambda: self._logs.bound(alive))
            self._told_slow = False
        except TimeoutError:
            if not self._told_slow:
                log.warning("runner_logs_not_bounded", folder=str(self._logs.folder), why="the disk does not answer")
            self._told_slow = True

    async def tail(self, name: str, since: int, lines: int) -> tuple[str, ...]:
        """Return the last lines of a run's log from the place `since` on; none if it can't be read."""
        try:
            return await self._run(lambda: self._logs.tail(name, lines, since))
        except OSError as exc:
            log.warning("runner_log_not_read", runner=name, error=why(exc))
            return ()

    async def read(self, name: str, since: int, view: LogView, ended: asyncio.Event) -> AsyncGenerator[bytes, None]:
        """Yield a run's log from the place `since` on. As `ports.Runtime.log`."""
        try:
            place = await self._run(lambda: self._logs.place_of_tail(name, since, view.tail))
            while True:
                over = ended.is_set() or not view.follow
                piece, place = await self._run(lambda at=place: self._logs.read(name, at))  # type: ignore[misc]
                if piece:
                    yield piece
                elif over:
                    return
                else:
                    await asyncio.sleep(FOLLOW_S)
        except FileNotFoundError as exc:
            raise LogGone(f"cannot find a log of {name}: nothing of it is left") from exc
        except OSError as exc:
            path = self._logs.path(name)
            raise EngineUnavailable(f"cannot read the log {path}: {why(exc)}") from exc

    async def keep(self, run: EndedRun, since: int, secrets: Collection[str]) -> None:
        """Keep the last of a run's log from the place `since` on, and empty the file for the next run."""
        name = run.runner.name
        if await self._keeper.keep(run, secrets, self._last_of(name, since)):
            try:
                await self._run(lambda: self._logs.remove(name))
            except OSError as exc:
                log.warning("runner_log_not_removed", path=str(self._logs.path(name)), error=why(exc))

    async def keep_left(self, runner: RunnerId, secrets: Collection[str]) -> None:
        """Keep what an earlier run has left in the file of one that is to start: orchd was killed before it could."""
        try:
            path = self._logs.path(runner.name)
            if not await self._run(lambda: self._logs.size(runner.name)):
                return
            ended_at = (await self._run(path.stat)).st_mtime
            if await self._keeper.has_kept(runner, ended_at):  # Killed between the two steps of `keep`.
                await self._run(lambda: self._logs.remove(runner.name))
                return
        except OSError:
            return  # The start finds the same, and says so.
        await self.keep(EndedRun(runner, ended_at, LEFT), 0, secrets)

    async def _last_of(self, name: str, since: int) -> AsyncGenerator[bytes, None]:
        try:
            place = await self._run(lambda: self._logs.place_of_tail(name, since, None, LOG_BYTES + PIECE))
        except FileNotFoundError:
            return
        while True:
            piece, place = await self._run(lambda at=place: self._logs.read(name, at))  # type: ignore[misc]
            if not piece:
                return
            yield piece

    async def _run(self, work: Callable[[], T]) -> T:
        return await self._disk.run(work, self._timeout_s)

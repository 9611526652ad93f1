"""What the daemon does for `orchd down`: it stops and removes all runners, and then ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol

import structlog

from orchd import tasks
from orchd.control.orders import Asker, Json
from orchd.errors import RunnersLeft
from orchd.history.ports import History, Kind

log = structlog.get_logger("orchd.control")

SAYS_WHY_S = 2.0
"""A drain that takes longer than this says what it waits for, and looks as often for another reason."""


class EndsRunners(Protocol):
    """As `reconcile.ports.Reconciler`."""

    async def end_all(self, tell: Callable[[str], None]) -> tuple[str, ...]: ...


class NamesElsewhere(Protocol):
    """As `runtime.ports.Runtimes`."""

    async def elsewhere(self) -> list[str]: ...


class TakeDown:
    """Takes everything down.

    Args:
        drain: drains everything that uses the runners.
        waits_for: returns in words what that waits for.
        stop: asks the daemon to end, for a reason.
        history: is told of the order.
    """

    def __init__(
        self,
        reconcile: EndsRunners,
        runtimes: NamesElsewhere,
        drain: Callable[[], Awaitable[None]],
        waits_for: Callable[[], str],
        stop: Callable[[str], None],
        history: History,
    ) -> None:
        self._reconcile = reconcile
        self._runtimes = runtimes
        self._drain = drain
        self._waits_for = waits_for
        self._stop = stop
        self._history = history

    async def run(self, _order: Json, by: Asker) -> AsyncGenerator[Json, None]:
        """Drain, stop and remove all runners, and ask the daemon to end; yield a `line` whenever there is news.

        Raises:
            RunnersLeft: something may still run. The daemon ends all the same.
        """
        log.info("down_asked", by=str(by))
        self._history.note(Kind.DOWN_ASKED, "", by=str(by))
        yield {"line": "no new jobs are taken; waiting for those that run"}
        async for waits in self._drained():
            yield {"line": waits}
        news: asyncio.Queue[str | None] = asyncio.Queue()

        async def end() -> tuple[str, ...]:
            try:
                return await self._reconcile.end_all(news.put_nowait)
            finally:
                news.put_nowait(None)

        ending = tasks.spawn(end(), name="take down")
        while (line := await news.get()) is not None:
            yield {"line": line}
        left = [*await ending, *await self._runtimes.elsewhere()]
        self._stop("orchd down")
        if left:
            raise RunnersLeft(left)

    async def _drained(self) -> AsyncGenerator[str, None]:
        """Drain, and say what that waits for whenever it takes a while and the answer is another one."""
        draining = tasks.spawn(self._drain_all(), name="drain for down")
        said = ""
        try:
            while not (await asyncio.wait({draining}, timeout=SAYS_WHY_S))[0]:
                if (waits := self._waits_for()) != said:
                    said = waits
                    yield f"waiting for {waits}"
            draining.result()
        finally:
            await tasks.cancel(draining)

    async def _drain_all(self) -> None:
        await self._drain()

"""What the daemon does for `orchd logs`: it passes on what runners write and wrote, without their secrets.

A line of the answer is one of

    {"several": bool}                                 more than one replica is shown
    {"replica": N, "data": BASE64}                    a piece of a log, as it was written
    {"model": NAME, "replica": N, "at": UNIX TIME, "ended": TEXT}    here the log of a run ends, which ended so
    {"note": TEXT}                                    for a person
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

from orchd import tasks
from orchd.control.log_sources import LogSources
from orchd.control.orders import Asker, Json, text_of
from orchd.control.replica_log import LogOrder, ReplicaLog
from orchd.domain.ids import ModelKey
from orchd.domain.runs import KeptRun
from orchd.domain.state import ModelStatus
from orchd.errors import Code, OrchdError
from orchd.reasons import why
from orchd.reconcile.ports import Reconciler
from orchd.runtime.ports import Runtimes
from orchd.status_view import find_model

_AHEAD = 2
"""Pieces that may wait for a reader who follows several replicas."""


class ShowLogs:
    """Shows logs: one after the other, or as they come."""

    def __init__(self, reconcile: Reconciler, runtimes: Runtimes) -> None:
        self._reconcile = reconcile
        self._runtimes = runtimes
        self._sources = LogSources(reconcile, runtimes)

    async def run(self, order: Json, _by: Asker) -> AsyncGenerator[Json, None]:
        """Yield the logs of the model `order["model"]`.

        Raises:
            OrchdError: there is no such model or replica, or nothing of it can be shown.
        """
        asked, name = LogOrder.of(order), text_of(order, "model")
        try:
            key = await self._find(name)
            status = await self._sources.status(key)
            if status is not None and not status.model.kind.launched:
                raise OrchdError(
                    f"cannot show logs of {key}: orchd does not run it; look where it runs ({status.model.source})",
                    code=Code.BAD_REQUEST,
                )
            kept = await self._runtimes.kept.runs(key)
        except OSError as exc:
            raise OrchdError(f"cannot look for logs that are kept: {why(exc)}") from exc
        replicas = _replicas(status, kept)
        if asked.replica is not None:
            if asked.replica not in replicas:
                there = ", ".join(map(str, replicas)) or "none"
                raise OrchdError(
                    f"cannot show replica {asked.replica} of {key}: there is {there}", code=Code.UNKNOWN_TARGET
                )
            replicas = [asked.replica]
        yield {"several": len(replicas) > 1}
        shown = self._shown(key, replicas, asked)
        async with aclosing(shown):
            async for news in shown:
                yield news

    async def _find(self, name: str) -> ModelKey:
        served = self._reconcile.loop.models()
        try:
            return find_model(name, served)
        except OrchdError:  # It may have left the file, and its last log is kept.
            return find_model(name, {*served, *await self._runtimes.kept.models()})

    async def _shown(self, key: ModelKey, replicas: list[int], asked: LogOrder) -> AsyncGenerator[Json, None]:
        """Yield what all replicas tell: each by a task of its own, which waits until it was taken."""
        news: asyncio.Queue[Json | OrchdError | None] = asyncio.Queue(_AHEAD)
        showing = tasks.spawn(self._show_all(key, replicas, asked, news), name=f"logs of {key}")
        try:
            while (one := await news.get()) is not None:
                if isinstance(one, OrchdError):
                    raise one
                yield one
        finally:
            await tasks.cancel(showing)

    async def _show_all(
        self, key: ModelKey, replicas: list[int], asked: LogOrder, news: asyncio.Queue[Json | OrchdError | None]
    ) -> None:
        each = [ReplicaLog(self._sources, key, replica, asked, news.put) for replica in replicas]
        try:
            if asked.view.follow:
                await _all_of([one.follow for one in each])
            else:
                failures = [failure for one in each if (failure := await one.show_once())]
                for failure in failures[: len(failures) if len(failures) < len(each) else 0]:
                    await news.put({"note": failure.message})
                if failures and len(failures) == len(each):
                    await news.put(failures[0])
        except OrchdError as exc:
            await news.put(exc)
        await news.put(None)


def _replicas(status: ModelStatus | None, kept: list[KeptRun]) -> list[int]:
    """Return the replicas that there are or are to be; of a model that is gone, those of which a log is kept."""
    if status is None:
        return sorted({run.run.runner.replica for run in kept})
    return sorted({*range(status.model.replicas), *(runner.runner.replica for runner in status.runners)})


async def _all_of(each: list[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    """Run all at the same time; what one raises ends the others."""
    running = [tasks.spawn(one(), name="follow a log") for one in each]
    try:
        await asyncio.gather(*running)
    finally:
        await tasks.cancel(*running)

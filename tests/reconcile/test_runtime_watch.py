"""When the runners of a runtime are listed, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchd import tasks
from orchd.reconcile.call_results import RunnersListed, RuntimeDown
from orchd.reconcile.runtime_watch import SETTLE_S, watch_runtime
from tests.fakes.runtime import FakeRuntime
from tests.virtual_time import virtual_time

PERIOD_S = 30.0


@asynccontextmanager
async def looking(runtime: FakeRuntime) -> AsyncIterator[list[RunnersListed | RuntimeDown]]:
    news: list[RunnersListed | RuntimeDown] = []
    task = tasks.spawn(watch_runtime(runtime, PERIOD_S, news.append), name="watch the runtime")
    await asyncio.sleep(1)
    try:
        yield news
    finally:
        await tasks.cancel(task)


@virtual_time
async def test_it_looks_from_time_to_time_though_nothing_stirs() -> None:
    async with looking(FakeRuntime(delay_s=0.0)) as news:
        await asyncio.sleep(10 * PERIOD_S)
        assert len(news) == 11


@virtual_time
async def test_what_stirs_is_looked_at_at_once() -> None:
    runtime = FakeRuntime(delay_s=0.0)
    async with looking(runtime) as news:
        assert runtime.hurry is not None
        before = len(news)
        for _ in range(5):
            runtime.hurry()
        await asyncio.sleep(2 * SETTLE_S)
        assert len(news) == before + 1, "and several stirs are one look"


@virtual_time
async def test_an_engine_that_comes_back_is_opened_again() -> None:
    runtime = FakeRuntime(delay_s=0.0)
    async with looking(runtime) as news:
        runtime.down = True
        await asyncio.sleep(2 * PERIOD_S)
        assert isinstance(news[-1], RuntimeDown)
        opened = runtime.count("open")
        runtime.down = False
        await asyncio.sleep(2 * PERIOD_S)
        assert isinstance(news[-1], RunnersListed)
        assert runtime.count("open") > opened

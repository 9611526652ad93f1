"""Lists the runners of one runtime: at once when something has changed there, and from time to time in any case."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from orchd import tasks
from orchd.domain.ports import Runtime
from orchd.errors import EngineUnavailable
from orchd.reconcile.call_results import RunnersListed, RuntimeDown

SETTLE_S = 0.02
"""Several engine events of one happening are one look."""


async def watch_runtime(runtime: Runtime, period_s: float, post: Callable[[RunnersListed | RuntimeDown], None]) -> None:
    """Open the runtime, then post a RunnersListed or RuntimeDown at least every `period_s` seconds, until cancelled.

    Raises:
        AlreadyRunning: the engine can be reached, and another daemon holds our instance on it.
    """
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()
    watch: asyncio.Task[None] | None = None
    is_open = False
    try:
        while True:
            changed.clear()
            at = loop.time()
            try:
                if not is_open:
                    await runtime.open()
                    is_open = True
                if watch is None:
                    watch = tasks.spawn(runtime.watch(changed.set), name=f"watch {runtime.id}")
                post(RunnersListed(runtime.id, at, await runtime.sightings()))
            except EngineUnavailable as exc:
                is_open = False
                post(RuntimeDown(runtime.id, exc.message))
            try:
                async with asyncio.timeout(period_s):
                    await changed.wait()
                await asyncio.sleep(SETTLE_S)
            except TimeoutError:
                pass
    finally:
        if watch is not None:
            await tasks.cancel(watch)

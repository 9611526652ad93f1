"""What the reconcile loop takes as models become many: how long it holds the event loop at a time, and in all.

The real loop, table and poller over a fake prober, in this process. CPU time of the thread, so that what else the
machine does counts little.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import structlog

from orchd import tasks
from orchd.domain.events import StartWanted
from orchd.domain.ids import Address
from orchd.domain.model import ExternalLaunch, Model
from orchd.jobs.settings import JobsSettings
from orchd.reconcile.settings import ReconcileSettings
from orchd.settings.tree import Settings
from tests.bench.report import Row, Section
from tests.fakes.models import external_model
from tests.reconcile.world import World

TITLE = "Turns of the reconcile loop"
HEAD = ("models", "a new file", "all entries edited", "one entry edited", "full pass", "snapshot of all", "one event")
ABOUT = (
    "The longest that it holds the event loop at a time / in all, in ms of CPU time. Bars with 1,000 models: 10 at a "
    "time and 1,000 in all for a file, 2 at a time for the rest."
)
RARELY_S = 1e6


class Hold:
    """The longest time between two of its own turns: so long did others hold the event loop."""

    def __init__(self) -> None:
        self.worst_s = 0.0

    async def run(self) -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            self.worst_s = max(self.worst_s, now - last)
            last = now


async def turns(counts: tuple[int, ...]) -> Section:
    """Measure with so many models each."""
    usual = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        rows = [Row((f"{count}", *await _figures(count))) for count in counts]
    finally:
        structlog.configure(wrapper_class=usual)
    return Section(TITLE, ABOUT, HEAD, tuple(rows))


async def _figures(count: int) -> list[str]:
    models = [_model(number) for number in range(count)]
    settings = Settings(reconcile=ReconcileSettings(period_s=RARELY_S), jobs=JobsSettings(start_wait_s=0.0))
    async with World(settings).orchd() as world:
        loop = world.loop
        await asyncio.sleep(0.1)
        gc.collect()
        gc.freeze()  # As the daemon does.
        usual = gc.get_threshold()
        gc.set_threshold(20_000, 20, 20)

        async def applied(wanted: list[Model]) -> None:
            world.want(*wanted)
            await loop.changed()

        async def full_pass() -> None:
            loop.state.agenda.routine(loop.state.keys())
            await applied(models)

        async def one_event() -> None:
            loop.post(StartWanted(models[0].key))
            await loop.changed()

        _ = [model.generation for model in models]  # The catalog has made them by then.
        found = [await _held(applied(models))]
        await world.until("all are ready", 60, holds=lambda: all(loop.standing(key).ready for key in loop.models()))
        models = [replace(model, max_sessions=2) for model in models]
        found.append(await _held(applied(models)))
        models = [replace(models[0], max_sessions=3), *map(replace, models[1:])]
        found.append(await _held(applied(models)))
        found.append(await _held(full_pass()))
        for model in models:
            world.begin(model)
        found.append(await _held(world.snapshots.fresh()))
        await one_event()  # In which all models are planned, for their sessions.
        found.append(await _held(one_event()))
        gc.set_threshold(*usual)
        gc.unfreeze()
    return found


async def _held(work: Coroutine[Any, Any, object]) -> str:
    hold = Hold()
    watch = tasks.spawn(hold.run(), name="hold")
    await asyncio.sleep(0)
    began = time.thread_time()
    await work
    total_s = time.thread_time() - began
    await tasks.cancel(watch)
    return f"{hold.worst_s * 1000:.2f} / {total_s * 1000:.1f}"


def _model(number: int) -> Model:
    return replace(external_model(f"m-{number}"), launch=ExternalLaunch(Address("127.0.0.1", 10_000 + number)))

"""Garbage collection looks at little at a time, and at what edits have made not at all."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest

from orchd.admin.status_page import StatusPage
from orchd.domain.ids import ModelKey
from orchd.domain.state import Snapshot
from orchd.exposition import MetricsRegistry
from orchd.garbage import EXCLUDE_AFTER_S, MIDDLE, NEVER, QUIET_S, SWEEP_S, WHOLE_S, YOUNG, LongLived, Sweeps
from orchd.tasks import cancel, spawn
from tests.collectors import Metrics
from tests.fakes.snapshots import snapshot
from tests.virtual_time import virtual_time


@pytest.fixture
def _as_shipped() -> Iterator[None]:
    """With orchd's thresholds, and the collector as it was afterwards."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, NEVER)
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@virtual_time
async def test_what_edits_have_made_is_excluded_once_after_the_last_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[float] = []
    now = asyncio.get_running_loop().time
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(now()))
    long_lived = LongLived()
    for _ in range(3):
        long_lived.edited()
        await asyncio.sleep(EXCLUDE_AFTER_S / 2)
    edited_last = now() - EXCLUDE_AFTER_S / 2
    await asyncio.sleep(10 * EXCLUDE_AFTER_S)
    assert frozen == [pytest.approx(edited_last + EXCLUDE_AFTER_S)]
    long_lived.edited()
    long_lived.close()
    await asyncio.sleep(10 * EXCLUDE_AFTER_S)
    assert len(frozen) == 1


@pytest.mark.usefixtures("_as_shipped")
@virtual_time
async def test_objects_that_take_the_place_of_others_do_not_pile_up() -> None:
    """Each waits again and again, as probes do: Python's own count stays the same, so it would not collect."""
    looked_at: list[int] = []

    def collect(generation: int) -> None:
        looked_at.append(sum(len(gc.get_objects(young)) for young in range(generation + 1)))
        gc.collect(generation)

    async def probe(number: int) -> None:
        await asyncio.sleep(number / 200)
        for _ in range(100):
            await asyncio.sleep(5)

    probes = [spawn(probe(number), name="probe") for number in range(1000)]
    await asyncio.sleep(10)
    gc.collect()
    gc.freeze()
    sweeps = Sweeps(lambda: False, collect)
    sweeps.start()
    await asyncio.sleep(20)
    sweeps.close()
    assert len(looked_at) == pytest.approx(20 / SWEEP_S, abs=1)
    assert max(looked_at) < 2_000, "a thousand probes wait, with a dozen objects each"
    await cancel(*probes)


@pytest.mark.parametrize("always_busy", [False, True])
@virtual_time
async def test_all_is_collected_once_an_hour_in_a_quiet_moment_if_there_is_one(always_busy: bool) -> None:
    whole: list[float] = []
    now = asyncio.get_running_loop().time
    began = now()
    busy = True

    def collect(generation: int) -> None:
        assert generation in (1, 2)
        if generation == 2:
            whole.append(now() - began)

    sweeps = Sweeps(lambda: busy, collect)
    sweeps.start()
    await asyncio.sleep(WHOLE_S + QUIET_S / 2)
    assert whole == []
    busy = always_busy
    await asyncio.sleep(QUIET_S)
    sweeps.close()
    quiet_at = WHOLE_S + QUIET_S / (1 if always_busy else 2)
    assert whole == [pytest.approx(quiet_at, abs=2 * SWEEP_S)]


async def test_pages_leave_no_cycles() -> None:
    metrics, key = Metrics(MetricsRegistry(), "1"), ModelKey("bench", "m")
    metrics.define(key, 1)

    async def shown() -> Snapshot:
        return snapshot()

    pages, status = 50, StatusPage(shown)
    for _ in range(3):  # What is made once is made now.
        await metrics.page()
        await status.page()
    gc.collect()
    gc.disable()
    try:
        for _ in range(pages):
            await metrics.page()
            await status.page()
        assert gc.collect() < pages
    finally:
        gc.enable()

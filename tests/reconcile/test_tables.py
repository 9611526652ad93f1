"""What an operator has stopped is there in the next life."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from orchd.domain.ids import ModelKey
from orchd.domain.state import Stopped
from orchd.reconcile.tables import StoppedTable
from orchd.tasks import cancel, spawn
from tests.database.parts import opened_own

A, B = ModelKey("llm", "org/ü"), ModelKey("upscale", "b")
ALICE, BOB = Stopped("alice", 1.5), Stopped("bob", 7.0)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[StoppedTable]:
    async with opened_own(folder) as database:
        yield StoppedTable(database)


async def test_what_is_stopped_is_there_in_the_next_life_with_who_and_when(tmp_path: Path) -> None:
    async with opened(tmp_path) as table:
        await table.save({A: ALICE, B: BOB})
    async with opened(tmp_path) as table:
        assert await table.stopped() == {A: ALICE, B: BOB}
        await table.forget([A, A, ModelKey("no", "such")])
    async with opened(tmp_path) as table:
        assert await table.stopped() == {B: BOB}


async def test_who_stopped_it_first_stays(tmp_path: Path) -> None:
    async with opened(tmp_path) as table:
        await table.save({A: ALICE})
        await table.save({A: BOB, B: BOB})
        assert await table.stopped() == {A: ALICE, B: BOB}


async def test_a_start_that_comes_while_a_stop_is_saved_wins(tmp_path: Path) -> None:
    async with opened(tmp_path) as table:
        saving = spawn(table.save({A: ALICE}), name="save")
        await asyncio.sleep(0)
        await cancel(saving)
        await table.forget([A])
        assert await table.stopped() == {}

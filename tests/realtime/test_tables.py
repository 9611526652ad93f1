"""What is kept of realtime sessions is there in the next life."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.stores import StoredStream, StreamStore
from orchd.realtime.tables import StreamTable
from orchd.tasks import cancel, spawn
from tests.database.parts import opened_own

RUNNER = RunnerId(ModelKey("live", "b/ü"), 1, "0123456789ab")


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[StreamStore]:
    async with opened_own(folder) as database:
        yield StreamTable(database)


def stream(id: str = "s1", began_at: float = 5.25, runner: RunnerId = RUNNER) -> StoredStream:
    return StoredStream(id, "live-runner", runner, began_at)


async def test_whether_anything_was_started_is_kept_and_what_an_earlier_version_has_left_was(tmp_path: Path) -> None:
    held = replace(stream(), started=False)
    async with opened_own(tmp_path) as database:
        await StreamTable(database).save_stream(held)
        assert await StreamTable(database).streams() == (held,)
        columns = "(pipeline, model_id, stream_id, origin, replica, generation, began_at)"
        values = "('live', 'b', 'old', 'byoc', 0, '0123456789ab', 6.0)"
        await database.transaction(lambda sql: sql.change(f"INSERT INTO streams {columns} VALUES {values}"))
        _, old = await StreamTable(database).streams()
    assert (old.id, old.started) == ("old", True)


async def test_streams_are_there_in_the_next_life_oldest_first(tmp_path: Path) -> None:
    elsewhere = RUNNER._replace(key=ModelKey("live", "a"))
    saved = [stream("young", 9.0), stream("old", 1.5), stream("young", 3.0, elsewhere)]
    async with opened(tmp_path) as store:
        for each in saved:
            await store.save_stream(each)
    async with opened(tmp_path) as store:
        assert await store.streams() == (saved[1], saved[2], saved[0])
        await store.forget_stream(elsewhere.key, "old")
        await store.forget_stream(RUNNER.key, "young")
        await store.forget_stream(RUNNER.key, "young")
        assert await store.streams() == (saved[1], saved[2])


async def test_a_stream_that_is_saved_again_is_replaced(tmp_path: Path) -> None:
    moved = stream("s1", 7.0, RUNNER._replace(replica=0, generation="ba9876543210"))
    async with opened(tmp_path) as store:
        await store.save_stream(stream())
        await store.save_stream(moved)
        assert await store.streams() == (moved,)


async def test_a_stream_that_is_forgotten_while_it_is_saved_does_not_come_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        saving = spawn(store.save_stream(stream()), name="save")
        await asyncio.sleep(0)
        await cancel(saving)
        await store.forget_stream(RUNNER.key, "s1")
        assert await store.streams() == ()


async def test_a_session_keeps_who_pays_for_it(tmp_path: Path) -> None:
    paid = replace(stream(), account='{"version": 1}')
    async with opened(tmp_path) as store:
        await store.save_stream(paid)
        await store.save_stream(stream("free"))
    async with opened(tmp_path) as store:
        assert set(await store.streams()) == {paid, stream("free")}

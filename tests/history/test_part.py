"""What is told is kept over a restart, and what can't be written waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from orchd import tasks
from orchd.database.database import Database, read_beside
from orchd.database.sql import Row
from orchd.domain.ids import ModelKey, RunnerId
from orchd.history.part import HistoryPart
from orchd.history.ports import Kind
from orchd.part import Context
from tests.advertise.rig import until
from tests.database.parts import opened_own

KEY = ModelKey("llm", "org/a")
KINDS = "SELECT kind FROM history_events"
RUNNER = RunnerId(KEY, 0, "0123456789ab")


@asynccontextmanager
async def history(database: Database) -> AsyncIterator[HistoryPart]:
    """One life of the part, ended cleanly."""
    context = cast(Context, SimpleNamespace(settings=SimpleNamespace(instance="t")))
    part = HistoryPart(context, cast(Any, SimpleNamespace(database=database)))
    await part.open()
    await part.start()
    roots = [tasks.spawn(work, name=name) for name, work in part.roots().items()]
    try:
        yield part
    finally:
        await tasks.cancel(*roots)
        await part.close()


async def events(database: Database) -> list[Row]:
    return await database.read(lambda sql: sql.rows("SELECT kind, model_id, replica, why, by FROM history_events"))


async def test_what_is_told_is_there_in_the_next_life(tmp_path: Path) -> None:
    async with opened_own(tmp_path) as database:
        async with history(database) as part:
            part.note(Kind.READY, "health is ready", about=RUNNER)
            part.note(Kind.RESTART_ASKED, "", about=KEY, by="alice")
            part.stands(RUNNER, "ready", "health is ready")
        async with history(database) as part:
            pass
        kept = await events(database)
    assert [row[0] for row in kept] == ["orchd_started", "ready", "restart_asked", "orchd_started"]
    assert kept[1:3] == [("ready", "org/a", 0, "health is ready", ""), ("restart_asked", "org/a", None, "", "alice")]


async def test_it_is_written_while_the_daemon_lives(tmp_path: Path) -> None:
    async with opened_own(tmp_path) as database, history(database) as part:
        part.note(Kind.READY, "health is ready", about=RUNNER)
        file = tmp_path / "orchd.db"
        await until("it is written", lambda: ("ready",) in read_beside(file, lambda sql: sql.rows(KINDS)))

"""What is told is kept over a restart, and what can't be written waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from orchd.database.sql import Sql
from orchd.domain.model import ContainerLaunch
from orchd.errors import StoreError
from orchd.history import part as part_module
from orchd.history import tables
from orchd.history.buffer import MOST_TOGETHER
from orchd.history.part import GATHER_S
from orchd.history.ports import Kind
from orchd.history.read import KeptEvent, KeptHistory
from tests.advertise.rig import until
from tests.database.parts import opened_own
from tests.fakes.models import container_model
from tests.history.kept import KEY, RUNNER, history, kept_in
from tests.virtual_time import virtual_time

ALL = 10**6


def events(folder: Path) -> list[KeptEvent]:
    return KeptHistory(folder).newest(ALL, lambda _: True).events


def kinds(folder: Path) -> list[str]:
    return [event.kind for event in events(folder)]


async def test_what_is_told_is_there_in_the_next_life(tmp_path: Path) -> None:
    async with kept_in(tmp_path) as part:
        part.note(Kind.READY, "health is ready", about=RUNNER)
        part.note(Kind.RESTART_ASKED, "", about=KEY, by="alice")
    async with kept_in(tmp_path) as part:
        part.note(Kind.DOWN_ASKED, "", by="bob")
    assert kinds(tmp_path) == ["daemon_started", "ready", "restart_asked", "daemon_started", "down_asked"]
    ids = [event.id for event in events(tmp_path)]
    assert ids == sorted(set(ids)), "an id is never given twice"
    ready, asked = events(tmp_path)[1:3]
    assert (ready.key, ready.replica, ready.generation, ready.why) == (KEY, 0, RUNNER.generation, "health is ready")
    assert (asked.key, asked.replica, asked.generation, asked.by) == (KEY, None, "", "alice")


async def test_it_is_written_while_the_daemon_lives(tmp_path: Path) -> None:
    async with kept_in(tmp_path) as part:
        part.note(Kind.READY, "health is ready", about=RUNNER)
        await until("it is written", lambda: "ready" in kinds(tmp_path))


async def test_what_can_not_be_written_waits_and_is_kept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it was written and only the answer was lost, as when a disk is slow."""
    fails = True
    monkeypatch.setattr(part_module, "RETRY_S", 0.01)
    async with opened_own(tmp_path) as database, history(database) as part:
        transaction = database.transaction

        async def answer_is_lost(work: Callable[[Sql], Any]) -> Any:
            result = await transaction(work)
            if fails:
                raise StoreError("cannot use the database: its disk does not answer")
            return result

        monkeypatch.setattr(database, "transaction", answer_is_lost)
        with capture_logs() as logs:
            part.note(Kind.READY, "first", about=RUNNER)
            await until("it was written once", lambda: "ready" in kinds(tmp_path))
            part.note(Kind.UNHEALTHY, "second", about=RUNNER)
            await until("it was tried again", lambda: "unhealthy" in kinds(tmp_path))
            fails = False
            await until("nothing waits", lambda: not part._buffer)
    assert kinds(tmp_path) == ["daemon_started", "ready", "unhealthy"]
    assert [line["event"] for line in logs] == ["events_wait"], "it is said once"


class SlowDisk:
    """In place of a database: each transaction takes a while, and something happens meanwhile.

    Attributes:
        writes: how many transactions there were.
    """

    def __init__(self) -> None:
        self.writes = 0
        self.happens: Callable[[], None] = lambda: None

    async def read(self, work: Callable[[Sql], int]) -> int:
        return 0

    async def transaction(self, work: Callable[[Sql], Any]) -> None:
        self.writes += 1
        self.happens()
        await asyncio.sleep(0.001)


@virtual_time
async def test_what_happens_during_a_write_gathers_before_the_next_one() -> None:
    disk = SlowDisk()
    async with history(cast(Any, disk)) as part:
        disk.happens = lambda: part.note(Kind.READY, "one more", about=RUNNER)
        await asyncio.sleep(40 * GATHER_S)
        disk.happens = lambda: None
        assert 30 < disk.writes <= 42
        await asyncio.sleep(3 * GATHER_S)
        assert not part._buffer, "the last one is written as well"


@virtual_time
async def test_whole_batches_are_written_at_once_and_the_rest_follows() -> None:
    disk = SlowDisk()
    async with history(cast(Any, disk)) as part:
        await asyncio.sleep(2 * GATHER_S)
        before = disk.writes
        for _ in range(2 * MOST_TOGETHER + 1):
            part.note(Kind.READY, "again", about=RUNNER)
        await asyncio.sleep(1.5 * GATHER_S)
        assert disk.writes == before + 2
        await asyncio.sleep(GATHER_S)
        assert (disk.writes, bool(part._buffer)) == (before + 3, False)


async def test_secrets_of_the_model_are_not_kept(tmp_path: Path) -> None:
    model = container_model(launch=ContainerLaunch("image:1", env=(("API_TOKEN", "planted-secret"),)))
    async with kept_in(tmp_path) as part:
        part.note(Kind.FAILED, "said planted-secret", about=RUNNER, evidence="x planted-secret y", model=model)
        part.stands(RUNNER, "backoff", "said planted-secret", model)
    stored = (tmp_path / "orchd.db").read_bytes()
    assert b"planted-secret" not in stored
    assert b"said ***" in stored


async def test_texts_are_kept_up_to_a_length(tmp_path: Path) -> None:
    async with kept_in(tmp_path) as part:
        part.note(Kind.FAILED, "x" * 10_000, about=RUNNER)
    assert events(tmp_path)[-1].why == "x" * (tables.TEXT_CHARS - 1) + "…"

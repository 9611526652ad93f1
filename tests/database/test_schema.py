"""Numbered migrations of each part, the backup before them, and a schema that is newer than this orchd."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from orchd.database.migrations import Migrations, find_migrations
from orchd.errors import Code, StoreError
from tests.database.parts import LEFT, PARTS, RIGHT, add_pair, backups, ids, opened, steps

WIDER: Migrations = {
    "left": steps("left", LEFT, "ALTER TABLE pairs_left ADD COLUMN more TEXT NOT NULL DEFAULT 'none';"),
    "right": PARTS["right"],
}


def asked(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(statement).fetchall()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(autouse=True)
def _any_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


async def test_each_migration_is_applied_once_and_noted(tmp_path: Path) -> None:
    for _ in range(2):
        async with opened(tmp_path) as database:
            await database.read(ids)
    noted = asked(tmp_path / "orchd.db", "SELECT part, number, name, backup FROM schema_migrations")
    assert noted == [("left", 1, "step1", ""), ("right", 1, "step1", "")]
    assert asked(tmp_path / "orchd.db", "PRAGMA user_version") == [(2,)]
    assert backups(tmp_path) == []


async def test_a_file_with_something_in_it_is_backed_up_before_it_is_migrated(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        await database.transaction(partial(add_pair, id=1))
    async with opened(tmp_path, WIDER) as database:
        row = await database.read(lambda sql: sql.row("SELECT id, more FROM pairs_left"))
        assert row == (1, "none")
    [backup] = backups(tmp_path)
    assert backup.name == "orchd.db.schema-2.bak"
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert asked(backup, "SELECT * FROM pairs_left") == [(1, "")]
    assert names(tmp_path) == {"orchd.db", backup.name}, "the backup is one file"


async def test_a_part_that_is_new_migrates_only_itself(tmp_path: Path) -> None:
    async with opened(tmp_path, {"left": PARTS["left"]}):
        pass
    async with opened(tmp_path) as database:
        await database.transaction(partial(add_pair, id=1))
    noted = asked(tmp_path / "orchd.db", "SELECT part, number, backup FROM schema_migrations")
    assert noted == [("left", 1, ""), ("right", 1, "orchd.db.schema-1.bak")]


async def test_a_backup_is_on_the_disk_before_the_migration_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path):
        pass
    synced: list[str] = []
    fsync = os.fsync

    def watched(fd: int) -> None:
        if asked(tmp_path / "orchd.db", "PRAGMA user_version") == [(2,)]:
            synced.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", watched)
    async with opened(tmp_path, WIDER):
        pass
    assert synced == ["orchd.db.schema-2.bak.draft", tmp_path.name]


async def test_a_backup_of_the_same_schema_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "orchd.db"
    async with opened(tmp_path):
        pass
    async with opened(tmp_path, WIDER):
        pass
    [first] = backups(tmp_path)
    path.write_bytes(first.read_bytes())  # As an operator goes back,
    async with opened(tmp_path) as database:
        await database.transaction(partial(add_pair, id=5))
    async with opened(tmp_path, WIDER):  # and forward again.
        pass
    again = [path for path in backups(tmp_path) if path != first]
    assert [each.name for each in again] == ["orchd.db.schema-2-2.bak"]
    assert asked(first, "SELECT id FROM pairs_left") == []
    assert asked(again[0], "SELECT id FROM pairs_left") == [(5,)]


async def test_a_draft_that_a_kill_has_left_is_replaced(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    (tmp_path / "orchd.db.schema-2.bak.draft").write_text("half")
    async with opened(tmp_path, WIDER):
        pass
    [backup] = backups(tmp_path)
    assert asked(backup, "PRAGMA user_version") == [(2,)]


async def test_without_its_backup_nothing_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path):
        pass

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot back up the database .*schema-2\.bak, .*: No space left on device"):
        async with opened(tmp_path, WIDER):
            pass
    monkeypatch.undo()
    assert backups(tmp_path) == []
    assert asked(tmp_path / "orchd.db", "PRAGMA user_version") == [(2,)]


async def test_migrations_are_applied_all_or_none(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        await database.transaction(partial(add_pair, id=1))
    broken: Migrations = {"left": WIDER["left"], "right": steps("right", RIGHT, "DROP TABLE pairs_right; nonsense;")}
    with pytest.raises(StoreError, match="nonsense"):
        async with opened(tmp_path, broken):
            pass
    async with opened(tmp_path) as database:
        assert await database.read(ids) == ({1}, {1})
        assert await database.read(lambda sql: sql.row("SELECT * FROM pairs_left")) == (1, "")


@pytest.mark.parametrize("newer", [WIDER, {**PARTS, "third": steps("third", "CREATE TABLE third (x);")}])
async def test_a_newer_schema_is_refused_with_the_backup_from_before_it(tmp_path: Path, newer: Migrations) -> None:
    async with opened(tmp_path) as database:
        await database.transaction(partial(add_pair, id=1))
    async with opened(tmp_path, newer) as database:
        pass
    before = (tmp_path / "orchd.db").read_bytes()
    with pytest.raises(StoreError, match="it has schema 3, and this orchd knows up to 2") as caught:
        async with opened(tmp_path):
            pass
    assert caught.value.code is Code.STORE_BROKEN
    [backup] = backups(tmp_path)
    assert str(backup) in caught.value.message
    assert "Containers that run go on meanwhile" in caught.value.message
    assert (tmp_path / "orchd.db").read_bytes() == before
    # What the message says works.
    (tmp_path / "orchd.db").unlink()
    (tmp_path / "orchd.db").write_bytes(backup.read_bytes())
    async with opened(tmp_path) as database:
        assert await database.read(ids) == ({1}, {1})


async def test_of_several_newer_migrations_the_backup_before_the_first_is_named(tmp_path: Path) -> None:
    last = steps("left", "", "", "CREATE TABLE last (x);")[2:]
    newest: Migrations = {**PARTS, "left": WIDER["left"] + last}
    async with opened(tmp_path):
        pass
    async with opened(tmp_path, WIDER):
        pass
    async with opened(tmp_path, newest):
        pass
    with pytest.raises(StoreError, match=r"orchd\.db\.schema-2\.bak"):
        async with opened(tmp_path):
            pass
    with pytest.raises(StoreError, match=r"orchd\.db\.schema-3\.bak"):
        async with opened(tmp_path, WIDER):
            pass


async def test_a_newer_schema_without_a_backup_is_refused_with_what_else_can_be_done(tmp_path: Path) -> None:
    async with opened(tmp_path, WIDER):
        pass
    with pytest.raises(StoreError, match=r"move .*orchd\.db away; there is no backup"):
        async with opened(tmp_path):
            pass


async def test_a_version_that_no_orchd_has_made_is_refused_and_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "orchd.db")) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=r"it has schema 99, and this orchd knows up to \d+"):
        async with opened(tmp_path):
            pass
    assert asked(tmp_path / "orchd.db", "SELECT count(*) FROM sqlite_master") == [(0,)]
    assert asked(tmp_path / "orchd.db", "PRAGMA journal_mode") == [("delete",)]


def test_every_part_of_orchd_numbers_its_migrations_from_one() -> None:
    found = find_migrations()
    assert {"catalog", "node", "realtime"} <= found.keys()
    assert [(step.part, step.number) for part in found.values() for step in part] == [
        (name, number) for name, part in found.items() for number in range(1, len(part) + 1)
    ]


@pytest.mark.parametrize("names", [["002_a.sql"], ["001_a.sql", "003_b.sql"], ["001_a.sql", "001_b.sql"]])
def test_migrations_with_a_gap_are_an_error(tmp_path: Path, names: list[str]) -> None:
    folder = tmp_path / "part" / "migrations"
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text("")
    with pytest.raises(ValueError, match="migrations of part"):
        find_migrations(tmp_path)

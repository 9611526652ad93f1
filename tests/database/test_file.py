"""The file under the database: nobody else can read it, damage is named, and what was removed is written again."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from orchd.catalog.codec import dump_model
from orchd.catalog.tables import ModelTable
from orchd.database.database import Database
from orchd.database.migrations import Migrations, find_migrations
from orchd.errors import Code, StoreError
from orchd.node.tables import SecretTable
from orchd.realtime.tables import StreamTable
from tests.conftest import fill
from tests.database.parts import LEFT, PARTS, add_pair, ids, opened, opened_own, steps
from tests.fakes.models import container_model
from tests.realtime.test_tables import stream


async def test_what_one_part_drops_is_not_another_ones(tmp_path: Path) -> None:
    async with opened_own(tmp_path) as database:
        models, streams, secrets = ModelTable(database), StreamTable(database), SecretTable(database)
        await streams.save_stream(stream())
        await secrets.save_secret("key", "value")
        await models.save_models((container_model("a"),))
        await models.save_models(())
        await models.forget_generations(frozenset())
        assert await streams.streams() == (stream(),)
        assert await secrets.secret("key") == "value"


async def test_a_file_of_the_first_version_gets_the_new_tables_and_keeps_its_models(tmp_path: Path) -> None:
    model = container_model("a")
    row = (*model.key, model.generation, dump_model(model))
    with closing(sqlite3.connect(tmp_path / "orchd.db")) as db:
        db.executescript(find_migrations()["catalog"][0].script)
        db.execute("INSERT INTO models VALUES (?, ?, ?, ?, 1, 0.0)", row)
        db.execute("PRAGMA user_version = 1")
        db.commit()
    async with opened_own(tmp_path) as database:
        assert [each.model for each in await ModelTable(database).models()] == [model]
        await StreamTable(database).save_stream(stream())
        assert await StreamTable(database).streams() == (stream(),)


async def test_files_are_readable_by_their_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with opened(tmp_path) as database:
            await database.transaction(partial(add_pair, id=1))
            for name in ("orchd.db", "orchd.db-wal", "orchd.db-shm"):
                assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    finally:
        os.umask(before)


async def test_a_file_that_was_opened_up_is_closed_again(tmp_path: Path) -> None:
    (tmp_path / "orchd.db").touch()
    (tmp_path / "orchd.db").chmod(0o644)
    async with opened(tmp_path):
        assert stat.S_IMODE((tmp_path / "orchd.db").stat().st_mode) == 0o600


async def test_a_file_that_is_no_database_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "orchd.db").write_bytes(b"this is no database " * 100)
    await assert_damaged(tmp_path)


async def test_damage_in_the_middle_is_found_at_the_start(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        for id in range(20):
            await database.transaction(partial(add_pair, id=id, value="x" * 2000))
    with (tmp_path / "orchd.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 12288)
    await assert_damaged(tmp_path)


async def assert_damaged(folder: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot read the database .*orchd\.db: .*move it away") as caught:
        async with opened(folder):
            pass
    assert caught.value.code is Code.STORE_BROKEN


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot open the database .*/no/orchd\.db: No such file"):
        async with opened(tmp_path / "no"):
            pass


@pytest.mark.parametrize("how", ["file", "folder", "replaced"])
async def test_a_database_that_was_removed_is_written_again_with_all_that_was_in_it(tmp_path: Path, how: str) -> None:
    path = tmp_path / "state" / "orchd.db"
    path.parent.mkdir()
    database = Database(path, PARTS)
    await database.open()
    await database.transaction(partial(add_pair, id=1))
    await database.keep()
    if how == "folder":
        shutil.rmtree(path.parent)
    else:
        path.unlink()
    if how == "replaced":
        path.touch()
    assert await database.read(ids) == ({1}, {1}), "what is gone from the folder is still there for us"
    with capture_logs() as said:
        for _ in range(2):
            await database.keep()
    assert [entry["event"] for entry in said].count("store_written_again") == 1
    await database.transaction(partial(add_pair, id=2))
    assert await database.read(ids) == ({1, 2}, {1, 2})
    await database.close()
    async with opened(path.parent) as again:
        assert await again.read(ids) == ({1, 2}, {1, 2})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_another_file_in_the_databases_place_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "orchd.db"
    async with opened(tmp_path) as database:
        path.unlink()
        path.write_text("a backup that somebody puts back")
        with pytest.raises(StoreError, match="it is another file now; restart orchd"):
            await database.keep()
        assert path.read_text() == "a backup that somebody puts back"


@pytest.mark.parametrize("known", [True, False])
async def test_on_a_full_disk_what_was_known_is_known_and_is_written_when_there_is_room(
    small_disk: Path, known: bool
) -> None:
    path = small_disk / "orchd.db"
    if known:
        async with opened(small_disk) as former:
            await former.transaction(partial(add_pair, id=1))
    filler = fill(small_disk)
    database = Database(path, PARTS)
    with capture_logs() as said:
        await database.open()
    [line] = [entry for entry in said if entry["event"] == "store_only_in_memory"]
    assert "no space is left on its disk" in line["why"]
    before = {1} if known else set()
    assert await database.read(ids) == (before, before)
    await database.transaction(partial(add_pair, id=2))
    with pytest.raises(StoreError):
        await database.keep()
    filler.unlink()
    await database.keep()
    await database.transaction(partial(add_pair, id=3))
    assert await database.read(ids) == ({2, 3} | before, {2, 3} | before)
    await database.close()
    async with opened(small_disk) as again:
        assert {2, 3} <= (await again.read(ids))[0]


KILLED = """
import asyncio, os, signal, sys
from functools import partial
from pathlib import Path
from orchd.database.database import Database
from tests.database.parts import PARTS, add_pair

async def main():
    database = Database(Path(sys.argv[1]), PARTS)
    await database.open()
    await database.transaction(partial(add_pair, id=1))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def write_and_be_killed(path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=Path(__file__).parents[2])
    assert killed.returncode == -signal.SIGKILL


async def test_on_a_full_disk_what_a_kill_has_left_in_the_log_is_known_too(small_disk: Path) -> None:
    """It must be: what is in memory then is written over the file when there is room."""
    write_and_be_killed(small_disk / "orchd.db")
    (small_disk / "orchd.db-shm").unlink()
    filler = fill(small_disk)
    database = Database(small_disk / "orchd.db", PARTS)
    await database.open()
    assert await database.read(ids) == ({1}, {1})
    filler.unlink()
    await database.keep()
    await database.close()
    async with opened(small_disk) as again:
        assert await again.read(ids) == ({1}, {1})


async def test_a_migration_that_a_full_disk_holds_up_has_its_backup_when_there_is_room(small_disk: Path) -> None:
    async with opened(small_disk) as before:
        await before.transaction(partial(add_pair, id=1))
    filler = fill(small_disk)
    wider: Migrations = {**PARTS, "left": steps("left", LEFT, "ALTER TABLE pairs_left ADD COLUMN more TEXT;")}
    database = Database(small_disk / "orchd.db", wider)
    await database.open()
    filler.unlink()
    await database.keep()
    await database.close()
    with pytest.raises(StoreError, match=r"orchd\.db\.schema-2\.bak"):
        async with opened(small_disk):
            pass
    (small_disk / "orchd.db").unlink()
    shutil.copy(small_disk / "orchd.db.schema-2.bak", small_disk / "orchd.db")
    async with opened(small_disk) as again:
        assert await again.read(ids) == ({1}, {1})

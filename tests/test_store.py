"""The durable store: what is saved is there after any death, and nobody else can read it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from orchd import store as store_module
from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import ContainerLaunch, Model, RunnerKind
from orchd.domain.ports import Store, StoredModel, StoredStream
from orchd.errors import Code, StoreError
from orchd.store import SqliteStore, migrations
from orchd.tasks import cancel, spawn
from tests.conftest import fill
from tests.fakes.models import container_model

SECRET = "planted-9c1f77aa02"


def dump(model: Model) -> str:
    """Just enough of a model for these tests."""
    assert model.launch.kind is RunnerKind.CONTAINER
    return json.dumps([model.key.pipeline, model.key.model_id, model.launch.image, model.max_sessions])


def load(text: str) -> Model:
    pipeline, model_id, image, max_sessions = json.loads(text)
    return container_model(key=ModelKey(pipeline, model_id), launch=ContainerLaunch(image), max_sessions=max_sessions)


def model(name: str, image: str = "image:1", max_sessions: int = 1) -> Model:
    return container_model(name, image, max_sessions=max_sessions)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(folder / "orchd.db", dump, load)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


def as_sets(stored: tuple[StoredModel, ...]) -> tuple[set[Model], set[Model]]:
    return {s.model for s in stored if s.current}, {s.model for s in stored if not s.current}


async def test_it_is_the_store_that_the_loop_expects(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        port: Store = store
        assert await port.models() == ()


async def test_what_was_saved_is_there_in_the_next_life(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.save_models((model("a"), model("b/ü", max_sessions=3)))
    async with opened(tmp_path) as store:
        assert as_sets(await store.models()) == ({model("a"), model("b/ü", max_sessions=3)}, set())


async def test_a_former_generation_stays_until_it_is_forgotten(tmp_path: Path) -> None:
    old, new, gone = model("a", "image:1"), model("a", "image:2"), model("b")
    async with opened(tmp_path) as store:
        await store.save_models((old, gone))
        await store.save_models((new,))
        assert as_sets(await store.models()) == ({new}, {old, gone})
        await store.forget_generations(frozenset({(old.key, old.generation)}))
        assert as_sets(await store.models()) == ({new}, {old})
        await store.save_models((old,))
        assert as_sets(await store.models()) == ({old}, {new})
        await store.forget_generations(frozenset())
        assert as_sets(await store.models()) == ({old}, set())


async def test_an_edit_that_keeps_the_generation_replaces_the_definition(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.save_models((model("a", max_sessions=1),))
        await store.save_models((model("a", max_sessions=9),))
        assert as_sets(await store.models()) == ({model("a", max_sessions=9)}, set())


RUNNER = RunnerId(ModelKey("live", "b/ü"), 1, "0123456789ab")


def stream(id: str = "s1", began_at: float = 5.25, runner: RunnerId = RUNNER) -> StoredStream:
    return StoredStream(id, "live-runner", runner, began_at)


async def test_a_secret_is_there_in_the_next_life_until_it_is_forgotten(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        assert await store.secret("key") is None
        await store.save_secret("key", "first")
        await store.save_secret("key", SECRET)
        await store.save_secret("other ü", "")
    async with opened(tmp_path) as store:
        assert [await store.secret(name) for name in ("key", "other ü", "none")] == [SECRET, "", None]
        await store.forget_secret("key")
        await store.forget_secret("key")
        assert await store.secret("key") is None


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


async def test_streams_and_secrets_do_not_go_with_the_models(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.save_stream(stream())
        await store.save_secret("key", SECRET)
        await store.save_models((model("a"),))
        await store.save_models(())
        await store.forget_generations(frozenset())
        assert await store.streams() == (stream(),)
        assert await store.secret("key") == SECRET


async def test_a_store_of_the_first_version_gets_the_new_tables_and_keeps_its_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "migrations", lambda: migrations()[:1])
    async with opened(tmp_path) as store:
        await store.save_models((model("a"),))
        with pytest.raises(StoreError, match="no such table"):
            await store.streams()
    monkeypatch.undo()
    async with opened(tmp_path) as store:
        assert as_sets(await store.models()) == ({model("a")}, set())
        await store.save_stream(stream())
        assert await store.streams() == (stream(),)


async def test_a_stream_that_is_forgotten_while_it_is_saved_does_not_come_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        saving = spawn(store.save_stream(stream()), name="save")
        await asyncio.sleep(0)
        await cancel(saving)
        await store.forget_stream(RUNNER.key, "s1")
        assert await store.streams() == ()


MODELS = st.builds(model, st.sampled_from("abc"), st.sampled_from(["i:1", "i:2", "i:3"]), st.integers(1, 3))
SAVES = st.lists(MODELS, max_size=3, unique_by=lambda m: m.key).map(tuple)
KEEPS = st.frozensets(MODELS.map(lambda m: (m.key, m.generation)), max_size=3)


@settings(max_examples=40, deadline=None)
@given(st.lists(SAVES | KEEPS, max_size=8))
async def test_any_course_of_calls_leaves_what_a_dict_would_hold(
    calls: list[tuple[Model, ...] | frozenset[tuple[ModelKey, str]]],
) -> None:
    rows: dict[tuple[ModelKey, str], StoredModel] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with opened(Path(folder)) as store:
            for call in calls:
                if isinstance(call, tuple):
                    await store.save_models(call)
                    rows = {at: replace(row, current=False) for at, row in rows.items()}
                    rows |= {(m.key, m.generation): StoredModel(m, current=True) for m in call}
                else:
                    await store.forget_generations(call)
                    rows = {at: row for at, row in rows.items() if row.current or at in call}
                assert set(await store.models()) == set(rows.values())


async def test_files_are_readable_by_their_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with opened(tmp_path) as store:
            await store.save_models((model("a"),))
            for name in ("orchd.db", "orchd.db-wal", "orchd.db-shm"):
                assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    finally:
        os.umask(before)


async def test_a_file_that_was_opened_up_is_closed_again(tmp_path: Path) -> None:
    (tmp_path / "orchd.db").touch()
    (tmp_path / "orchd.db").chmod(0o644)
    async with opened(tmp_path):
        assert stat.S_IMODE((tmp_path / "orchd.db").stat().st_mode) == 0o600


async def test_it_writes_ahead_and_waits_for_the_disk(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        ask = store._connection.execute
        pragmas = await store._run(
            lambda: [ask(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")]
        )
    assert pragmas == ["wal", 2, 1]


async def test_a_file_that_is_no_database_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "orchd.db").write_bytes(b"this is no database " * 100)
    await assert_damaged(tmp_path)


async def test_damage_in_the_middle_is_found_at_the_start(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.save_models(tuple(model(f"m{n}", "x" * 2000) for n in range(20)))
    with (tmp_path / "orchd.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 12288)
    await assert_damaged(tmp_path)


async def assert_damaged(folder: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot read the store .*orchd\.db: .*move it away") as caught:
        async with opened(folder):
            pass
    assert caught.value.code is Code.STORE_BROKEN


async def test_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "orchd.db")) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=r"it has version 99, and this orchd knows up to \d+"):
        async with opened(tmp_path):
            pass
    with closing(sqlite3.connect(tmp_path / "orchd.db")) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


async def test_a_migration_that_fails_leaves_the_version_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as store:
        await store.save_models((model("a"),))
    monkeypatch.setattr(store_module, "migrations", lambda: [*migrations(), "DROP TABLE models; SELECT nonsense;"])
    with pytest.raises(StoreError, match="nonsense"):
        async with opened(tmp_path):
            pass
    monkeypatch.undo()
    async with opened(tmp_path) as store:
        assert len(await store.models()) == 1


async def test_an_old_store_gets_only_the_migrations_that_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as store:
        await store.save_models((model("a"),))
    monkeypatch.setattr(store_module, "migrations", lambda: [*migrations(), "CREATE TABLE later (x);"])
    async with opened(tmp_path) as store:
        assert len(await store.models()) == 1
    with closing(sqlite3.connect(tmp_path / "orchd.db")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(migrations()) + 1,)


async def test_a_row_that_cannot_be_read_is_skipped_and_told_without_its_content(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.save_models((model("a"), model("b")))
    with closing(sqlite3.connect(tmp_path / "orchd.db")) as db:
        db.execute("UPDATE models SET definition = ? WHERE model_id = 'a'", [f'{{"token": "{SECRET}"'])
        db.commit()
    async with opened(tmp_path) as store:
        with capture_logs() as logs:
            assert as_sets(await store.models()) == ({model("b")}, set())
    assert [(line["event"], line["model_id"]) for line in logs] == [("stored_row_unreadable", "a")]
    assert SECRET not in str(logs)


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot open the store .*/no/orchd\.db: No such file"):
        async with opened(tmp_path / "no"):
            pass


WRITER = """
import asyncio, sys
from pathlib import Path
from tests.test_store import SqliteStore, dump, load, model

async def main() -> None:
    store = SqliteStore(Path(sys.argv[1]), dump, load)
    await store.open()
    for n in range(1_000_000):
        # All of one round, or none of it: five models of one image.
        await store.save_models(tuple(model(name, f"image:{n}") for name in "abcde"))
        await store.forget_generations(frozenset())
        print(n, file=sys.stderr, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("rounds", [0, 1, 7])
async def test_a_kill_in_the_middle_of_writing_leaves_one_whole_round(rounds: int, tmp_path: Path) -> None:
    """Every write that had returned is there, or a later one; never half of one."""
    told = killed_after(rounds, tmp_path / "orchd.db")
    async with opened(tmp_path) as store:
        current, _former = as_sets(await store.models())
    assert {m.key.model_id for m in current} == set("abcde")
    images = {m.launch.image for m in current if m.launch.kind is RunnerKind.CONTAINER}
    assert len(images) == 1
    assert int(images.pop().removeprefix("image:")) >= told


def killed_after(rounds: int, file: Path) -> int:
    command = [sys.executable, "-c", WRITER, str(file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=Path(__file__).parents[1]) as writer:
        assert writer.stderr
        for _ in range(rounds + 1):
            told = int(writer.stderr.readline())
        writer.kill()
    return told


async def test_a_disk_that_hangs_is_an_error_each_time_and_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "orchd.db", dump, load)
    await store.open()
    await store.save_secret("name", "value")
    answers = threading.Event()
    monkeypatch.setattr("orchd.store.CALL_TIMEOUT_S", 0.05)
    monkeypatch.setattr(SqliteStore, "_connection", property(lambda _: answers.wait()))
    for _ in range(2):
        with pytest.raises(StoreError, match="its disk does not answer"):
            await store.secret("name")
    await store.close()
    answers.set()


@pytest.mark.parametrize("how", ["file", "folder", "replaced"])
async def test_a_store_that_was_removed_is_written_again_with_all_that_was_in_it(tmp_path: Path, how: str) -> None:
    path = tmp_path / "state" / "orchd.db"
    path.parent.mkdir()
    store = SqliteStore(path, dump, load)
    await store.open()
    await store.save_models((container_model("org/a"),))
    await store.save_secret("name", "value")
    await store.keep()
    if how == "folder":
        shutil.rmtree(path.parent)
    else:
        path.unlink()
    if how == "replaced":
        path.touch()
    with capture_logs() as said:
        for _ in range(2):
            await store.keep()
    assert [entry["event"] for entry in said].count("store_written_again") == 1
    await store.save_secret("later", "value")
    await store.close()
    again = SqliteStore(path, dump, load)
    await again.open()
    assert [each.model.key.model_id for each in await again.models()] == ["org/a"]
    assert [await again.secret(name) for name in ("name", "later")] == ["value", "value"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await again.close()


async def test_another_file_in_the_stores_place_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "orchd.db"
    store = SqliteStore(path, dump, load)
    await store.open()
    path.unlink()
    path.write_text("a backup that somebody puts back")
    with pytest.raises(StoreError, match="it is another file now; restart orchd"):
        await store.keep()
    assert path.read_text() == "a backup that somebody puts back"
    await store.close()


@pytest.mark.parametrize("known", [True, False])
async def test_on_a_full_disk_what_was_known_is_known_and_is_written_when_there_is_room(
    small_disk: Path, known: bool
) -> None:
    path = small_disk / "orchd.db"
    if known:
        before = SqliteStore(path, dump, load)
        await before.open()
        await before.save_models((container_model("org/a"),))
        await before.close()
    filler = fill(small_disk)
    store = SqliteStore(path, dump, load)
    with capture_logs() as said:
        await store.open()
    [line] = [entry for entry in said if entry["event"] == "store_only_in_memory"]
    assert "no space is left on its disk" in line["why"]
    assert [each.model.key.model_id for each in await store.models()] == ["org/a"] * known
    await store.save_secret("name", "value")
    with pytest.raises(StoreError):
        await store.keep()
    filler.unlink()
    await store.keep()
    await store.close()
    again = SqliteStore(path, dump, load)
    await again.open()
    assert await again.secret("name") == "value"
    assert len(await again.models()) == known
    await again.close()

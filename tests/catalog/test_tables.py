"""What the catalog keeps is there after any death, each generation under its own name."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from orchd.catalog.tables import ModelTable, last_good
from orchd.domain.ids import ModelKey
from orchd.domain.model import Model, RunnerKind
from orchd.domain.stores import ModelStore, StoredModel
from tests.database.parts import opened_own
from tests.fakes.models import container_model

SECRET = "planted-9c1f77aa02"


def model(name: str, image: str = "image:1", max_sessions: int = 1) -> Model:
    return container_model(name, image, max_sessions=max_sessions)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[ModelStore]:
    async with opened_own(folder) as database:
        yield ModelTable(database)


def as_sets(stored: tuple[StoredModel, ...]) -> tuple[set[Model], set[Model]]:
    return {s.model for s in stored if s.current}, {s.model for s in stored if not s.current}


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


WRITER = """
import asyncio, sys
from pathlib import Path
from orchd.catalog.tables import ModelTable
from orchd.database.database import Database
from tests.catalog.test_tables import model

async def main() -> None:
    database = Database(Path(sys.argv[1]))
    await database.open()
    store = ModelTable(database)
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
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=root) as writer:
        assert writer.stderr
        for _ in range(rounds + 1):
            told = int(writer.stderr.readline())
        writer.kill()
    return told


@pytest.mark.parametrize("daemon_runs", [False, True])
async def test_a_command_beside_the_daemon_reads_the_last_good_definitions(tmp_path: Path, daemon_runs: bool) -> None:
    async with opened(tmp_path) as store:
        await store.save_models((model("a", "image:1"),))
        await store.save_models((model("a", "image:2"),))
        if daemon_runs:
            assert last_good(tmp_path / "orchd.db") == (model("a", "image:2"),)
    assert last_good(tmp_path / "orchd.db") == (model("a", "image:2"),)
    assert last_good(tmp_path / "none.db") == ()

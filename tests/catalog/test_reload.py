"""From saved file to desired state, over a real file."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from orchd.catalog.codec import dump_model, load_model
from orchd.catalog.reload import Catalog
from orchd.catalog.watch import ModelsFile
from orchd.domain.ids import ModelKey
from orchd.domain.state import Severity
from tests.catalog.helpers import entry

A, B = ModelKey("llm", "a"), ModelKey("llm", "b")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "aiModels.json"


def catalog(path: Path, *last_good: Any) -> Catalog:
    return Catalog(ModelsFile(path, 0.05), last_good)


def write_text(path: Path, text: str) -> None:
    path.write_text(text)


def write(path: Path, *entries: Any) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(entries))
    new.replace(path)


async def test_a_good_file_applies(path: Path) -> None:
    write(path, entry(model_id="a"), entry(model_id="b"))
    one = catalog(path)
    with capture_logs() as logs:
        state = await one.load()
    assert list(state.models) == [A, B]
    assert len(state.file_hash) == 12
    assert one.last_good() == tuple(state.models.values())
    assert [line["event"] for line in logs] == ["models_file_applied"]


async def test_a_bad_file_at_start_runs_the_last_run_s_models(path: Path) -> None:
    write(path, entry(model_id="a"))
    before = catalog(path)
    await before.load()
    stored = [load_model(dump_model(model)) for model in before.last_good()]
    write_text(path, "[{")
    again = catalog(path, *stored)
    with capture_logs() as logs:
        state = await again.load()
    assert set(state.models) == state.held_over == {A}
    assert again.last_good() == before.last_good()
    assert state.file_hash == ""
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("models_file_problem", "error"),
        ("models_file_refused", "error"),
    ]
    assert f"{path}:1:3: cannot read on" in logs[0]["problem"]


async def test_no_file_at_all_is_a_problem_and_no_crash(path: Path) -> None:
    state = await catalog(path).load()
    assert not state.models
    assert "No such file" in state.problems[0].message


async def test_edits_follow_each_other(path: Path) -> None:
    """Good, torn, one bad entry, good again: what runs is only ever replaced by what is good."""
    write(path, entry(model_id="a"), entry(model_id="b"))
    one = catalog(path)
    first = await one.load()
    changes = one.changes()
    async with aclosing(changes), asyncio.timeout(20):
        write_text(path, "[torn")
        state = await anext(changes)
        while not state.problems[0].message.startswith("cannot read on: expected a value"):
            state = await anext(changes)  # it may have been seen empty first
        assert dict(state.models) == dict(first.models)
        assert state.file_hash == first.file_hash

        write(path, entry(model_id="a", replicas=0), entry(model_id="b", price_per_unit=7))
        state = await anext(changes)
        assert state.held_over == {A}
        assert state.models[A] == first.models[A]
        assert state.models[B].generation == first.models[B].generation
        assert state.models[B] != first.models[B]
        assert {model.key for model in one.last_good()} == {A, B}

        write(path, entry(model_id="b"))
        state = await anext(changes)
        assert set(state.models) == {B}
        assert {model.key for model in one.last_good()} == {B}


async def test_problems_are_logged_once_per_reading_and_without_secrets(path: Path) -> None:
    write(path, entry(model_id="a", token="hunter2", replicas=0), 3)
    one = catalog(path)
    with capture_logs() as logs:
        first = await one.load()
        again = await one.load()
    assert first.problems == again.problems
    told = [line for line in logs if line["event"] == "models_file_problem"]
    assert len(told) == len(first.problems)
    assert {line["log_level"] for line in told} == {"error", "warning"}
    assert [line["model_id"] for line in told if "field replicas" in line["problem"]] == ["a"]
    assert "hunter2" not in repr(logs)


async def test_a_flood_of_problems_does_not_flood_the_log(path: Path) -> None:
    write(path, *range(500))
    with capture_logs() as logs:
        state = await catalog(path).load()
    assert sum(problem.severity is Severity.ERROR for problem in state.problems) == 500
    assert len(logs) == 102
    assert logs[-2] == {
        "event": "models_file_problems_left_out", "file": str(path), "count": 400, "log_level": "warning"
    }  # fmt: skip


async def test_files_that_entries_name_are_found_beside_the_file(path: Path) -> None:
    (path.parent / "a.env").write_text("A=b")
    write(path, entry(model_id="a", image=..., command=["serve"], env_file="a.env"))
    state = await catalog(path).load()
    launch: Any = state.models[A].launch
    assert ("A", "b") in launch.env
    assert launch.cwd == str(path.parent)


async def test_a_slip_in_an_edit_loses_nothing(path: Path) -> None:
    write(path, entry(model_id="a", warm=True))
    one = catalog(path)
    good = dict((await one.load()).models)
    for slipped in (entry(model_id="a", image=..., imgae="x"), entry(model_id="a", wram=True), entry(image=...)):
        write(path, {**slipped, "model_id": "a"})
        state = await one.load()
        assert dict(state.models) == good
        assert any(problem.severity is Severity.ERROR for problem in state.problems)


async def test_a_strict_catalog_takes_no_unknown_key(path: Path) -> None:
    write(path, entry(model_id="a", qqqq=1))
    assert list((await catalog(path).load()).models) == [A]
    assert not (await Catalog(ModelsFile(path, 0.05), strict=True).load()).models


async def test_no_entry_of_a_long_file_is_read_on_the_event_loop(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand entries take 60 ms: on the loop, they would hold up jobs for as long."""
    read_on: list[int] = []

    def read_text(name: str) -> str:
        read_on.append(threading.get_ident())
        return "a-token-of-sixteen"

    monkeypatch.setattr("orchd.catalog.reload.side_reader", lambda folder, credentials: read_text)
    write(path, *(entry(model_id=f"m-{n}", token_file="token") for n in range(1000)))
    state = await catalog(path).load()
    assert len(state.models) == len(read_on) == 1000
    assert threading.get_ident() not in read_on

"""A file system that hangs: what runs goes on, edits are seen once it answers, and the exit does not wait."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from orchd.catalog.reload import Catalog, read_file
from orchd.catalog.watch import ModelsFile
from orchd.domain.ids import ModelKey
from orchd.errors import Code
from tests.catalog.helpers import entry
from tests.catalog.test_reload import write

A, B = ModelKey("llm", "a"), ModelKey("llm", "b")
SOON_S = 0.05


class Mount:
    """Opening a file whose name is in `hung` does not return before it is taken out again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hung: set[str] = set()
        self.calls = 0
        self._changed = threading.Condition()
        really_open = os.open

        def hanging_open(path: Any, *args: Any, **kwargs: Any) -> int:
            name = Path(path).name if isinstance(path, str | Path) else ""
            with self._changed:
                self.calls += name in self.hung
                self._changed.wait_for(lambda: name not in self.hung)
            return really_open(path, *args, **kwargs)

        monkeypatch.setattr(os, "open", hanging_open)

    def answer(self) -> None:
        with self._changed:
            self.hung.clear()
            self._changed.notify_all()


@pytest.fixture
def mount(monkeypatch: pytest.MonkeyPatch) -> Any:
    mount = Mount(monkeypatch)
    yield mount
    mount.answer()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "aiModels.json"


def catalog(path: Path, *last_good: Any) -> Catalog:
    return Catalog(ModelsFile(path, 0.02, timeout_s=SOON_S), last_good)


async def test_at_start_what_ran_last_goes_on(path: Path, mount: Mount) -> None:
    write(path, entry(model_id="a"))
    last = [*(await catalog(path).load()).models.values()]
    mount.hung.add(path.name)
    state = await catalog(path, *last).load()
    assert set(state.models) == state.held_over == {A}
    assert "its file system has not answered for 0.05 s" in state.problems[0].message
    assert state.problems[0].code is Code.FILE_UNREADABLE


async def test_while_it_runs_edits_are_seen_once_it_answers_and_calls_do_not_pile_up(path: Path, mount: Mount) -> None:
    write(path, entry(model_id="a"))
    one = catalog(path)
    await one.load()
    changes = one.changes()
    async with aclosing(changes), asyncio.timeout(20):
        mount.hung.add(path.name)
        write(path, entry(model_id="b"))
        state = await anext(changes)
        assert state.held_over == {A}
        for _ in range(20):
            await one.load()
        assert mount.calls == 1
        mount.answer()
        while B not in state.models:
            state = await anext(changes)
        assert set(state.models) == {B}


@pytest.mark.parametrize("field", ["env_file", "token_file"])
async def test_files_that_entries_name_may_hang_too(path: Path, mount: Mount, field: str) -> None:
    write(path, entry(model_id="a"))
    one = catalog(path)
    first = await one.load()
    (path.parent / "side").write_text("A=b")
    mount.hung.add("side")
    changes = one.changes()
    async with aclosing(changes), asyncio.timeout(20):
        write(path, entry(model_id="a", **{field: "side"}))
        state = await anext(changes)
        assert state.held_over == {A}
        mount.answer()
        state = await anext(changes)
        assert not state.held_over
        assert state.models[A] != first.models[A]


async def test_a_file_that_an_entry_names_is_looked_for_again_and_told_once(path: Path) -> None:
    write(path, entry(model_id="a", env_file="late.env"))
    one = catalog(path)
    with capture_logs() as logs:
        assert not (await one.load()).models
        changes = one.changes()
        async with aclosing(changes), asyncio.timeout(20):
            waiting = asyncio.ensure_future(anext(changes))  # noqa: TID251 - it is awaited below
            for _ in range(5):
                await asyncio.sleep(0.03)
            assert not waiting.done()
            (path.parent / "late.env").write_text("A=b")
            assert set((await waiting).models) == {A}
    assert [line["event"] for line in logs] == ["models_file_problem", "models_file_applied", "models_file_applied"]


def test_a_command_gives_up_too(path: Path, mount: Mount) -> None:
    write(path, entry())
    mount.hung.add(path.name)
    [problem] = read_file(path, None, strict=False, timeout_s=SOON_S).problems
    assert "has not answered" in problem.message


HANGS = """
import asyncio, os, sys, threading
from pathlib import Path
from orchd.catalog.reload import Catalog, read_file
from orchd.catalog.watch import ModelsFile

os.open = lambda *args, **kwargs: threading.Event().wait()
path = Path(sys.argv[1])
state = asyncio.run(Catalog(ModelsFile(path, 1, timeout_s=0.05)).load())
print(state.problems[0].message, read_file(path, None, strict=False, timeout_s=0.05).problems[0].message, flush=True)
"""


def test_the_exit_waits_for_no_read(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", HANGS, str(path)], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1].count("has not answered") == 2, done.stderr
    assert done.returncode == 0

"""`orchd down` where no daemon runs: what it says is true, whatever it finds or can't look at."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from orchd.catalog.tables import ModelTable
from orchd.cli.leftovers import end_leftovers
from orchd.domain.ids import RunnerId
from orchd.domain.model import Model, StopSpec
from orchd.domain.ports import StopReport
from orchd.errors import EngineUnavailable, RunnersLeft
from orchd.runtime.process.marks import Marks
from orchd.settings.tree import Settings
from tests.database.parts import opened_own
from tests.fakes.models import container_model
from tests.fakes.runtime import FakeRuntime
from tests.runtime.process_models import marked

INSTANCE = f"t-down-{secrets.token_hex(4)}"
A, B = container_model("org/a"), container_model("org/b")


class Stubborn(FakeRuntime):
    """One of its containers can't be stopped."""

    async def stop(self, handle: str, stop: StopSpec) -> StopReport:
        if handle == "c1":
            raise EngineUnavailable("cannot end the container c1: it runs on after SIGKILL")
        return await super().stop(handle, stop)


async def leave(runtime: FakeRuntime, *models: Model) -> None:
    for model in models:
        handle = await runtime.prepare(model, RunnerId(model.key, 0, model.generation), print)
        await runtime.start(handle)


async def down(state_dir: Path, *runtimes: FakeRuntime, stored: tuple[Model, ...] | None = ()) -> list[str]:
    """Run it over a state directory with these definitions in its store; None = without a store."""
    if stored is not None:
        async with opened_own(state_dir) as database:
            await ModelTable(database).save_models(stored)
    said: list[str] = []
    settings = Settings(state_dir=str(state_dir), instance=INSTANCE)
    made = {runtime.id: runtime for runtime in runtimes}
    await end_leftovers(settings, {}, said.append, lambda settings, state_dir: made)
    return said


async def test_all_that_was_left_is_ended(tmp_path: Path) -> None:
    runtime = FakeRuntime(delay_s=0)
    await leave(runtime, A, B)
    said = await down(tmp_path, runtime, stored=(A,))
    assert runtime.containers == {}
    assert "removed text-to-image/org/a (signal)" in said


async def test_the_log_of_one_whose_secrets_are_known_is_kept(tmp_path: Path) -> None:
    runtime = FakeRuntime(delay_s=0)
    await leave(runtime, A, B)
    await down(tmp_path, runtime, stored=(A,))
    assert [(run.runner.key, run.how) for run in runtime.kept] == [(A.key, "`orchd down` ended it while no daemon ran")]


async def test_an_engine_that_is_away_may_hold_containers_that_the_store_knows_of(tmp_path: Path) -> None:
    with pytest.raises(RunnersLeft, match="any container: cannot reach the fake engine"):
        await down(tmp_path, FakeRuntime(delay_s=0, down=True), stored=(A,))


async def test_an_engine_that_is_away_is_no_matter_where_no_model_was_a_container(tmp_path: Path) -> None:
    [said] = await down(tmp_path, FakeRuntime(delay_s=0, down=True))
    assert said.startswith("container runners were not looked for, since no model is one: cannot reach the fake engine")


async def test_one_that_cannot_be_ended_is_named_and_the_others_are_ended(tmp_path: Path) -> None:
    runtime = Stubborn(delay_s=0)
    await leave(runtime, A, B)
    with pytest.raises(RunnersLeft, match=r"text-to-image/org/a \(container c1\): .* it runs on after SIGKILL"):
        await down(tmp_path, runtime, stored=(A, B))
    assert [container.runner.key for container in runtime.containers.values()] == [A.key]


@pytest.mark.parametrize("there", [True, False])
async def test_a_state_directory_that_no_orchd_has_used_is_told_and_left_as_it_is(tmp_path: Path, there: bool) -> None:
    state_dir = tmp_path / "wrong"
    if there:
        state_dir.mkdir()
    runtime = FakeRuntime(delay_s=0)
    await leave(runtime, A)
    with pytest.raises(RunnersLeft, match=f"no orchd.db in {state_dir}, .*--state-dir"):
        await down(state_dir, runtime, stored=None)
    assert runtime.containers == {}, "it bears our instance, and nobody claims it"
    assert state_dir.exists() is there


def test_processes_of_the_instance_under_another_state_directory_are_named(tmp_path: Path) -> None:
    marks = Marks(INSTANCE, tmp_path / "other").environment(RunnerId(A.key, 0, A.generation), 1)
    with marked(marks) as other:
        try:
            with pytest.raises(RunnersLeft, match=f"process {other.pid} of text-to-image/org/a, under another state"):
                asyncio.run(down(tmp_path))
        finally:
            other.kill()


def test_the_exit_code_is_not_0_when_something_may_run(tmp_path: Path) -> None:
    flags = ["--state-dir", str(tmp_path / "wrong"), "--docker-enabled", "false"]
    done = subprocess.run([sys.executable, "-m", "orchd", "down", *flags], capture_output=True, text=True, timeout=90)
    assert done.returncode == 2
    assert "all runners are gone" not in done.stdout
    assert done.stderr.startswith("orchd: cannot say that all runners are gone; ")

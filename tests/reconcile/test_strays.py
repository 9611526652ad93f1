"""What no definition explains may be serving: nothing is removed by a slip."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from orchd.domain.events import DesiredChanged
from orchd.domain.ids import ModelKey
from orchd.domain.lifecycle import RunnerState as S
from orchd.domain.model import Model, RunnerKind
from orchd.domain.ports import SightedAs
from orchd.domain.state import DesiredState, Problem, Severity
from orchd.errors import Code
from orchd.reconcile.settings import ReconcileSettings
from orchd.reconcile.strays import STRAY_GRACE_S
from orchd.settings.tree import Settings
from tests.fakes.models import container_model
from tests.reconcile.world import World
from tests.virtual_time import virtual_time

SELDOM = Settings(reconcile=ReconcileSettings(period_s=10.0))
A, B = container_model("a"), container_model("b", warm=False, idle_timeout_s=5.0)


def error(key: ModelKey | None, entry: int | None = 0) -> Problem:
    return Problem(Severity.ERROR, Code.ENTRY_INVALID, "cannot read it", entry=entry, key=key)


def wants(world: World, *models: Model, file_hash: str = "", problems: tuple[Problem, ...] = ()) -> None:
    """Post a state of the file as the catalog makes it; no hash: no file has applied."""
    world.loop.post(DesiredChanged(DesiredState({m.key: m for m in models}, problems, file_hash=file_hash)))


async def former_life(world: World) -> list[str]:
    """Leave runners of A and B behind, of which B is used; return what runs."""
    async with world.orchd(A, B):
        await world.until_states(A, [S.READY])
        await world.wait_for(B)
        handles = [c.handle for c in world.running()]
    world.models.clear()
    return handles


NOT_APPLIED = {
    "another state directory, a lost store, no file": (),
    "the file has a fault, the store is good": (A, B),
    "the store has definitions that the file has left behind since": (
        container_model("a", "image:2"),
        container_model("b", "image:2", warm=False),
    ),
    "the store has fewer replicas and other models": (container_model("c"),),
}


@pytest.mark.parametrize("last_good", NOT_APPLIED.values(), ids=list(NOT_APPLIED))
@pytest.mark.parametrize("store_lost", [True, False])
def test_nothing_is_removed_before_a_models_file_has_applied(last_good: tuple[Model, ...], store_lost: bool) -> None:
    @virtual_time
    async def check() -> None:
        world = World(SELDOM)
        handles = await former_life(world)
        if store_lost:
            world.generations.clear()
        async with world.orchd():
            wants(world, *last_good)
            for _ in range(20):
                await asyncio.sleep(10)
                assert set(handles) <= {c.handle for c in world.running()}
            wants(world, A, B, file_hash="mended")
            await world.until_states(A, [S.READY])
            await world.until("B is stopped, since it is cold", holds=lambda: world.states(B) == [S.COLD])
            assert handles[0] in {c.handle for c in world.running(A)}, "a slip that is mended has cost nothing"

    check()


@virtual_time
async def test_an_exited_or_prepared_stray_is_kept_too_and_said_once() -> None:
    world = World(SELDOM)
    await former_life(world)
    world.generations.clear()
    containers = list(world.runtime.containers.values())
    containers[0].status, containers[1].status = SightedAs.EXITED, SightedAs.CREATED
    with capture_logs() as logs:
        async with world.orchd():
            wants(world)
            await asyncio.sleep(300)
    assert len(world.runtime.containers) == 2
    said = [line for line in logs if line["event"] == "stray_found"]
    assert len(said) == 2
    assert all("neither the models file nor the store" in line["why"] for line in said)
    assert all("no models file has applied" in line["next"] and "orchd down" in line["next"] for line in said)


@virtual_time
async def test_a_stray_is_removed_when_a_file_has_applied_and_a_minute_has_passed() -> None:
    world = World(SELDOM)
    handles = await former_life(world)
    world.generations.clear()
    with capture_logs() as logs:
        async with world.orchd():
            wants(world)
            await asyncio.sleep(200)
            wants(world, A, file_hash="applied")
            await asyncio.sleep(STRAY_GRACE_S - 5)
            assert handles == [c.handle for c in world.running()]
            await asyncio.sleep(20)
            assert handles[:1] == [c.handle for c in world.running()], "A was adopted, and B removed"
    [removed] = [line for line in logs if line["event"] == "stray_removed"]
    assert handles[1] == removed["handle"]


@pytest.mark.parametrize("problem", [error(A.key), error(None)], ids=["its own entry", "an entry that can't be told"])
def test_what_spared_a_stray_ends_with_a_word_and_a_minute_before_it_is_removed(problem: Problem) -> None:
    @virtual_time
    async def check() -> None:
        world = World(SELDOM)
        handles = await former_life(world)
        world.generations.clear()
        with capture_logs() as logs:
            async with world.orchd():
                wants(world)
                await asyncio.sleep(100)
                wants(world, file_hash="faulty", problems=(problem,))
                await asyncio.sleep(300)
                wants(world, file_hash="without it")
                await asyncio.sleep(STRAY_GRACE_S - 5)
                assert handles[0] in {c.handle for c in world.running()}
                await world.until("it is removed", holds=lambda: handles[0] not in world.runtime.containers)
        said = [line["next"] for line in logs if line["event"] == "stray_found" and line["handle"] == handles[0]]
        assert ["left alone" in each for each in said] == [True, True, False]
        assert "removed in 60 s" in said[-1]

    check()


@virtual_time
async def test_a_stray_found_later_has_its_minute_too() -> None:
    world = World(SELDOM)
    await former_life(world)
    world.generations.clear()
    hidden, world.runtime.containers = world.runtime.containers, {}
    async with world.orchd():
        wants(world, file_hash="applied")
        await asyncio.sleep(200)
        world.runtime.containers = hidden
        await asyncio.sleep(STRAY_GRACE_S - 5)
        assert len(hidden) == 2
        await asyncio.sleep(20)
        assert not hidden


@pytest.mark.parametrize("problem", [error(A.key), error(None)], ids=["this entry", "an entry that can't be told"])
def test_a_stray_whose_entry_has_an_error_is_left_alone(problem: Problem) -> None:
    @virtual_time
    async def check() -> None:
        world = World(SELDOM)
        handles = await former_life(world)
        world.generations.clear()
        async with world.orchd():
            wants(world, B, file_hash="applied", problems=(problem,))
            await asyncio.sleep(300)
            assert handles[0] in {c.handle for c in world.running()}
            wants(world, B, file_hash="mended")
            await world.until("a stray for nobody", holds=lambda: handles[0] not in world.runtime.containers)

    check()


@virtual_time
async def test_an_adopted_runner_whose_entry_has_an_error_and_no_last_good_one_is_left_alone() -> None:
    world = World(SELDOM)
    handles = await former_life(world)
    async with world.orchd():
        wants(world, file_hash="applied", problems=(error(A.key),))
        await asyncio.sleep(300)
        assert handles[:1] == [c.handle for c in world.running()]


@virtual_time
async def test_an_operators_order_to_take_all_down_takes_strays_too() -> None:
    world = World(SELDOM)
    await former_life(world)
    world.generations.clear()
    async with world.orchd():
        wants(world)
        await asyncio.sleep(30)
        told: list[str] = []
        await world.loop.end(frozenset(RunnerKind), told.append, strays=True)
        assert not world.runtime.containers
        assert len([line for line in told if "no definition explains it" in line]) == 2, "each is told once"


@virtual_time
async def test_a_plain_stop_takes_no_stray() -> None:
    world = World(SELDOM)
    handles = await former_life(world)
    world.generations.clear()
    async with world.orchd():
        wants(world)
        await asyncio.sleep(30)
        await world.loop.end(frozenset({RunnerKind.PROCESS}), lambda _: None)
        assert handles == [c.handle for c in world.running()]


@virtual_time
async def test_a_second_one_under_the_same_name_is_kept_too_before_a_file_has_applied() -> None:
    world = World(SELDOM)
    await former_life(world)
    first = next(iter(world.runtime.containers.values()))
    world.runtime.containers["second"] = replace(first, handle="second")
    async with world.orchd():
        wants(world, A, B)
        await asyncio.sleep(200)
        assert "second" in world.runtime.containers
        wants(world, A, B, file_hash="applied")
        await world.until("the second is gone", holds=lambda: "second" not in world.runtime.containers)

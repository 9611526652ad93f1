"""Jobs that arrive while orchd starts: they wait for the first look and probe of their model, and not for more."""

from __future__ import annotations

import asyncio

import pytest

from orchd.domain.lifecycle import RunnerState as S
from orchd.domain.model import Model
from orchd.domain.ports import ProbeWord
from orchd.errors import Code, JobRefused
from orchd.jobs.settings import JobsSettings
from orchd.sessions.session import Session, SessionKind
from orchd.settings.tree import Settings
from tests.fakes.models import container_model, external_model
from tests.reconcile.world import World
from tests.virtual_time import virtual_time

WAIT_S = JobsSettings().start_wait_s


def now() -> float:
    return asyncio.get_running_loop().time()


async def first_turn(world: World) -> float:
    """Let orchd know its models, as it does before it takes connections; return when that was."""
    await world.loop.changed()
    return now()


async def outcome(world: World, model: Model) -> tuple[object, float]:
    """Return what comes of a job that arrives now, and how long that takes."""
    since = now()
    try:
        what: object = await world.wait_for(model)
    except JobRefused as refusal:
        what = refusal
    return what, now() - since


def refused_at_once(world: World, model: Model) -> JobRefused:
    with pytest.raises(JobRefused) as caught:
        world.table.begin(model.key, SessionKind.JOB)
    return caught.value


async def running(world: World, *models: Model) -> World:
    """Return the world in which these run, and orchd has been killed."""
    async with world.orchd(*models):
        for model in models:
            await world.until_states(model, [S.READY])
    return world


@virtual_time
async def test_after_a_restart_a_job_waits_for_the_look_and_the_probe_of_what_still_runs() -> None:
    world = await running(World(), a := container_model(max_sessions=4))
    world.runtime.delay_s = 3.0
    async with world.orchd():
        await first_turn(world)
        jobs = [world.wait_for(a) for _ in range(3)]
        got = await asyncio.gather(*jobs)
        assert all(isinstance(session, Session) for session in got)
        assert world.runtime.count("start") == 1, "it was there all the time"


@virtual_time
async def test_an_outside_server_is_waited_for_too() -> None:
    async with World().orchd(a := external_model()) as world:
        await first_turn(world)
        assert isinstance(await world.wait_for(a), Session)


@virtual_time
async def test_the_job_that_starts_orchd_waits_for_the_start_of_its_model() -> None:
    for model in (container_model(), container_model(warm=False)):
        async with World().orchd(model) as world:
            await first_turn(world)
            assert isinstance(await world.wait_for(model), Session)


@virtual_time
async def test_what_the_first_probe_speaks_against_is_refused_with_its_reason() -> None:
    world = await running(World(), a := container_model())
    world.prober.otherwise = ProbeWord.ERROR
    async with world.orchd():
        await first_turn(world)
        refusal, took = await outcome(world, a)
        assert isinstance(refusal, JobRefused)
        assert refusal.code is Code.NOT_READY
        assert "error" in refusal.message
        assert took < WAIT_S
        assert refused_at_once(world, a).code is Code.NOT_READY, "judged once"


@virtual_time
async def test_a_runtime_that_is_down_is_no_reason_to_wait_and_one_that_is_silent_is_for_so_long() -> None:
    world = await running(World(), a := container_model())
    world.runtime.down = True
    async with world.orchd():
        await first_turn(world)
        refusal, took = await outcome(world, a)
        assert isinstance(refusal, JobRefused)
        assert "told to be down" in refusal.message
        assert took < WAIT_S
    world.runtime.down, world.runtime.delay_s = False, 1000.0
    async with world.orchd():
        began = await first_turn(world)
        refusal, took = await outcome(world, a)
        assert isinstance(refusal, JobRefused)
        assert "its runtime has not answered yet" in refusal.message
        assert now() - began <= WAIT_S + 0.1
        assert refused_at_once(world, a).code is Code.NOT_READY


@virtual_time
async def test_a_model_that_loads_for_long_is_waited_for_only_so_long() -> None:
    world = await running(World(), a := container_model(loading_timeout_s=1000.0))
    world.prober.otherwise = ProbeWord.LOADING
    async with world.orchd():
        await first_turn(world)
        refusal, took = await outcome(world, a)
        assert isinstance(refusal, JobRefused)
        assert "it is loading" in refusal.message
        assert took <= WAIT_S + 0.1


@virtual_time
async def test_no_more_jobs_wait_than_for_a_cold_model() -> None:
    world = await running(World(), a := container_model(max_sessions=2))
    async with world.orchd():
        await first_turn(world)
        waiting = [world.wait_for(a) for _ in range(2)]
        assert refused_at_once(world, a).code is Code.HOLD_FULL
        assert all(isinstance(session, Session) for session in await asyncio.gather(*waiting))
        assert refused_at_once(world, a).code is Code.CAPACITY_EXHAUSTED


@virtual_time
async def test_what_fails_after_it_was_ready_is_not_waited_for() -> None:
    async with World().orchd(a := container_model()) as world:
        await world.until_states(a, [S.READY])
        assert now() < WAIT_S
        (container,) = world.running(a)
        world.runtime.kill(container.handle)
        await world.until("gone", holds=lambda: world.states(a) != [S.READY])
        assert now() < WAIT_S
        assert refused_at_once(world, a).code in (Code.NOT_READY, Code.DRAINING)


@virtual_time
async def test_nobody_waits_where_the_setting_says_so() -> None:
    settings = Settings(jobs=JobsSettings(start_wait_s=0))
    async with World(settings).orchd(a := container_model()) as world:
        await first_turn(world)
        assert refused_at_once(world, a).code is Code.NOT_READY


@virtual_time
async def test_readers_see_that_it_is_not_ready_meanwhile() -> None:
    """What waits is not yet known to be good: it is neither offered nor shown as ready or startable."""
    async with World().orchd(a := container_model()) as world:
        await first_turn(world)
        world.wait_for(a)
        status = world.status(a)
        assert (status.ready, status.startable, status.waiting) == (False, False, 1)

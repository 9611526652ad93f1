"""What a reader is told of a model: true, in his terms, and the same at each reading."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchd.advertise.offer import OfferBook
from orchd.cli.status_pages import model_page, overview
from orchd.domain.lifecycle import RunnerState as S
from orchd.domain.model import ContainerLaunch, Model
from orchd.domain.money import Price
from orchd.domain.offer import Offers
from orchd.domain.outcomes import Outcome
from orchd.domain.ports import ProbeWord
from orchd.errors import PASSING, Code, JobRefused, LaunchError
from orchd.reconcile.runner import Runner
from orchd.reconcile.settings import ReconcileSettings
from orchd.reconcile.standing import COLD, WITHDRAWN_AFTER, standing
from orchd.sessions.session import Session, SessionKind
from orchd.settings.tree import Settings
from orchd.status_view import status
from orchd.text import TextStyle
from tests.fakes.models import container_model
from tests.reconcile.world import World
from tests.runtime.bench import runner_of
from tests.runtime.process_models import model_of
from tests.virtual_time import virtual_time
from tests.wall_clock import WallClock

NO_IMAGE = "cannot pull image:1: not found"
COLD_MODEL = container_model(warm=False, idle_timeout_s=100.0, price=Price(Fraction(1), 1))


def offered(world: World, *, offer_cold: bool = True) -> Offers:
    snapshot = world.snapshot()
    return OfferBook(name="{pipeline}/{model_id}", offer_cold=offer_cold, grace_s=0.0).update(snapshot, snapshot.models)


def edited(model: Model, image: str = "image:2") -> Model:
    return replace(model, launch=ContainerLaunch(image))


# A cold model that can't start.


@virtual_time
async def test_the_first_failed_start_is_told_everywhere_and_the_second_withdraws() -> None:
    world = World(Settings(reconcile=ReconcileSettings(backoff_min_s=5.0)))
    world.runtime.bad_images.add("image:1")
    async with world.orchd(COLD_MODEL):
        await world.until_quiet()
        assert world.status(COLD_MODEL).reason == COLD
        assert COLD_MODEL.key in offered(world).now
        waiting = world.wait_for(COLD_MODEL)
        await world.until_states(COLD_MODEL, [S.BACKOFF])
        once = world.status(COLD_MODEL)
        assert once.startable
        assert NO_IMAGE in once.reason
        assert once.last_failure == NO_IMAGE
        assert NO_IMAGE in offered(world, offer_cold=False).why_not[COLD_MODEL.key]
        with pytest.raises(JobRefused, match=NO_IMAGE) as full:
            world.table.begin(COLD_MODEL.key, SessionKind.JOB)
        assert full.value.code is Code.HOLD_FULL
        assert NO_IMAGE in world.table.reason(COLD_MODEL.key), "which a job that waited too long is told"

        refused = await waiting
        assert isinstance(refused, JobRefused)
        assert NO_IMAGE in refused.message
        twice = world.status(COLD_MODEL)
        assert not twice.startable
        assert f"its last {WITHDRAWN_AFTER} starts failed, the last one: {NO_IMAGE}" in twice.reason
        assert NO_IMAGE in offered(world).why_not[COLD_MODEL.key]
        with pytest.raises(JobRefused, match=NO_IMAGE):
            world.table.begin(COLD_MODEL.key, SessionKind.JOB)


@virtual_time
async def test_one_failed_start_is_told_after_the_job_that_waited_has_left() -> None:
    world = World()
    world.runtime.bad_images.add("image:1")
    async with world.orchd(COLD_MODEL):
        await world.until_quiet()
        place = world.table.begin(COLD_MODEL.key, SessionKind.JOB)
        await world.until_states(COLD_MODEL, [S.BACKOFF])
        assert not isinstance(place, Session)
        world.table.leave(place)
        await world.until_states(COLD_MODEL, [S.COLD])
        assert world.status(COLD_MODEL).reason == f"{COLD}; its last start failed: {NO_IMAGE}"


@pytest.mark.parametrize("passing", [True, False])
def test_a_withdrawn_model_is_tried_again_by_itself_and_offered_when_it_has_run(passing: bool) -> None:
    @virtual_time
    async def check() -> None:
        world = World(Settings(reconcile=ReconcileSettings(failure_limit=10_000 if not passing else 2)))
        code = Code.REGISTRY_UNAVAILABLE if passing else Code.IMAGE_UNAVAILABLE
        assert (code in PASSING) is passing
        world.runtime.trouble["image:1"] = LaunchError(NO_IMAGE, code=code)
        async with world.orchd(COLD_MODEL):
            await world.until_quiet()
            assert isinstance(await world.wait_for(COLD_MODEL), JobRefused)
            for _ in range(100):
                await asyncio.sleep(10)
                assert not world.status(COLD_MODEL).startable
                assert COLD_MODEL.key not in offered(world).now
            world.runtime.trouble.clear()
            await world.until_states(COLD_MODEL, [S.READY])
            assert COLD_MODEL.key in offered(world).now
            await world.until_states(COLD_MODEL, [S.COLD])
            assert (world.status(COLD_MODEL).startable, world.status(COLD_MODEL).reason) == (True, COLD)

    check()


@virtual_time
async def test_a_crash_after_a_good_start_is_no_failed_start() -> None:
    async with World().orchd(COLD_MODEL) as world:
        await world.until_quiet()
        for _ in range(4):
            session = await world.wait_for(COLD_MODEL)
            assert isinstance(session, Session)
            world.table.end(session, Outcome.OK)
            world.runtime.kill(world.running()[0].handle, exit_code=3)
            await world.until_states(COLD_MODEL, [S.BACKOFF])
            assert world.status(COLD_MODEL).startable
            assert "exited with code 3" in world.status(COLD_MODEL).reason


@virtual_time
async def test_an_edit_or_a_restart_forgets_the_failed_starts() -> None:
    world = World()
    world.runtime.bad_images.add("image:1")
    async with world.orchd(COLD_MODEL):
        await world.until_quiet()
        await world.wait_for(COLD_MODEL)
        world.want(replace(COLD_MODEL, max_sessions=2))
        await world.until("it counts again", holds=lambda: world.status(COLD_MODEL).startable)


@virtual_time
async def test_a_cold_model_that_is_being_stopped_says_so() -> None:
    async with World().orchd(COLD_MODEL) as world:
        await world.until_quiet()
        session = await world.wait_for(COLD_MODEL)
        assert isinstance(session, Session)
        world.runtime.delay_s = 5.0
        world.table.end(session, Outcome.OK)
        await world.until_states(COLD_MODEL, [S.STOPPING])
        stopping = world.status(COLD_MODEL)
        assert stopping.reason == "it is being stopped, since nobody used it; a job that comes now starts it again"
        assert stopping.startable
        await world.until_states(COLD_MODEL, [S.COLD])
        assert world.status(COLD_MODEL).reason == COLD


@virtual_time
async def test_a_cold_model_that_is_being_started_says_how_far_it_is() -> None:
    world = World()
    async with world.orchd(COLD_MODEL):
        await world.until_quiet()
        world.runtime.delay_s = 5.0
        world.wait_for(COLD_MODEL)
        await world.until_states(COLD_MODEL, [S.PULLING])
        assert world.status(COLD_MODEL).reason.startswith("it is being started for a job: its image is being pulled")


# A model that leaves.


@virtual_time
async def test_a_model_that_leaves_says_how_far_its_end_is_and_since_when() -> None:
    a, b = container_model(), container_model("other")
    async with World().orchd(a, b) as world:
        await world.until_quiet()
        session = world.begin(a)
        world.want(b)
        await world.until_states(a, [S.DRAINING])
        [runner] = world.runners(a)
        latest = time.gmtime(runner.since + world.settings.reconcile.drain_timeout_s)
        end = time.strftime("its sessions may go on until %H:%M:%S UTC", latest)
        assert world.status(a).reason == f"the model is leaving: it is no longer in aiModels.json; {end}"
        line = next(x for x in overview(status(world.snapshot()), TextStyle()).splitlines() if str(a.key) in x)
        assert "  0s  " in line, "since its runner drains, though none is wanted"
        assert line.count("no longer in") == 1
        world.runtime.delay_s = 5.0
        world.table.end(session, Outcome.OK)
        await world.until_states(a, [S.STOPPING])
        assert world.status(a).reason.endswith("aiModels.json; it is being stopped")


@pytest.mark.parametrize("state", list(S))
def test_a_process_has_no_image_and_no_container(state: S) -> None:
    model = model_of("true")
    shown = standing(model, [Runner(runner_of(model), model, state, since=0.0)], leaving=False)
    assert not re.search("image|container|pull", shown.reason)


# A replacement.


@virtual_time
async def test_during_a_replacement_what_is_wanted_speaks_first_and_what_runs_is_told_apart() -> None:
    a = container_model()
    async with World().orchd(a) as world:
        await world.until_quiet()
        session = world.begin(a)
        world.want(b := edited(a))
        await world.until("b is prepared", holds=lambda: S.PREPARED in world.states(b))
        shown = world.status(b)
        assert not shown.ready
        assert shown.reason.startswith("it is prepared and waits until the sessions on its former definition")
        assert f"; its former definition (generation {a.generation}): it is draining" in shown.reason
        with pytest.raises(JobRefused, match="its former definition") as refused:
            world.begin(b)
        assert refused.value.code is Code.DRAINING
        by_wanted = {runner.wanted: runner for runner in shown.runners}
        assert (by_wanted[True].source, by_wanted[False].source) == ("image:2", "image:1")
        latest = by_wanted[False].since + world.settings.reconcile.drain_timeout_s
        assert by_wanted[True].detail.startswith("waits until the sessions on its former definition")
        assert by_wanted[True].detail.endswith(time.strftime(", until %H:%M:%S UTC at the latest", time.gmtime(latest)))
        page = model_page(status(world.snapshot(), a.key), TextStyle())
        assert "  wanted    image:2" in page
        assert f"  runs      image:1 (generation {a.generation}, draining), its former definition" in page
        world.table.end(session, Outcome.OK)
        await world.until_quiet()
        assert "wanted" not in model_page(status(world.snapshot(), a.key), TextStyle()).partition("Events")[0]


@pytest.mark.parametrize(
    ("word", "state", "says"),
    [(ProbeWord.FAILED, S.UNHEALTHY, "it fails its health probes"), (ProbeWord.LOADING, S.LOADING, "it is loading")],
)
def test_a_former_definition_that_does_not_serve_does_not_hide_that_its_cure_is_on_its_way(
    word: ProbeWord, state: S, says: str
) -> None:
    @virtual_time
    async def check() -> None:
        a = container_model()
        world = World()
        async with world.orchd(a):
            await world.until_quiet()
            address = world.running()[0].address
            assert address is not None
            world.prober.words[address] = word
            await world.until_states(a, [state])
            world.runtime.delay_s = 5.0
            world.want(b := edited(a))
            await world.until("b is pulled", holds=lambda: S.PULLING in world.states(b))
            shown = world.status(b)
            assert shown.reason.startswith("its image is being pulled")
            assert f"its former definition (generation {a.generation}): {says}" in shown.reason

    check()


@virtual_time
async def test_while_the_former_definition_serves_the_overview_says_what_is_wanted() -> None:
    a = container_model()
    world = World()
    world.runtime.bad_images.add("image:2")
    async with world.orchd(a):
        await world.until_quiet()
        world.want(b := edited(a))
        await world.until("b failed", holds=lambda: S.BACKOFF in world.states(b))
        line = overview(status(world.snapshot()), TextStyle()).splitlines()[-1]
        assert "image:2 is wanted, and this runs: image:1" in line
        assert "replica 0 backoff: cannot pull image:2: not found" in line


@virtual_time
async def test_a_replica_that_waits_for_the_others_says_so() -> None:
    a = container_model(replicas=2, max_sessions=2)
    async with World().orchd(a) as world:
        await world.until_quiet()
        world.begin(a), world.begin(a)
        world.want(b := edited(a))
        await world.until("both are prepared", holds=lambda: world.states(b).count(S.PREPARED) == 2)
        details = sorted(r.detail for r in world.runners(b) if r.wanted)
        assert details[0].startswith("waits until the other replicas are ready, since one is replaced at a time")
        assert details[1].startswith("waits until the sessions on its former definition")


# Dates.


@settings(max_examples=20)
@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3))
def test_dates_are_the_same_number_at_each_reading_however_the_clock_is_set(steps: list[float]) -> None:
    @virtual_time
    async def check() -> None:
        clock, when = WallClock(), dict[object, set[float | None]]()
        jumps = itertools.cycle(steps)
        world = World(Settings(reconcile=ReconcileSettings(backoff_min_s=20.0)))
        world.runtime.bad_images.add("image:b")
        a, b = container_model("a"), container_model("b", "image:b")
        with clock.patched():
            async with world.orchd(a, b):
                for _ in range(30):
                    for status in world.snapshot().models.values():
                        for runner in status.runners:
                            mark = (runner.runner, runner.state, len(status.history))
                            when.setdefault((*mark, "since"), set()).add(runner.since)
                            when.setdefault((*mark, "retry_at"), set()).add(runner.retry_at)
                    await asyncio.sleep(0.4)
                    clock.now += 0.4 + next(jumps)
        assert len(when) > 6
        assert {what: dates for what, dates in when.items() if len(dates) != 1} == {}

    check()


@virtual_time
async def test_the_next_start_is_dated_by_the_moment_that_it_was_decided() -> None:
    clock = WallClock()
    world = World(Settings(reconcile=ReconcileSettings(backoff_min_s=20.0)))
    world.runtime.bad_images.add("image:1")
    with clock.patched():
        async with world.orchd(a := container_model()):
            await world.until_states(a, [S.BACKOFF])
            [runner] = world.runners(a)
            assert runner.since == clock.now
            assert runner.retry_at == pytest.approx(clock.now + 20)

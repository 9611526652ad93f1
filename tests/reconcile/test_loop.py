"""What the loop does, told as an operator would see it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Literal

import pytest
import structlog
from structlog.testing import capture_logs

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.lifecycle import RunnerState as S
from orchd.domain.model import ContainerLaunch, HealthSpec, Model, RunnerKind, StopSpec
from orchd.domain.outcomes import Outcome
from orchd.domain.ports import ProbeWord, SightedAs
from orchd.errors import PASSING, Code, EngineUnavailable, JobRefused, LaunchError
from orchd.reconcile.settings import ReconcileSettings
from orchd.sessions.session import Session, SessionKind
from orchd.settings.tree import Settings
from tests.fakes.models import container_model, external_model
from tests.reconcile.world import World
from tests.virtual_time import VirtualLoop, virtual_time


def edited(model: Model, image: str = "image:2") -> Model:
    return container_model(model.key.model_id, image, replicas=model.replicas, max_sessions=model.max_sessions)


@virtual_time
async def test_a_warm_model_comes_up_and_takes_sessions() -> None:
    async with World().orchd(a := container_model()) as world:
        await world.until_states(a, [S.READY])
        session = world.begin(a)
        with pytest.raises(JobRefused) as refused:
            world.begin(a)
        assert refused.value.code is Code.CAPACITY_EXHAUSTED
        world.table.end(session, Outcome.OK)
        assert world.runtime.count("prepare") == world.runtime.count("start") == 1


@virtual_time
async def test_a_cold_model_starts_on_its_first_job_and_stops_when_idle() -> None:
    async with World().orchd(a := container_model(warm=False, idle_timeout_s=100.0)) as world:
        await world.until_quiet()
        assert world.states(a) == [S.COLD]
        assert world.status(a).startable
        waiting = world.wait_for(a)
        session = await asyncio.wait_for(waiting, 30)
        assert isinstance(session, Session)
        await asyncio.sleep(500)
        assert world.states(a) == [S.READY], "a running session keeps it"
        world.table.end(session, Outcome.OK)
        await asyncio.sleep(90)
        assert world.states(a) == [S.READY]
        await asyncio.sleep(20)
        assert world.states(a) == [S.COLD]
        assert not world.runtime.containers


@virtual_time
async def test_replicas_of_a_cold_model_stop_together_or_not_at_all() -> None:
    a = container_model(warm=False, idle_timeout_s=100.0, replicas=2, max_sessions=2, sessions_per_replica=1)
    async with World().orchd(a) as world:
        await world.until_quiet()
        session = await world.wait_for(a)
        await world.until_states(a, [S.READY, S.READY])
        await asyncio.sleep(500)
        assert world.states(a) == [S.READY, S.READY]
        assert isinstance(session, Session)


@virtual_time
async def test_an_offer_only_edit_restarts_nothing() -> None:
    async with World().orchd(a := container_model()) as world:
        await world.until_quiet()
        before = world.running()
        world.want(replace(a, max_sessions=3, idle_timeout_s=1.0, stop=StopSpec(grace_s=99.0)))
        await asyncio.sleep(60)
        assert world.running() == before
        for _ in range(3):
            world.begin(a)
        assert world.status(a).sessions == 3


@virtual_time
async def test_an_edit_prepares_the_new_one_first_then_drains_then_starts() -> None:
    async with World().orchd(a := container_model()) as world:
        await world.until_quiet()
        session = world.begin(a)
        world.want(b := edited(a))
        await world.until("new one created", holds=lambda: len(world.runtime.containers) == 2)
        await asyncio.sleep(20)
        assert [c.status for c in world.runtime.containers.values()] == [SightedAs.RUNNING, SightedAs.CREATED]
        with pytest.raises(JobRefused):
            world.begin(a)
        world.table.end(session, Outcome.OK)
        await world.until_quiet()
        assert len(world.running(b)) == len(world.runtime.containers) == 1
        assert world.states(b) == [S.READY]


@virtual_time
async def test_a_bad_new_image_leaves_the_old_one_serving_and_says_why() -> None:
    async with World().orchd(a := container_model()) as world:
        world.runtime.bad_images.add("image:typo")
        await world.until_quiet()
        before = world.running()
        world.want(edited(a, "image:typo"))
        await asyncio.sleep(1000)
        assert world.running() == before
        status = world.status(a)
        assert status.ready
        assert "cannot pull image:typo: not found" in "".join(r.detail for r in status.runners)
        world.runtime.kill(before[0].handle)
        await world.until("the old one was healed", holds=lambda: len(world.running(a)) == 1)
        world.want(b := edited(a, "image:3"))
        await world.until_quiet()
        assert len(world.running(b)) == len(world.runtime.containers) == 1


@virtual_time
async def test_sessions_past_the_drain_deadline_are_cut() -> None:
    async with World().orchd(a := container_model()) as world:
        await world.until_quiet()
        session, cut = world.begin(a), list[str]()
        session.abort = cut.append
        world.want()
        await asyncio.sleep(world.settings.reconcile.drain_timeout_s - 5)
        assert not cut
        assert len(world.running()) == 1
        await asyncio.sleep(10)
        assert len(cut) == 1
        assert "drain deadline" in cut[0]
        world.table.end(session, Outcome.ABORTED)
        await world.until("gone", holds=lambda: not world.runtime.containers)
        assert a.key not in world.snapshot().models


@virtual_time
async def test_an_edit_taken_back_while_draining_calls_the_old_one_back() -> None:
    async with World().orchd(a := container_model()) as world:
        await world.until_quiet()
        before = world.running()
        world.begin(a)
        world.want()
        await world.until_states(a, [S.DRAINING])
        with pytest.raises(JobRefused) as refused:
            world.begin(a)
        assert refused.value.code is Code.DRAINING
        world.want(a)
        await world.until_states(a, [S.READY])
        assert world.running() == before


@virtual_time
async def test_a_dead_container_is_started_again_with_growing_waits_then_parked() -> None:
    rules = ReconcileSettings(failure_limit=4)
    async with World(Settings(reconcile=rules)).orchd(a := container_model()) as world:
        for _ in range(3):
            await world.until_states(a, [S.READY])
            world.runtime.kill(world.running()[0].handle, exit_code=3)
            await world.until_states(a, [S.BACKOFF])
        await world.until_states(a, [S.READY])
        world.runtime.kill(world.running()[0].handle, exit_code=3)
        await world.until_states(a, [S.FAILED])
        waits = [h.why for h in world.status(a).history if h.after is S.BACKOFF]
        assert [w.rsplit(" ", 2)[-2] for w in waits] == ["1.0", "2.0", "4.0"]
        assert "exited with code 3" in world.status(a).reason
        assert world.runners(a)[0].last_log == ("a last word",)
        await asyncio.sleep(5000)
        assert world.states(a) == [S.FAILED], "parked for good"
        world.restart(a.key)
        await world.until_states(a, [S.READY])


@pytest.mark.parametrize("code", sorted(PASSING))
def test_a_cause_that_passes_by_itself_is_tried_again_for_ever_and_never_counts(code: Code) -> None:
    @virtual_time
    async def check() -> None:
        rules = ReconcileSettings(failure_limit=2, backoff_max_s=60.0)
        world = World(Settings(reconcile=rules))
        kind = EngineUnavailable if code in (Code.ENGINE_UNAVAILABLE, Code.ENGINE_REFUSED) else LaunchError
        world.runtime.trouble["image:1"] = kind("cannot have it for now", code=code)
        async with world.orchd(a := container_model()):
            await asyncio.sleep(1000)
            assert S.FAILED not in {h.after for h in world.status(a).history}
            tries = world.runtime.count("prepare")
            if code is not Code.ENGINE_UNAVAILABLE:  # That one is tried as soon as the engine shows its runners again.
                assert 1000 / 60 - 2 <= tries <= 1000 / 60 + 2
                assert "cannot have it for now" in world.status(a).reason
                assert world.runners(a)[0].retry_at is not None
            world.runtime.trouble.clear()
            await world.until_states(a, [S.READY])
            assert world.runners(a)[0].restarts == 0

    check()


@pytest.mark.parametrize("code", [Code.IMAGE_UNAVAILABLE, Code.LAUNCH_REFUSED])
def test_a_cause_that_a_person_must_mend_counts(code: Code) -> None:
    @virtual_time
    async def check() -> None:
        world = World(Settings(reconcile=ReconcileSettings(failure_limit=2)))
        world.runtime.trouble["image:1"] = LaunchError("cannot have it", code=code)
        async with world.orchd(a := container_model()):
            await world.until_states(a, [S.FAILED])

    check()


@virtual_time
async def test_what_becomes_due_while_the_loop_turns_is_not_slept_through() -> None:
    clock = asyncio.get_running_loop()
    assert isinstance(clock, VirtualLoop)
    rules = ReconcileSettings(period_s=1e6)
    async with World(Settings(reconcile=rules)).orchd(a := container_model(warm=False, idle_timeout_s=100.0)) as world:
        await world.until_quiet()
        session = await world.wait_for(a)
        assert isinstance(session, Session)
        await world.until_states(a, [S.READY])
        world.table.end(session, Outcome.OK)
        table = world.table
        set_closed = table.set_closed

        def slowly(key: ModelKey, *, startable: bool, code: Code, reason: str) -> None:
            set_closed(key, startable=startable, code=code, reason=reason)
            clock.now += a.idle_timeout_s + 1
            table.set_closed = set_closed  # type: ignore[method-assign]

        table.set_closed = slowly  # type: ignore[method-assign]
        world.want(a)
        await world.until_states(a, [S.COLD])


@virtual_time
async def test_a_parked_model_is_tried_again_when_its_entry_is_edited() -> None:
    world = World(Settings(reconcile=ReconcileSettings(failure_limit=2)))
    world.runtime.bad_images.add("image:1")
    async with world.orchd(a := container_model()):
        await world.until_states(a, [S.FAILED])
        world.runtime.bad_images.clear()
        world.want(replace(a, max_sessions=2))
        await world.until_states(a, [S.READY])


@virtual_time
async def test_failures_are_forgotten_after_a_long_time_ready() -> None:
    rules = ReconcileSettings(failure_limit=2)
    async with World(Settings(reconcile=rules)).orchd(a := container_model()) as world:
        for _ in range(6):
            await world.until_states(a, [S.READY])
            await asyncio.sleep(rules.backoff_reset_s + 1)
            world.runtime.kill(world.running()[0].handle)
            await world.until_states(a, [S.BACKOFF])
        await world.until_states(a, [S.READY])


@virtual_time
async def test_a_runner_that_answers_with_failures_while_it_loads_is_waited_for_until_its_start_is_over() -> None:
    a = container_model(start_timeout_s=600.0, loading_timeout_s=60.0)
    world = World()
    world.prober.otherwise = ProbeWord.FAILED
    async with world.orchd(a):
        await world.until_states(a, [S.LOADING])
        first = world.running()
        await asyncio.sleep(580)
        assert world.states(a) == [S.LOADING]
        assert world.running() == first
        assert "told to say failed" in world.status(a).reason
        await asyncio.sleep(40)
        assert world.status(a).runners[0].restarts == 1, "the window is over"
        await world.until_states(a, [S.LOADING])
        world.prober.otherwise = ProbeWord.READY
        await world.until_states(a, [S.READY])
        world.prober.otherwise = ProbeWord.FAILED
        await world.until("its start is over", 20, holds=lambda: world.states(a) == [S.UNHEALTHY])


@virtual_time
async def test_a_ready_runner_whose_probes_are_tolerated_says_so_and_its_history_does_not() -> None:
    async with World().orchd(a := container_model()) as world:
        await world.until_quiet()
        container, before = world.running()[0], world.status(a)
        assert container.address is not None
        session = world.begin(a)
        world.prober.words[container.address] = ProbeWord.TIMEOUT
        await world.until("doubted", 60, holds=lambda: "tolerated, since a job runs" in world.runners(a)[0].detail)
        assert world.states(a) == [S.READY]
        assert world.runners(a)[0].doubt
        world.table.end(session, Outcome.OK)
        await world.until("unhealthy once no job runs", 60, holds=lambda: world.states(a) == [S.UNHEALTHY])
        assert not world.runners(a)[0].doubt
        del world.prober.words[container.address]
        await world.until_states(a, [S.READY])
        assert not world.runners(a)[0].detail
        assert [each.after for each in world.status(a).history[len(before.history) :]] == [S.UNHEALTHY, S.READY]


@virtual_time
async def test_an_unhealthy_runner_keeps_its_sessions_and_is_replaced_if_it_stays_so() -> None:
    async with World().orchd(a := container_model(max_sessions=2)) as world:
        await world.until_quiet()
        container = world.running()[0]
        assert container.address is not None
        world.begin(a)
        world.prober.words[container.address] = ProbeWord.FAILED
        await world.until_states(a, [S.UNHEALTHY])
        assert world.table.active(a.key) == 1
        with pytest.raises(JobRefused):
            world.begin(a)
        del world.prober.words[container.address]
        await world.until_states(a, [S.READY])
        world.begin(a)
        world.prober.words[container.address] = ProbeWord.UNREACHABLE
        await world.until("replaced", holds=lambda: container.handle not in world.runtime.containers)
        await world.until_states(a, [S.READY])


@virtual_time
async def test_a_runner_that_says_error_is_recreated_at_once_with_backoff() -> None:
    async with World().orchd(a := container_model()) as world:
        await world.until_quiet()
        container = world.running()[0]
        assert container.address is not None
        world.prober.words[container.address] = ProbeWord.ERROR
        await world.until_states(a, [S.BACKOFF])
        await world.until_states(a, [S.READY])
        assert world.running()[0].handle != container.handle


@virtual_time
async def test_a_runner_that_never_leaves_loading_is_given_up_after_its_time() -> None:
    world = World()
    # Refused for a while, as before the port opens, and then LOADING for ever.
    world.prober.otherwise = ProbeWord.UNREACHABLE
    async with world.orchd(a := container_model(loading_timeout_s=50.0, start_timeout_s=30.0)):
        await world.until("running", holds=lambda: len(world.running()) == 1)
        address = world.running()[0].address
        assert address is not None
        await asyncio.sleep(20)
        assert world.states(a) == [S.LOADING]
        world.prober.otherwise = ProbeWord.LOADING
        await asyncio.sleep(40)
        assert world.states(a) == [S.LOADING]
        await asyncio.sleep(20)
        assert world.running() == [] or world.running()[0].address != address
        assert "it was not ready after 50 s of loading: probe: " in str([h.why for h in world.status(a).history])


@virtual_time
async def test_the_time_to_load_goes_on_though_the_reason_changes() -> None:
    world = World()
    world.prober.otherwise = ProbeWord.LOADING
    async with world.orchd(a := container_model(loading_timeout_s=50.0, start_timeout_s=600.0)):
        await world.until_states(a, [S.LOADING])
        first = world.running()
        for word in (ProbeWord.FAILED, ProbeWord.LOADING, ProbeWord.TIMEOUT, ProbeWord.FAILED):
            await asyncio.sleep(11)
            world.prober.otherwise = word
        await asyncio.sleep(20)
        assert world.running() != first
        assert "it was not ready after 50 s of loading" in str([h.why for h in world.status(a).history])


@virtual_time
async def test_a_paused_container_is_unpaused() -> None:
    async with World().orchd(a := container_model()) as world:
        await world.until_quiet()
        world.runtime.pause(world.running()[0].handle)
        await world.until("unpaused", holds=lambda: len(world.running()) == 1)
        assert world.runtime.count("start") == 1
        assert world.states(a) == [S.READY]


@virtual_time
async def test_a_container_removed_by_hand_is_made_anew() -> None:
    async with World().orchd(a := container_model()) as world:
        await world.until_quiet()
        world.runtime.vanish(world.running()[0].handle)
        await world.until_states(a, [S.BACKOFF])
        await world.until_states(a, [S.READY])
        assert len(world.running(a)) == 1


@virtual_time
async def test_an_engine_that_is_away_at_start_is_waited_for() -> None:
    world = World()
    world.runtime.down = True
    async with world.orchd(a := container_model()):
        await asyncio.sleep(300)
        assert world.states(a) == [S.COLD]
        assert "told to be down" in world.status(a).reason
        world.runtime.down = False
        await world.until_states(a, [S.READY])
        assert world.runners(a)[0].restarts == 0


@virtual_time
async def test_an_engine_that_is_away_is_told_of_at_the_first_look() -> None:
    world = World()
    world.runtime.down = True
    with structlog.testing.capture_logs() as lines:
        async with world.orchd(container_model()):
            await asyncio.sleep(world.settings.reconcile.period_s / 2)
            assert [line["event"] for line in lines].count("runtime_down") == 1
            await asyncio.sleep(10 * world.settings.reconcile.period_s)
            assert [line["event"] for line in lines].count("runtime_down") == 1, "and only then"


@virtual_time
async def test_an_engine_that_is_away_is_told_of_as_soon_as_a_model_needs_it() -> None:
    world = World()
    world.runtime.down = True
    with structlog.testing.capture_logs() as lines:
        async with world.orchd():
            await asyncio.sleep(world.settings.reconcile.period_s / 2)
            assert "runtime_down" not in [line["event"] for line in lines]
            world.want(container_model())
            await asyncio.sleep(world.settings.reconcile.period_s / 4)
            assert [line["event"] for line in lines].count("runtime_down") == 1


@virtual_time
async def test_an_engine_that_goes_away_takes_no_running_model_with_it() -> None:
    async with World().orchd(a := container_model()) as world:
        await world.until_quiet()
        before = world.running()
        world.runtime.down = True
        await asyncio.sleep(100)
        assert world.status(a).ready
        world.want(edited(a))
        await asyncio.sleep(100)
        world.runtime.down = False
        await world.until_quiet()
        assert before[0].handle not in world.runtime.containers
        assert len(world.running()) == 1


@virtual_time
async def test_a_new_life_adopts_what_runs_without_a_restart() -> None:
    world = World()
    a, b = container_model("a"), container_model("b")
    async with world.orchd(a, b):
        await world.until_quiet()
        before = world.running()
    async with world.orchd(a, b):
        await world.until_states(a, [S.READY])
        await world.until_states(b, [S.READY])
        assert world.running() == before
        assert world.runtime.count("start") == 2


@virtual_time
async def test_a_new_life_with_an_edited_file_replaces_in_order() -> None:
    world = World()
    async with world.orchd(a := container_model()):
        await world.until_quiet()
        old = world.running()[0]
    world.runtime.bad_images.add("image:2")
    async with world.orchd(b := edited(a)):
        await asyncio.sleep(100)
        assert world.running() == [old], "the old one serves while the new image can't be had"
        assert world.status(b).ready
        world.runtime.bad_images.clear()
        await world.until("replaced", holds=lambda: len(world.running(b)) == 1)
        await world.until("old one gone", holds=lambda: len(world.runtime.containers) == 1)


@virtual_time
async def test_a_new_life_removes_what_no_definition_knows() -> None:
    world = World()
    async with world.orchd(container_model("a")):
        await world.until_quiet()
    world.generations.clear()
    world.models.clear()
    async with world.orchd(b := container_model("b")):
        await world.until_states(b, [S.READY])
        await world.until("stray gone", holds=lambda: len(world.runtime.containers) == 1)


@virtual_time
async def test_what_runs_off_the_network_is_not_adopted_but_made_anew() -> None:
    world = World()
    async with world.orchd(a := container_model()):
        await world.until_quiet()
        old = world.running()[0]
    old.on_network = False
    async with world.orchd(a):
        await world.until_states(a, [S.BACKOFF])
        assert "not on the shared network" in world.status(a).reason
        await world.until_states(a, [S.READY])
        assert world.running()[0].handle != old.handle


@virtual_time
async def test_replicas_are_replaced_one_at_a_time() -> None:
    a = container_model(replicas=3, max_sessions=3)
    async with World().orchd(a) as world:
        await world.until_quiet()
        world.want(b := edited(a))
        lowest = 3
        for _ in range(1200):
            ready = sum(s is S.READY for s in world.states(b))
            lowest = min(lowest, ready)
            await asyncio.sleep(0.05)
        assert len(world.running(b)) == len(world.runtime.containers) == 3
        assert lowest == 2


@virtual_time
async def test_fewer_replicas_drain_the_emptiest() -> None:
    a = container_model(replicas=3, max_sessions=3, sessions_per_replica=1)
    async with World().orchd(a) as world:
        await world.until_quiet()
        sessions = [world.begin(a) for _ in range(3)]
        world.table.end(sessions[0], Outcome.OK)
        world.want(replace(a, replicas=2, max_sessions=2))
        await world.until("two left", holds=lambda: len(world.running()) == 2)
        assert world.table.active(a.key) == 2
        assert {s.runner for s in sessions[1:]} == {c.runner for c in world.running()}


@virtual_time
async def test_sessions_of_other_models_are_not_touched_by_an_edit() -> None:
    a, b = container_model("a"), container_model("b")
    async with World().orchd(a, b) as world:
        await world.until_quiet()
        session, cut = world.begin(b), list[str]()
        session.abort = cut.append
        before = world.running(b)
        for image in ("image:2", "image:3", "image:4"):
            world.want(edited(a, image), b)
            await asyncio.sleep(100)
        world.want(b)
        await world.until("a gone", holds=lambda: len(world.runtime.containers) == 1)
        assert not cut
        assert world.running(b) == before
        assert session.outcome is None


@virtual_time
async def test_an_external_model_is_only_probed() -> None:
    world = World()
    x = external_model()
    address = x.launch.address  # type: ignore[union-attr]
    world.prober.words[address] = ProbeWord.UNREACHABLE
    async with world.orchd(x):
        await world.until_states(x, [S.UNHEALTHY])
        with pytest.raises(JobRefused) as refused:
            world.begin(x)
        assert refused.value.code is Code.NOT_READY
        del world.prober.words[address]
        await world.until_states(x, [S.READY])
        world.begin(x)
        world.prober.words[address] = ProbeWord.ERROR
        await world.until_states(x, [S.UNHEALTHY])
        assert not world.runtime.calls or world.runtime.count("prepare") == 0


@virtual_time
async def test_nothing_is_expected_of_an_external_model_that_is_unhealthy_or_loads_for_too_long() -> None:
    world = World()
    x = external_model(health=HealthSpec(interval_s=1, timeout_s=1, restart_after_s=15), loading_timeout_s=40)
    address, id = x.launch.address, RunnerId(x.key, 0, x.generation)  # type: ignore[union-attr]
    async with world.orchd(x):
        for word, state, limit_s in (
            (ProbeWord.UNREACHABLE, S.UNHEALTHY, 15),
            (ProbeWord.LOADING, S.LOADING, 40),
            (ProbeWord.FAILED, S.UNHEALTHY, 15),
        ):
            world.prober.words.pop(address, None)
            await world.until_states(x, [S.READY])
            assert world.loop.given_up(id) == ""
            world.prober.words[address] = word
            await world.until_states(x, [state])
            await asyncio.sleep(limit_s - 5)
            assert world.loop.given_up(id) == ""
            await asyncio.sleep(5)
            assert f"for {limit_s} s" in world.loop.given_up(id)
        assert world.loop.given_up(id._replace(replica=7)) == "", "there is none"


@virtual_time
async def test_a_removed_external_model_goes_when_its_session_ends() -> None:
    async with World().orchd(x := external_model()) as world:
        await world.until_states(x, [S.READY])
        session = world.begin(x)
        world.want()
        await asyncio.sleep(1)
        assert x.key in world.snapshot().models
        world.table.end(session, Outcome.OK)
        await world.until("gone", holds=lambda: x.key not in world.snapshot().models)


@virtual_time
async def test_restart_drains_and_starts_anew() -> None:
    async with World().orchd(a := container_model()) as world:
        await world.until_quiet()
        before = world.running()[0].handle
        session = world.begin(a)
        world.restart(a.key)
        await world.until_states(a, [S.DRAINING])
        world.table.end(session, Outcome.OK)
        await world.until_states(a, [S.READY])
        assert world.running()[0].handle != before


@pytest.mark.parametrize("pull", ["always", "missing"])
def test_a_restart_gets_and_checks_what_it_needs_before_it_stops_anything(pull: Literal["always", "missing"]) -> None:
    @virtual_time
    async def check() -> None:
        async with World().orchd(a := container_model(launch=replace(ContainerLaunch("image:1"), pull=pull))) as world:
            await world.until_quiet()
            old, world.runtime.delay_s = world.running()[0], 30.0
            world.restart(a.key)
            await asyncio.sleep(20)
            assert world.states(a) == [S.READY]
            world.table.end(world.begin(a), Outcome.OK)
            assert "runs on until this is done: pulling" in world.runners(a)[0].detail
            world.runtime.delay_s = 0.1
            world.runtime.bad_images.clear()
            await world.until_states(a, [S.STOPPING])
            await world.until_quiet()
            assert world.running()[0].handle != old.handle
            assert world.runtime.count("check") == 1
            pulls = [("image:1", "check")] if pull == "missing" else [("image:1", "prepare"), ("image:1", "check")]
            assert world.runtime.pulled == pulls, "and the registry is not asked again between stop and start"

    check()


@virtual_time
async def test_a_restart_that_could_only_fail_is_put_off_and_said() -> None:
    async with World().orchd(a := container_model(launch=ContainerLaunch("image:1", pull="always"))) as world:
        await world.until_quiet()
        before = world.running()
        world.runtime.bad_images.add("image:1")
        with capture_logs() as logs:
            world.restart(a.key)
            await asyncio.sleep(300)
        assert world.running() == before
        assert world.status(a).ready
        assert world.runners(a)[0].detail == "asked to restart, but runs on: cannot pull image:1: not found"
        assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["restart_put_off"]
        assert world.runtime.count("check") == 1


@virtual_time
async def test_a_restart_waits_for_the_engine_and_a_runner_that_dies_meanwhile_is_healed() -> None:
    async with World().orchd(a := container_model()) as world:
        await world.until_quiet()
        first = world.running()[0]
        world.runtime.down = True
        world.restart(a.key)
        await asyncio.sleep(60)
        assert world.states(a) == [S.READY]
        world.runtime.down, world.runtime.delay_s = False, 20.0
        await world.until("it is checked", holds=lambda: world.runtime.calls[-1][0] == "check")
        world.runtime.kill(first.handle)
        await world.until("its end is noticed", holds=lambda: world.states(a) != [S.READY])
        world.runtime.delay_s = 0.1
        await world.until("it is healed", holds=lambda: world.states(a) == [S.READY])
        assert world.runtime.count("start") == 2


@virtual_time
async def test_a_restart_tries_a_bad_new_generation_again_and_leaves_the_old_one_serving() -> None:
    world = World(Settings(reconcile=ReconcileSettings(failure_limit=1)))
    world.runtime.bad_images.add("image:typo")
    async with world.orchd(a := container_model()):
        await world.until_quiet()
        before = world.running()
        world.want(b := edited(a, "image:typo"))
        await world.until("parked", holds=lambda: S.FAILED in world.states(a))
        world.restart(a.key)
        await asyncio.sleep(60)
        assert world.running() == before
        assert world.status(a).ready
        world.runtime.bad_images.clear()
        world.restart(a.key)
        await world.until_quiet()
        assert len(world.running(b)) == len(world.runtime.containers) == 1


@virtual_time
async def test_an_edit_while_the_last_one_still_drains_calls_the_old_one_back_until_the_newest_is_prepared() -> None:
    async with World().orchd(a := container_model()) as world:
        await world.until_quiet()
        before = world.running()
        session = world.begin(a)
        world.want(b := edited(a))
        await world.until_states(
            a, [S.PREPARED, S.DRAINING] if b.generation < a.generation else [S.DRAINING, S.PREPARED]
        )
        world.runtime.bad_images.add("image:typo")
        world.want(edited(a, "image:typo"))
        await world.until("taken again", holds=lambda: world.status(a).ready)
        await asyncio.sleep(100)
        assert world.running() == list(world.runtime.containers.values()) == before
        world.want(c := edited(a, "image:3"))
        await asyncio.sleep(10)
        assert world.running() == before, "never two generations at once"
        world.table.end(session, Outcome.OK)
        await world.until_quiet()
        assert len(world.running(c)) == len(world.runtime.containers) == 1


@virtual_time
async def test_nothing_is_at_rest_before_the_first_look() -> None:
    world = World()
    async with world.orchd(container_model()):
        await world.until_quiet()
    async with world.orchd():
        world.want()
        assert not world.loop.converged()
        await world.until_quiet()
        assert not world.runtime.containers


@virtual_time
async def test_a_pull_that_nobody_wants_any_more_is_cut_short() -> None:
    world = World()
    world.runtime.delay_s = 100.0
    async with world.orchd(a := container_model()):
        await world.until_states(a, [S.PULLING])
        world.want()
        await asyncio.sleep(1)
        world.runtime.delay_s = 0.1
        await world.until("gone", holds=lambda: a.key not in world.snapshot().models)
        assert not world.runtime.containers


@virtual_time
async def test_a_cold_start_that_fails_for_good_refuses_those_who_wait() -> None:
    world = World(Settings(reconcile=ReconcileSettings(failure_limit=2)))
    world.runtime.bad_images.add("image:1")
    async with world.orchd(a := container_model(warm=False)):
        await world.until_quiet()
        refused = await world.wait_for(a)
        assert isinstance(refused, JobRefused)
        assert refused.code is Code.NOT_READY
        assert "cannot pull image:1" in refused.message
        with pytest.raises(JobRefused):
            world.table.begin(a.key, SessionKind.JOB)


@virtual_time
async def test_streams_are_closed_before_a_runner_is_stopped_on_purpose() -> None:
    a = container_model(stop=StopSpec(close_streams=True))
    async with World().orchd(a) as world:
        await world.until_quiet()
        address = world.running()[0].address
        world.want()
        await world.until("gone", holds=lambda: not world.runtime.containers)
        assert world.prober.closed == [address]


@virtual_time
async def test_ending_a_kind_stops_all_of_it_and_tells_what_it_waits_for() -> None:
    async with World().orchd(a := container_model("a"), container_model("b")) as world:
        await world.until_quiet()
        told: list[str] = []
        assert await world.loop.end(frozenset({a.kind}), told.append) == ()
        assert not world.runtime.containers
        assert "text-to-image/a stopping" in " ".join(told)


@virtual_time
async def test_what_a_runner_said_before_it_failed_is_read_for_the_operator() -> None:
    world = World()
    world.runtime.last_words = ("starting", "RuntimeError: No CUDA GPUs are available")
    async with world.orchd(a := container_model("a")):
        await world.until_quiet()
        world.runtime.kill(world.running()[0].handle, exit_code=1)
        await asyncio.sleep(0.7)
        [runner] = world.runners(a)
        assert runner.detail.startswith("it exited with code 1; it sees no GPU (it said: RuntimeError: No CUDA")
        assert "`gpus`" in world.status(a).reason


@virtual_time
async def test_one_that_ignores_its_stop_signal_says_so() -> None:
    world = World()
    async with world.orchd(a := container_model("a")):
        await world.until_quiet()
        world.runtime.ignores_signals = True
        world.restart(a.key)
        await asyncio.sleep(30)
        [runner] = world.runners(a)
        assert runner.last_stop.startswith("killed, exit code 137: it did not end within 10 s of SIGTERM")


@virtual_time
async def test_the_end_waits_as_long_as_the_longest_grace() -> None:
    world = World()
    async with world.orchd(a := container_model("a", stop=StopSpec(grace_s=3000.0))):
        await world.until_quiet()
        world.runtime.delay_s = 900.0  # of each call
        assert await world.loop.end(frozenset({a.kind}), print) == ()
        assert not world.runtime.containers


@virtual_time
async def test_what_runs_on_while_its_engine_is_away_is_named_at_the_end() -> None:
    world = World()
    async with world.orchd(a := container_model("a")):
        await world.until_quiet()
        world.runtime.down = True
        [left] = await world.loop.end(frozenset({a.kind}), print)
        assert left.startswith("text-to-image/a stopping: cannot reach the fake engine")
        assert world.runtime.containers


@virtual_time
@pytest.mark.parametrize("wanted", [True, False])
async def test_before_an_engine_has_ever_answered_nobody_says_that_nothing_runs_there(wanted: bool) -> None:
    world = World()
    world.runtime.down = True
    models = (container_model("a"),) if wanted else ()
    async with world.orchd(*models):
        told: list[str] = []
        left = await world.loop.end(frozenset(RunnerKind), told.append)
        assert [each.partition(":")[0] for each in left] == ["any container"] * wanted
        assert any("not looked for" in line for line in told) is not wanted


@virtual_time
async def test_the_end_takes_what_nobody_had_looked_at_yet() -> None:
    world = World()
    async with world.orchd(a := container_model("a")):
        await world.until_quiet()
    world.runtime.delay_s = 5.0
    async with world.orchd():
        assert await world.loop.end(frozenset({a.kind}), print) == ()
        assert not world.runtime.containers


@virtual_time
async def test_a_runtime_that_is_away_is_needed_only_as_long_as_a_model_is_of_its_kind() -> None:
    world = World()
    world.runtime.down = True
    model = container_model("org/a")
    async with world.orchd():
        for wanted in ((), (model,), ()):
            world.want(*wanted)
            await asyncio.sleep(100)
            [runtime] = world.snapshot().runtimes
            assert (runtime.up, runtime.needed) == (False, bool(wanted))
            exported = world.metrics.render().decode()
            assert ('orchd_runtime_up{runtime="container"} 0.0' in exported) is bool(wanted)

"""`orchd stop` and `orchd start`, as the loop carries them out and as an operator sees it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from orchd import tasks
from orchd.domain.events import DesiredChanged
from orchd.domain.lifecycle import RunnerState as S
from orchd.domain.model import Model
from orchd.domain.outcomes import Outcome
from orchd.domain.ports import ProbeWord
from orchd.domain.state import DesiredState
from orchd.errors import Code, JobRefused
from orchd.reconcile.settings import ReconcileSettings
from orchd.settings.tree import Settings
from orchd.status_view import model_state, readiness, summary
from tests.fakes.models import container_model, external_model
from tests.reconcile.world import World
from tests.virtual_time import virtual_time


def refused(world: World, model: Model) -> JobRefused:
    with pytest.raises(JobRefused) as caught:
        world.begin(model)
    return caught.value


@virtual_time
async def test_a_stop_drains_then_stops_and_jobs_are_told_so_from_its_first_moment() -> None:
    async with World().orchd(a := container_model(max_sessions=2)) as world:
        await world.until_quiet()
        session = world.begin(a)
        orders = await world.stop(a)
        assert world.states(a) == [S.DRAINING]
        assert orders.follow[a.key]().text.startswith("stopping; 1 job may go on until ")
        no = refused(world, a)
        assert (no.code, no.status, no.retry_after_s) == (Code.STOPPED, 503, 300)
        assert "alice" not in no.message, "callers are not told who it was"
        assert world.runtime.containers
        world.table.end(session, Outcome.OK)
        await world.until_quiet()
        assert not world.runtime.containers
        status = world.status(a)
        assert (model_state(status), status.reason) == ("stopped", "an operator has stopped it")
        assert status.stopped is not None
        assert status.stopped.by == "alice"
        assert orders.follow[a.key]().text == "stopped"
        assert refused(world, a).code is Code.STOPPED
        assert [h.after for h in status.history][-3:] == [S.DRAINING, S.STOPPING, S.COLD], "its history is kept"


@virtual_time
async def test_a_stopped_model_is_not_wanted() -> None:
    async with World().orchd(a := container_model("a"), b := container_model("b")) as world:
        await world.until_quiet()
        await world.stop(a)
        await world.until_quiet()
        ready, page = readiness(world.snapshot(), accepting=True, ready_when="all")
        assert (ready, page["models"], page["cannot_serve"]) == (True, {"wanted": 1, "can_serve": 1}, [])
        assert summary(world.snapshot()) == "1 of 1 models ready, 1 stopped"
        text = world.metrics.render().decode()
        shown = [line.split("{")[0] for line in text.splitlines() if line.startswith("orchd_model_") and '"a"' in line]
        assert shown == ["orchd_model_stopped"], "no alert on those that are wanted can be about it"
        assert world.status(b).ready
        await world.stop(b)
        await world.until_quiet()
        assert summary(world.snapshot()) == "no models, but for 2 stopped by an operator"


@virtual_time
async def test_sessions_of_a_stop_are_cut_at_the_deadline_of_a_drain() -> None:
    world = World(Settings(reconcile=ReconcileSettings(drain_timeout_s=30.0)))
    async with world.orchd(a := container_model()):
        await world.until_quiet()
        session = world.begin(a)
        cut: list[str] = []
        session.abort = cut.append
        await world.stop(a)
        await asyncio.sleep(29)
        assert not cut
        await asyncio.sleep(2)
        assert cut == ["the drain deadline passed with 1 sessions"]


@virtual_time
async def test_jobs_that_wait_for_a_cold_model_are_refused_and_its_pull_is_cut_short() -> None:
    async with World().orchd(a := container_model(warm=False)) as world:
        await world.until_quiet()
        world.runtime.delay_s = 1000.0
        waiting = world.wait_for(a)
        await world.until_states(a, [S.PULLING])
        await world.stop(a)
        no = await waiting
        assert isinstance(no, JobRefused)
        assert no.code is Code.STOPPED
        assert world.states(a) == [S.STOPPING]
        world.runtime.delay_s = 0.1
        await world.until_quiet()
        assert world.states(a) == [S.COLD]
        assert not world.runtime.containers


@virtual_time
async def test_a_job_that_waits_for_another_replica_is_told_the_same() -> None:
    a = container_model(warm=False, replicas=2, max_sessions=3, sessions_per_replica=1)
    async with World().orchd(a) as world:
        await world.until_quiet()
        first, second, third = (world.wait_for(a) for _ in range(3))
        await asyncio.gather(first, second)
        await world.stop(a)
        no = await third
        assert isinstance(no, JobRefused)
        assert no.code is Code.STOPPED


@virtual_time
async def test_a_start_during_the_drain_takes_the_runner_back() -> None:
    async with World().orchd(a := container_model(max_sessions=2)) as world:
        await world.until_quiet()
        [before], session = world.running(), world.begin(a)
        stop = await world.stop(a)
        await world.start(a)
        await world.until_states(a, [S.READY])
        assert world.running() == [before]
        assert session.outcome is None
        assert stop.follow[a.key]().failed, "who waits for the stop is told"
        world.table.end(world.begin(a), Outcome.OK)


@virtual_time
async def test_a_start_brings_a_warm_model_up_and_leaves_a_cold_one_to_its_first_job() -> None:
    async with World().orchd(a := container_model("a"), b := container_model("b", warm=False)) as world:
        await world.until_quiet()
        await world.stop(a, b)
        await world.until_quiet()
        orders = await world.start(a, b)
        await world.until_states(a, [S.READY])
        assert world.states(b) == [S.COLD]
        assert world.status(b).startable
        assert [orders.follow[key]().text for key in (a.key, b.key)] == ["ready", "cold: its first job starts it"]
        assert all(orders.follow[key]().over for key in (a.key, b.key))


@virtual_time
async def test_a_stop_is_kept_over_a_kill_of_orchd_at_any_moment() -> None:
    world = World()
    async with world.orchd(a := container_model()):
        await world.until_quiet()
        await world.stop(a)
        assert world.running(), "orchd dies in the middle of it"
    async with world.orchd():
        await world.until_quiet()
        assert not world.runtime.containers
        assert model_state(world.status(a)) == "stopped"
        await world.start(a)
    async with world.orchd():
        await world.until_states(a, [S.READY])
        assert world.status(a).stopped is None


@virtual_time
async def test_an_edit_does_not_undo_a_stop_and_is_what_a_start_begins() -> None:
    async with World().orchd(a := container_model()) as world:
        await world.until_quiet()
        await world.stop(a)
        await world.until_quiet()
        world.want(b := container_model(image="image:2", replicas=2))
        await asyncio.sleep(60)
        assert (world.states(b), model_state(world.status(b))) == ([S.COLD, S.COLD], "stopped")
        assert not world.runtime.containers
        await world.start(b)
        await world.until_quiet()
        assert len(world.running(b)) == 2


@virtual_time
async def test_an_edit_during_the_drain_of_a_stop_goes_on_with_the_stop() -> None:
    async with World().orchd(a := container_model()) as world:
        await world.until_quiet()
        session = world.begin(a)
        await world.stop(a)
        world.want(container_model(image="image:2"))
        await asyncio.sleep(5)
        assert session.outcome is None
        world.table.end(session, Outcome.OK)
        await world.until_quiet()
        assert world.runtime.count("prepare") == 1
        assert not world.runtime.containers


@virtual_time
async def test_a_model_that_leaves_the_file_and_comes_back_is_still_stopped() -> None:
    async with World().orchd(a := container_model("a"), b := container_model("b")) as world:
        await world.until_quiet()
        await world.stop(a)
        world.want(b)
        await world.until("gone", holds=lambda: a.key not in world.snapshot().models)
        assert list(world.snapshot().stopped_elsewhere) == [a.key]
        world.want(a, b)
        await world.until_quiet()
        assert model_state(world.status(a)) == "stopped"
        assert not world.snapshot().stopped_elsewhere
        world.want(b)
        await world.start(a)
        assert not world.snapshot().stopped_elsewhere


@virtual_time
async def test_an_external_model_is_drained_and_not_probed_until_it_is_started() -> None:
    async with World().orchd(x := external_model()) as world:
        await world.until_states(x, [S.READY])
        session = world.begin(x)
        await world.stop(x)
        assert refused(world, x).code is Code.STOPPED
        world.table.end(session, Outcome.OK)
        await world.until_quiet()
        probes = sum(world.prober.asked.values())
        await asyncio.sleep(300)
        assert sum(world.prober.asked.values()) == probes
        assert model_state(world.status(x)) == "stopped"
        await world.start(x)
        await world.until_states(x, [S.READY])


@virtual_time
async def test_a_start_of_an_external_model_that_is_away_says_so() -> None:
    async with World().orchd(x := external_model()) as world:
        await world.until_quiet()
        await world.stop(x)
        await world.until_quiet()
        world.prober.otherwise = ProbeWord.UNREACHABLE
        orders = await world.start(x)
        await world.until("over", holds=lambda: orders.follow[x.key]().over)
        now = orders.follow[x.key]()
        assert now.failed
        assert now.text.startswith("can't be reached: ")


@virtual_time
async def test_a_model_that_was_given_up_begins_again_after_stop_and_start() -> None:
    world = World(Settings(reconcile=ReconcileSettings(failure_limit=1)))
    world.runtime.bad_images.add("image:1")
    async with world.orchd(a := container_model()):
        await world.until_states(a, [S.FAILED])
        await world.stop(a)
        await world.until_quiet()
        assert model_state(world.status(a)) == "stopped"
        orders = await world.start(a)
        await world.until("over", holds=lambda: orders.follow[a.key]().over)
        assert orders.follow[a.key]().failed
        assert "cannot pull image:1: not found; orchd has given up on it" in orders.follow[a.key]().text
        await world.stop(a)
        await world.until_quiet()
        world.runtime.bad_images.clear()
        await world.start(a)
        await world.until_states(a, [S.READY])


@virtual_time
async def test_a_stop_during_a_restart_wins_and_a_restart_of_a_stopped_model_does_nothing() -> None:
    async with World().orchd(a := container_model(), b := container_model("b", warm=False)) as world:
        await world.until_quiet()
        session = world.begin(a)
        world.restart(a.key)
        await world.until_states(a, [S.DRAINING])
        await world.stop(a, b)
        world.table.end(session, Outcome.OK)
        world.restart(a.key)
        world.restart(b.key)
        await asyncio.sleep(60)
        assert world.states(a) == [S.COLD]
        await world.start(a, b)
        await world.until_states(a, [S.READY])
        assert world.states(b) == [S.COLD], "no restart is made up for"


@virtual_time
async def test_a_stop_is_carried_out_though_the_file_cannot_be_read() -> None:
    world = World()
    async with world.orchd(a := container_model()):
        await world.until_quiet()
    async with world.orchd():
        world.loop.post(DesiredChanged(DesiredState(models=world.models, held_over=frozenset(world.models))))
        await world.until_states(a, [S.READY])
        await world.stop(a)
        await world.until("stopped", holds=lambda: not world.runtime.containers)


@virtual_time
async def test_a_stop_that_cannot_be_kept_is_carried_out_and_said() -> None:
    world = World(disk_is_full=True)
    async with world.orchd(a := container_model()):
        await world.until_quiet()
        orders = await world.stop(a)
        assert "No space left" in orders.not_kept
        await world.until_quiet()
        assert not world.runtime.containers


@virtual_time
async def test_who_stopped_it_first_is_remembered() -> None:
    async with World().orchd(a := container_model()) as world:
        await world.until_quiet()
        await world.stop(a)
        await world.orders.stop([a.key], "mallory")
        stopped = world.status(a).stopped
        assert stopped is not None
        assert stopped.by == "alice"


@virtual_time
async def test_who_asks_may_leave_in_the_middle_and_the_order_stands() -> None:
    async with World().orchd(a := container_model()) as world:
        await world.until_quiet()
        asked = tasks.spawn(world.stop(a), name="stop")
        await asyncio.sleep(0)
        asked.cancel()
        await world.until_quiet()
        await asyncio.sleep(5)
        assert model_state(world.status(a)) == "stopped"


@virtual_time
async def test_a_stop_while_the_engine_is_away_waits_for_it_and_says_so() -> None:
    async with World().orchd(a := container_model()) as world:
        await world.until_quiet()
        world.runtime.down = True
        await world.until("it is noticed", holds=lambda: world.loop.state.down)
        orders = await world.stop(a)
        assert orders.follow[a.key]().text.startswith("stopping; waits, since ")
        world.runtime.down = False
        await world.until("stopped", holds=lambda: orders.follow[a.key]().over)
        assert not world.runtime.containers


@virtual_time
async def test_fewer_replicas_while_stopped_leave_no_runner_too_many() -> None:
    a = container_model(replicas=3, max_sessions=3)
    async with World().orchd(a) as world:
        await world.until_quiet()
        await world.stop(a)
        world.want(replace(a, replicas=1))
        await world.until_quiet()
        assert world.states(a) == [S.COLD]


@virtual_time
async def test_an_engine_that_only_stopped_models_need_is_no_trouble_when_it_goes_away() -> None:
    async with World().orchd(a := container_model()) as world:
        await world.until_quiet()
        session = world.begin(a)
        await world.stop(a)
        await asyncio.sleep(1)
        assert [runtime.needed for runtime in world.snapshot().runtimes] == [True], "as long as something is to end"
        world.table.end(session, Outcome.OK)
        await world.until_quiet()
        assert [runtime.needed for runtime in world.snapshot().runtimes] == [False]
        await world.start(a)
        assert [runtime.needed for runtime in world.snapshot().runtimes] == [True]

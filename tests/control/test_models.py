"""What `orchd stop`, `start` and `restart` are told of each model, over the real loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest

from orchd import tasks
from orchd.control.orders import Asker, Json
from orchd.control.restart import Restart
from orchd.control.stop import StartModels, StopModels
from orchd.domain.lifecycle import RunnerState as S
from orchd.domain.model import ContainerLaunch, Model
from orchd.domain.outcomes import Outcome
from orchd.errors import Code, OrchdError
from orchd.history.ports import Kind
from orchd.reconcile.settings import ReconcileSettings
from orchd.settings.tree import Settings
from tests.fakes.models import container_model
from tests.reconcile.world import World
from tests.virtual_time import virtual_time

BY = Asker(0, "alice")


class Told:
    """The lines of an order while it is carried out."""

    def __init__(self, order: AsyncGenerator[Json, None]) -> None:
        self.lines: list[str] = []
        self.failed: list[str] = []
        self.left_alone: list[str] = []
        self._task = tasks.spawn(self._read(order), name="read an order's news")

    async def _read(self, order: AsyncGenerator[Json, None]) -> None:
        async for line in order:
            self.lines.append(f"{line['model']}: {line['line']}")
            if line["failed"]:
                self.failed.append(line["model"])
            if line["left_alone"]:
                self.left_alone.append(line["model"])

    async def all(self) -> list[str]:
        await self._task
        return self.lines

    @property
    def over(self) -> bool:
        return self._task.done()


def ask(world: World, order: str, *names: str, **more: Any) -> Told:
    of: Any = {"stop": StopModels, "start": StartModels, "restart": Restart}[order]
    return Told(of(world, world.history).run({"models": list(names), **more}, BY))


def named(name: str, **more: Any) -> Model:
    return replace(container_model(name, **more))


@virtual_time
async def test_a_stop_says_what_was_done_of_each_and_how_long_its_jobs_may_go_on() -> None:
    async with World().orchd(a := named("a"), named("b"), named("c", warm=False)) as world:
        await world.until_quiet()
        world.begin(a)
        lines = await ask(world, "stop", "a", "b", "c").all()
        name = "text-to-image/"
        assert lines[0].startswith(f"{name}a: stopping; 1 job may go on until ")
        assert lines[0].endswith(" UTC")
        assert lines[1:] == [f"{name}b: stopping", f"{name}c: stopped"]
        assert [(n.about, n.by) for n in world.history.noted if n.kind is Kind.STOP_ASKED] == [
            (m.key, "alice") for m in (a, named("b"), named("c"))
        ]
        [again] = await ask(world, "stop", "a").all()
        assert again.startswith(f"{name}a: is stopped already, by alice since ")


@virtual_time
async def test_a_name_that_means_nothing_stops_nothing() -> None:
    async with World().orchd(a := named("a")) as world:
        await world.until_quiet()
        told = ask(world, "stop", "a", "text-to-image/x*")
        with pytest.raises(OrchdError, match="cannot find model 'text-to-image/x"):
            await told.all()
        assert world.status(a).stopped is None


@pytest.mark.parametrize("order", [{}, {"models": []}, {"models": "a"}, {"models": [1]}, {"all": 1}])
@virtual_time
async def test_an_order_that_names_no_models_is_refused(order: Json) -> None:
    async with World().orchd(named("a")) as world:
        of: Any = world
        with pytest.raises(OrchdError) as caught:
            await Told(StopModels(of, of.history).run(order, BY)).all()
        assert caught.value.code is Code.BAD_REQUEST


@virtual_time
async def test_a_stop_that_is_waited_for_tells_each_step_and_ends() -> None:
    async with World().orchd(a := named("a")) as world:
        await world.until_quiet()
        session = world.begin(a)
        told = ask(world, "stop", "a", wait=True)
        await asyncio.sleep(10)
        assert not told.over
        world.table.end(session, Outcome.OK)
        lines = await told.all()
        assert [line.split(": ")[1].split(";")[0] for line in lines] == ["stopping", "stopping", "stopped"]
        assert len(set(lines)) == len(lines), "nothing is said twice"
        assert not told.failed


@virtual_time
async def test_who_waits_for_a_stop_is_told_that_somebody_has_started_it() -> None:
    async with World().orchd(a := named("a")) as world:
        await world.until_quiet()
        world.begin(a)
        told = ask(world, "stop", "a", wait=True)
        await asyncio.sleep(1)
        await ask(world, "start", "a").all()
        assert (await told.all())[-1] == f"{a.key}: was started again before it had stopped"
        assert told.failed == [str(a.key)]


@virtual_time
async def test_a_start_that_is_waited_for_ends_when_it_is_ready() -> None:
    async with World().orchd(a := named("a")) as world:
        await world.until_quiet()
        await ask(world, "stop", "a", wait=True).all()
        told = ask(world, "start", "a", wait=True)
        lines = await told.all()
        assert lines[-1] == f"{a.key}: ready"
        assert world.states(a) == [S.READY]
        assert not told.failed
        assert await ask(world, "start", "a").all() == [f"{a.key}: is not stopped; ready"]


@virtual_time
async def test_a_start_that_fails_ends_the_wait_with_the_reason_and_where_to_look() -> None:
    async with World().orchd(a := named("a")) as world:
        await world.until_quiet()
        await ask(world, "stop", "a", wait=True).all()
        world.runtime.bad_images.add("image:1")
        told = ask(world, "start", "a", wait=True)
        last = (await told.all())[-1]
        assert last == (
            f"{a.key}: could not be started: cannot pull image:1: not found; orchd tries again; "
            f"`orchd logs {a.key}` and `orchd status {a.key}` say more"
        )
        assert told.failed == [str(a.key)]


@virtual_time
async def test_start_all_means_those_that_are_stopped() -> None:
    async with World().orchd(a := named("a"), named("b")) as world:
        await world.until_quiet()
        assert await ask(world, "start", all=True).all() == []
        await ask(world, "stop", "a", wait=True).all()
        assert [line.split(":")[0] for line in await ask(world, "start", all=True).all()] == [str(a.key)]


@virtual_time
async def test_a_stopped_name_that_is_not_in_the_file_can_be_started_and_says_so() -> None:
    async with World().orchd(a := named("a"), b := named("b")) as world:
        await world.until_quiet()
        await ask(world, "stop", "a", wait=True).all()
        world.want(b)
        await world.until("gone", holds=lambda: a.key not in world.snapshot().models)
        [line] = await ask(world, "stop", "a").all()
        assert line.endswith("; it is not in the models file")
        assert await ask(world, "start", "a", wait=True).all() == [
            f"{a.key}: is not in the models file, so nothing is started"
        ]
        assert not world.stopped


@virtual_time
async def test_an_order_that_cannot_be_kept_says_so() -> None:
    async with World(disk_is_full=True).orchd(a := named("a")) as world:
        await world.until_quiet()
        order = ask(world, "stop", "a")
        assert await order.all() == [
            f"{a.key}: stopping",
            f"{a.key}: its stop holds only until orchd is restarted: cannot write the database: "
            "No space left on device",
        ]
        assert order.failed == [str(a.key)], "the command ends with 1"


@virtual_time
async def test_restart_all_that_is_waited_for_goes_one_after_another_and_leaves_cold_and_stopped_ones_alone() -> None:
    models = [named("a"), named("b"), named("c", warm=False), named("d")]
    async with World().orchd(*models) as world:
        await world.until_quiet()
        await ask(world, "stop", "d", wait=True).all()
        before = {c.handle for c in world.running()}
        down: list[int] = []
        told = ask(world, "restart", all=True, wait=True)
        while not told.over:
            down.append(sum(not world.status(m).ready for m in models[:2]))
            await asyncio.sleep(0.02)
        assert max(down) == 1, "never two at once"
        assert not before & {c.handle for c in world.running()}
        assert not told.failed
        assert told.left_alone == [str(model.key) for model in models[2:]]
        name = "text-to-image/"
        assert told.lines[0] == f"{name}c: cold: its first job starts it; there is nothing to restart"
        assert told.lines[1].startswith(f"{name}d: is stopped, by alice since ")
        assert [line for line in told.lines if line.endswith("ready")] == [f"{name}a: ready", f"{name}b: ready"]
        assert (world.states(models[2]), world.states(models[3])) == ([S.COLD], [S.COLD])


@virtual_time
async def test_a_container_is_said_to_be_pulled_once_there_is_word_of_it() -> None:
    async with World().orchd(a := named("a")) as world:
        await world.until_quiet()
        lines = await ask(world, "restart", "a", wait=True).all()
        first = lines.index(f"{a.key}: preparing")
        assert lines[first : first + 3] == [f"{a.key}: {word}" for word in ("preparing", "pulling", "starting")]


@virtual_time
async def test_a_restart_that_fails_stops_the_series_and_says_what_was_not_done() -> None:
    a, b = named("a", launch=ContainerLaunch("image:a", pull="always")), named("b")
    async with World().orchd(a, b) as world:
        await world.until_quiet()
        [kept] = world.running(b)
        world.runtime.bad_images.add("image:a")
        told = ask(world, "restart", all=True, wait=True)
        lines = await told.all()
        assert any("a: could not be restarted, and runs on: " in line for line in lines)
        assert lines[-1] == f"{b.key}: was not restarted, since {a.key} could not be"
        assert told.failed == [str(a.key), str(b.key)]
        assert world.running(b) == [kept]


@virtual_time
async def test_a_model_that_was_not_ready_holds_up_no_restart_after_it() -> None:
    world = World(Settings(reconcile=ReconcileSettings(failure_limit=1)))
    world.runtime.bad_images.add("image:bad")
    a, b = named("a", image="image:bad"), named("b")
    async with world.orchd(a, b):
        await world.until_states(a, [S.FAILED])
        await world.until_states(b, [S.READY])
        [before] = world.running(b)
        told = ask(world, "restart", all=True, wait=True)
        lines = await told.all()
        assert f"{b.key}: ready" in lines
        assert world.running(b) != [before]
        assert told.failed == [str(a.key)]


@virtual_time
async def test_restarts_that_nobody_waits_for_begin_at_once() -> None:
    async with World().orchd(a := named("a"), b := named("b")) as world:
        await world.until_quiet()
        sessions = [world.begin(a), world.begin(b)]
        assert await ask(world, "restart", "a", "b").all() == [f"{m.key}: restart begun" for m in (a, b)]
        await world.until("both drain", holds=lambda: world.states(a) == world.states(b) == [S.DRAINING])
        for session in sessions:
            world.table.end(session, Outcome.OK)


@virtual_time
async def test_a_restart_of_a_stopped_model_names_the_command_that_helps() -> None:
    async with World().orchd(a := named("a")) as world:
        await world.until_quiet()
        await ask(world, "stop", "a", wait=True).all()
        told = ask(world, "restart", "a")
        assert (await told.all())[0].endswith(f"; `orchd start {a.key}` starts it")
        assert told.failed == [str(a.key)]


@virtual_time
async def test_a_model_that_is_leaving_the_file_is_stopped_for_its_return_and_that_is_said() -> None:
    async with World().orchd(a := named("a"), b := named("b")) as world:
        await world.until_quiet()
        session = world.begin(a)
        world.want(b)
        await world.until_states(a, [S.DRAINING])
        [line] = await ask(world, "stop", "a").all()
        assert line.startswith(f"{a.key}: stopping; 1 job may go on until ")
        assert line.endswith("; it is not in the models file")
        world.table.end(session, Outcome.OK)
        await world.until("gone", holds=lambda: a.key not in world.snapshot().models)
        assert list(world.snapshot().stopped_elsewhere) == [a.key]


@virtual_time
@pytest.mark.parametrize("orders", [("stop", "start"), ("start", "stop")])
async def test_of_two_orders_at_once_the_later_one_holds_however_slow_the_disk_is(orders: tuple[str, str]) -> None:
    async with World().orchd(a := named("a")) as world:
        await world.until_quiet()
        if orders[0] == "start":
            await ask(world, "stop", "a").all()
        world.keeps_in_s = 5.0
        first = ask(world, orders[0], "a")
        await asyncio.sleep(1)
        second = ask(world, orders[1], "a")
        await first.all()
        lines = await second.all()
        await world.until_quiet()
        stopped = orders[1] == "stop"
        assert (a.key in world.orders.stopped, a.key in world.stopped) == (stopped, stopped)
        assert "already" not in lines[0]


@virtual_time
async def test_an_order_that_could_not_be_kept_is_kept_when_it_is_given_again() -> None:
    async with World().orchd(a := named("a"), named("b")) as world:
        await world.until_quiet()
        world.disk_is_full = True
        assert "its stop holds only until orchd is restarted" in "\n".join(await ask(world, "stop", "a").all())
        assert a.key not in world.stopped
        world.disk_is_full = False
        [line] = await ask(world, "stop", "a").all()
        assert "is stopped already, by alice" in line
        assert world.stopped == dict(world.orders.stopped)
        world.disk_is_full = True
        assert "it is stopped again when orchd is restarted" in "\n".join(await ask(world, "start", "a").all())
        assert a.key in world.stopped
        world.disk_is_full = False
        await ask(world, "start", "a").all()
        assert not world.stopped

"""What a turn costs: as much as has changed, and little at a time. Counted, not timed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from orchd import tasks
from orchd.domain.changes import Changes
from orchd.domain.ids import Address, ModelKey
from orchd.domain.lifecycle import RunnerState as S
from orchd.domain.model import ExternalLaunch, Model
from orchd.domain.outcomes import Outcome
from orchd.domain.ports import ProbeWord
from orchd.domain.state import ModelStatus
from orchd.jobs.settings import JobsSettings
from orchd.reconcile import loop, plan, snapshots
from orchd.reconcile.agenda import Agenda, Deadlines
from orchd.reconcile.plan_input import next_deadline
from orchd.reconcile.settings import ReconcileSettings
from orchd.reconcile.state import ReconcileState
from orchd.sessions.session import Session
from orchd.settings.tree import Settings
from tests.fakes.models import container_model, external_model
from tests.reconcile.test_chaos import HARM, WORK, Chaos, Step, steps
from tests.reconcile.world import World
from tests.soak import examples
from tests.virtual_time import run_virtual, virtual_time

MANY = 60
RARELY_S = 1e6
"""Between two full passes, where a test is about the turns in between."""


def many(count: int = MANY) -> list[Model]:
    return [
        replace(external_model(f"m-{n}"), launch=ExternalLaunch(Address("127.0.0.1", 10_000 + n))) for n in range(count)
    ]


@asynccontextmanager
async def quiet(models: list[Model], period_s: float = RARELY_S) -> AsyncIterator[World]:
    """Yield a world in which nothing is left to do, with a full pass each `period_s`."""
    rules = Settings(reconcile=ReconcileSettings(period_s=period_s), jobs=JobsSettings(start_wait_s=0.0))
    async with World(rules).orchd(*models) as world:
        await world.until_quiet()
        await asyncio.sleep(2)
        world.snapshot()
        yield world


def planned(world: World) -> int:
    return world.loop.planner.counts.planned


@virtual_time
async def test_a_turn_plans_and_publishes_only_the_model_that_its_event_names() -> None:
    async with quiet(models := many()) as world:
        before, built = planned(world), world.snapshots.built
        world.prober.words[Address("127.0.0.1", 10_007)] = ProbeWord.FAILED
        await world.until_states(models[7], [S.UNHEALTHY])
        assert 1 <= planned(world) - before <= 3
        assert world.snapshots.built - built <= 3


@virtual_time
async def test_a_turn_of_the_clock_alone_plans_only_the_model_that_is_due() -> None:
    cold = container_model("cold", warm=False, idle_timeout_s=20.0)
    async with quiet([*many(), cold]) as world:
        session = await world.wait_for(cold)
        assert isinstance(session, Session)
        await world.until_states(cold, [S.READY])
        world.table.end(session, Outcome.OK)
        world.want(*world.models.values())  # A turn, in which its end is seen.
        await asyncio.sleep(1)
        before = planned(world)
        await world.until_states(cold, [S.COLD])
        assert planned(world) - before <= 10


@virtual_time
async def test_a_file_that_changes_one_entry_has_one_model_planned() -> None:
    async with quiet(models := many()) as world:
        before, version = planned(world), world.snapshot().version
        world.want(*(replace(model, max_sessions=9) if n == 5 else replace(model) for n, model in enumerate(models)))
        await world.loop.changed()
        assert 1 <= planned(world) - before <= 2
        assert world.snapshots.now().models[models[5].key].model.max_sessions == 9
        assert world.snapshots.changes.since(version) == [models[5].key]


@virtual_time
async def test_a_file_without_an_entry_has_only_that_model_planned() -> None:
    async with quiet(models := many()) as world:
        before, version = planned(world), world.snapshot().version
        world.want(*models[1:])
        await world.until("gone", holds=lambda: models[0].key not in world.snapshot().models)
        assert planned(world) - before <= 4
        assert world.snapshots.changes.since(version) == [models[0].key]


@virtual_time
async def test_no_step_plans_or_reads_more_than_a_few_models() -> None:
    count, seen = 250, list[tuple[int, int, int]]()

    class Watched(ReconcileState):
        def take_in(self, key: ModelKey) -> bool:
            taken.append(key)
            return super().take_in(key)

    taken: list[ModelKey] = []
    async with World().orchd() as world:
        world.loop.state.__class__ = Watched
        stop = asyncio.get_running_loop().create_future()

        async def between_two_steps() -> None:
            last = 0, 0
            while not stop.done():
                now = planned(world), len(taken)
                seen.append((now[0] - last[0], now[1] - last[1], len(world.loop.models())))
                last = now
                await asyncio.sleep(0)

        world.want(*many(count))
        task = tasks.spawn(between_two_steps(), name="between two steps")
        await world.loop.changed()
        stop.set_result(None)
        await task
        assert len(world.loop.models()) == count
    assert max(each for each, _, _ in seen) <= loop.STEP
    assert max(each for _, each, _ in seen) <= loop.READ_STEP + loop.STEP
    assert len({known for _, _, known in seen}) > count / loop.STEP / 2, "others run while a file is applied"


@virtual_time
async def test_the_work_of_a_step_is_bounded_whatever_its_models_and_events_ask_for() -> None:
    at_once = 1 + 2  # A model that is planned last, and is made and attached.
    async with World().orchd() as world:
        world.want(*many(250))
        await world.until_quiet()
        assert loop.STEP < world.loop.planner.counts.most_work <= loop.STEP - 1 + at_once
        assert all(world.loop.standing(key).ready for key in world.loop.models())
        for n in range(250):  # All probes tell news in the same turn of the event loop.
            world.prober.words[Address("127.0.0.1", 10_000 + n)] = ProbeWord.FAILED
        await world.until("all fail", holds=lambda: not any(world.loop.standing(k).ready for k in world.loop.models()))
        assert world.loop.planner.counts.most_work <= loop.STEP - 1 + at_once


@virtual_time
async def test_the_models_are_copied_once_a_step_and_not_for_each_model() -> None:
    copies: list[int] = []

    class Watched(ReconcileState):
        def __setattr__(self, name: str, value: object) -> None:
            if name == "models":
                assert isinstance(value, Mapping)
                copies.append(len(value))
            super().__setattr__(name, value)

    async with World().orchd() as world:
        world.loop.state.__class__ = Watched
        world.want(*many(250))
        await world.until_quiet()
        assert len(world.loop.models()) == copies[-1] == 250
        assert 0 < len(copies) <= 250 / 2 + 2, "two models at least are planned in a step"


@virtual_time
async def test_the_full_pass_goes_on_in_small_steps_and_finds_what_no_event_told() -> None:
    async with quiet(models := many(), period_s=30.0) as world:
        before, steps_before = planned(world), world.loop.planner.counts.steps
        await asyncio.sleep(31)
        assert planned(world) - before >= MANY
        assert world.loop.planner.counts.steps - steps_before >= MANY / loop.STEP
        assert world.loop.planner.counts.most_at_once <= loop.STEP
        # Something is lost: nobody tells the loop that this runner is not there.
        runner = world.loop.state.fleet.of(models[3].key)[0]
        world.loop.state.fleet.drop(runner.id)
        world.loop.state.agenda.done(models[3].key)
        await asyncio.sleep(31)
        assert world.states(models[3]) == [S.READY]


@virtual_time
async def test_a_failure_is_taken_in_while_a_large_file_is_being_applied() -> None:
    async with quiet([a := container_model("a"), *many()]) as world:
        [container] = world.running(a)
        world.want(a, *(replace(model, max_sessions=2) for model in many()))
        world.runtime.kill(container.handle)
        await world.until("it is down", holds=lambda: world.states(a) != [S.READY])
        await world.until_states(a, [S.READY])


@virtual_time
async def test_an_unchanged_model_keeps_the_very_same_status() -> None:
    a, b, c = (container_model(name) for name in "abc")
    async with quiet([a, b, c]) as world:
        first = world.snapshot()
        again = world.snapshot()
        assert again.models is first.models
        assert again.version == first.version
        session = world.begin(a)
        second = world.snapshot()
        assert second.models[a.key].sessions == 1
        assert second.models[b.key] is first.models[b.key]
        assert second.models[c.key] is first.models[c.key]
        assert second.version > first.version
        world.table.end(session, Outcome.OK)
        assert world.snapshot().models[a.key].sessions == 0
        built = world.snapshots.built
        world.snapshot()
        assert world.snapshots.built == built


@virtual_time
async def test_what_is_known_to_a_contributor_is_shown_when_it_says_so_and_for_that_model_alone() -> None:
    async with quiet([a := container_model("a"), b := container_model("b")]) as world:
        said = {a.key: "", b.key: ""}

        class Part:
            changes: Changes[ModelKey] = Changes()

            def add_to(self, status: ModelStatus) -> ModelStatus:
                return replace(status, not_offered=text) if (text := said[status.model.key]) else status

        part = Part()
        world.snapshots.contribute(part, lambda snapshot: replace(snapshot, file_hash="whole"))
        before = world.snapshot()
        said[a.key] = "no price"
        part.changes.touch(a.key)
        after = world.snapshot()
        assert after.models[a.key].not_offered == "no price"
        assert after.models[b.key] is before.models[b.key]
        assert after.file_hash == "whole"


@virtual_time
async def test_a_snapshot_is_made_in_pieces_and_shows_what_came_and_went_meanwhile() -> None:
    async with quiet(models := many()) as world:
        for model in models:
            world.begin(model)
        most, built = 0, world.snapshots.built
        making = tasks.spawn(world.snapshots.fresh(), name="make a snapshot")
        rounds = 0
        while not making.done():
            await asyncio.sleep(0)
            most, built = max(most, world.snapshots.built - built), world.snapshots.built
            rounds += 1
            if rounds == 2:
                world.want(*models[1:], new := container_model("new"))
        snapshot = await making
        assert most <= snapshots.STEP + 1
        assert rounds >= MANY / snapshots.STEP
        assert all(snapshot.models[model.key].sessions == 1 for model in models[1:])
        await world.until_states(new, [S.READY])
        assert new.key in (await world.snapshots.fresh()).models


@settings(max_examples=examples(20), derandomize=True, deadline=None)
@given(steps(*WORK, *HARM))
def test_after_each_turn_the_full_plan_has_nothing_to_add(happens: list[Step]) -> None:
    """The incremental plan is the full plan: what a plan of everything would do now, has been done or is not due."""
    run_virtual(_live(happens))


async def _live(happens: list[Step]) -> None:
    chaos = Chaos(unharmed=False)

    async def check_turns() -> None:
        while True:
            await chaos.world.loop.changed()
            assert_nothing_to_add(chaos.world)

    await chaos.begin()
    await chaos.world.until_quiet()
    for step in happens:
        task = tasks.spawn(check_turns(), name="check each turn")
        if step.what == "die":
            task.cancel()
        await chaos.take(step)
        if task.done() and not task.cancelled():
            task.result()
        task.cancel()
    await asyncio.sleep(10)
    await chaos.world.loop.changed()
    assert_nothing_to_add(chaos.world)
    await chaos.lives.aclose()


def assert_nothing_to_add(world: World) -> None:
    state = world.loop.state
    for key in [*state.keys()]:
        given = state.plan_input(key, asyncio.get_running_loop().time())
        # Sessions end without an event, and the clock goes on: what that makes due is done in the next turn.
        if key in state.table.changes.since(world.loop.planner.sessions_seen):
            continue
        assert plan.plan(given) == (), key
        if (at := next_deadline(given)) is not None:
            first = world.loop.planner.deadlines.next()
            assert first is not None
            assert first <= at, "what the clock makes due is not slept through"
    snapshot = world.snapshot()
    fresh = snapshots.Snapshots(world.loop).now()
    assert dict(snapshot.models) == dict(fresh.models)
    assert list(snapshot.models) == list(fresh.models)


def test_the_agenda_gives_what_changed_before_what_was_edited_before_what_is_routine() -> None:
    agenda, keys = Agenda(), [model.key for model in many(4)]
    agenda.routine(keys)
    agenda.edited(keys[1:3])
    agenda.changed(keys[2])
    assert not agenda.is_settled
    assert [agenda.next() for _ in range(2)] == [keys[2], keys[1]]
    assert agenda.is_settled
    assert [agenda.next() for _ in range(3)] == [keys[0], keys[3], None]
    assert agenda.is_empty


@given(st.lists(st.tuples(st.integers(0, 3), st.one_of(st.none(), st.integers(1, 20))), max_size=300))
def test_deadlines_are_due_in_time_and_each_once(changes: list[tuple[int, int | None]]) -> None:
    deadlines, keys = Deadlines(), [model.key for model in many(4)]
    last: dict[object, float] = {}
    for number, at in changes:
        deadlines.set(keys[number], at)
        last.pop(keys[number], None)
        if at is not None:
            last[keys[number]] = at
        assert deadlines.next() == min(last.values(), default=None)
    for now in range(21):
        due = deadlines.due(now)
        assert sorted(due) == sorted(key for key, at in last.items() if at == now)  # type: ignore[type-var]
    assert deadlines.next() is None

"""What the history is told of runners: the moves that a person cares for, and the last state of each."""

from __future__ import annotations

import pytest

from orchd.domain.lifecycle import TRANSITIONS, RunnerEvent, RunnerState
from orchd.domain.ports import SightedAs
from orchd.history.ports import Kind
from orchd.reconcile.told import kind_of
from tests.fakes.models import container_model
from tests.reconcile.world import World
from tests.virtual_time import virtual_time

E, S = RunnerEvent, RunnerState
MOVES = [(before, event, after) for before, moves in TRANSITIONS.items() for event, after in moves.items()]


@pytest.mark.parametrize("state", RunnerState)
def test_every_way_into_a_state_that_a_person_cares_for_is_told(state: RunnerState) -> None:
    told = {kind_of(*move) for move in MOVES if move[2] is state and move[0] is not state}
    expected: dict[RunnerState, set[Kind | None]] = {
        S.PULLING: {Kind.START},
        S.READY: {Kind.READY},
        S.UNHEALTHY: {Kind.UNHEALTHY},
        S.DRAINING: {Kind.DRAINING},
        S.BACKOFF: {Kind.FAILED},
        S.FAILED: {Kind.GIVEN_UP},
    }
    if state in expected:
        assert told == expected[state]


def test_what_changes_nothing_is_not_told() -> None:
    assert {kind_of(*move) for move in MOVES if move[0] is move[2]} == {None}


@virtual_time
async def test_a_life_from_start_to_end_is_told_in_order_and_nothing_is_left_of_it() -> None:
    a = container_model()
    async with World().orchd(a) as world:
        await world.until_states(a, [S.READY])
        [runner] = world.history.states
        assert world.history.states[runner][0] == S.READY
        world.runtime.kill(world.running()[0].handle, exit_code=3)
        await world.until("it is ready again", holds=lambda: world.history.kinds(a.key).count(Kind.READY) == 2)
        world.want()
        await world.until("it is gone", holds=lambda: not world.history.states)
    assert world.history.kinds(a.key) == [
        *(Kind.START, Kind.READY, Kind.FAILED, Kind.START, Kind.READY),
        *(Kind.DRAINING, Kind.DRAINED, Kind.STOPPED),
    ]
    failed = next(each for each in world.history.noted if each.kind is Kind.FAILED)
    assert failed.why.startswith("it exited with code 3; started again in ")
    draining = next(each for each in world.history.noted if each.kind is Kind.DRAINING)
    assert draining.why == "it left aiModels.json"


@virtual_time
async def test_what_an_earlier_orchd_has_left_is_told_as_adopted_or_removed() -> None:
    a, b = container_model("a"), container_model("b")
    world = World()
    async with world.orchd(a, b):
        await world.until_states(a, [S.READY])
        await world.until_states(b, [S.READY])
    world.history.noted.clear()
    del world.generations[b.key, b.generation]
    async with world.orchd(a):
        await world.until("b is removed", holds=lambda: len(world.runtime.containers) == 1)
    assert world.history.kinds(a.key)[:2] == [Kind.ADOPTED, Kind.READY]
    assert world.history.kinds(b.key) == [Kind.STRAY_REMOVED]


@virtual_time
async def test_a_runtime_that_goes_and_comes_is_told_with_the_reason() -> None:
    a = container_model()
    async with World().orchd(a) as world:
        await world.until_states(a, [S.READY])
        world.runtime.down = True
        await world.until("it is told", holds=lambda: Kind.RUNTIME_DOWN in world.history.kinds())
        world.runtime.down = False
        await world.until("that is told, too", holds=lambda: world.history.kinds()[-1] is Kind.RUNTIME_UP)
        assert [c.status for c in world.running()] == [SightedAs.RUNNING]
    [down] = [each for each in world.history.noted if each.kind is Kind.RUNTIME_DOWN]
    assert down.why.endswith("cannot reach the fake engine: it was told to be down")

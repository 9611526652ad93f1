"""The planner, by itself: whatever it is shown, its actions are legal moves, and following them leads to rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchd.domain.ids import RunnerId
from orchd.domain.lifecycle import ALIVE, RunnerEvent, RunnerState, accepts
from orchd.domain.model import Model, RunnerKind
from orchd.domain.runtime_id import RuntimeId
from orchd.domain.stalls import Stall
from orchd.reconcile import actions
from orchd.reconcile.plan import plan
from orchd.reconcile.plan_input import RETRY_S, PlanInput, next_deadline
from orchd.reconcile.runner import Leaving, Runner
from orchd.reconcile.settings import ReconcileSettings
from tests.fakes.models import container_model, external_model
from tests.soak import examples

S, E = RunnerState, RunnerEvent
RULES = ReconcileSettings()
DOCKER = RuntimeId(RunnerKind.CONTAINER)

MOVES: dict[type, RunnerEvent] = {
    actions.Prepare: E.PREPARE,
    actions.Start: E.START,
    actions.Attach: E.ATTACH,
    actions.Drain: E.DRAIN,
    actions.Resume: E.RESUME,
    actions.Stop: E.STOP,
    actions.GiveUp: E.GIVE_UP,
    actions.Reset: E.RESET,
}

MODELS = st.one_of(
    st.builds(
        container_model,
        st.sampled_from("ab"),
        st.sampled_from(["image:1", "image:2", "image:3"]),
        warm=st.booleans(),
        replicas=st.integers(1, 3),
        max_sessions=st.just(3),
        idle_timeout_s=st.just(50.0),
    ),
    st.builds(external_model, st.sampled_from("ab")),
)


@st.composite
def runners(draw: st.DrawFn) -> dict[RunnerId, Runner]:
    known: dict[RunnerId, Runner] = {}
    for _ in range(draw(st.integers(0, 5))):
        model: Model = draw(MODELS)
        state = draw(st.sampled_from(RunnerState))
        if not model.managed and state in (S.PULLING, S.PREPARED, S.STARTING, S.BACKOFF, S.FAILED):
            state = S.READY
        id = RunnerId(model.key, draw(st.integers(0, 3)), model.generation)
        busy = state in (S.PULLING, S.STARTING) or (state is S.STOPPING and draw(st.booleans()))
        known[id] = Runner(
            id,
            model,
            state,
            busy=busy,
            runtime=DOCKER if model.managed else None,
            since=draw(st.sampled_from([0.0, 990.0])),
            retry_at=draw(st.sampled_from([0.0, 1010.0])),
            drain_until=draw(st.sampled_from([0.0, 1010.0])),
            loading_since=draw(st.sampled_from([None, 0.0, 990.0])),
            leaving=draw(st.sampled_from(Leaving)) if state is S.DRAINING else None,
            restart_asked=draw(st.booleans()),
            found=draw(st.booleans()),
            checking=draw(st.booleans()),
            checked=draw(st.booleans()),
            paused=draw(st.booleans()) if state in ALIVE and model.managed else False,
        )
    return known


@st.composite
def worlds(draw: st.DrawFn) -> PlanInput:
    known = draw(runners())
    desired = {m.key: m for m in draw(st.lists(MODELS, max_size=3))}
    return PlanInput(
        desired=desired,
        runners=known,
        sessions={id: draw(st.integers(1, 2)) for id in known if draw(st.booleans())},
        idle_since={id: 990.0 for id in known if draw(st.booleans())},
        awaited=frozenset(k for k in desired if draw(st.booleans())),
        up=frozenset({DOCKER}) if draw(st.booleans()) else frozenset(),
        now=1000.0,
        settings=RULES,
        unwanted_why="nobody wants it",
        spared=frozenset(key for key in {id.key for id in known} if draw(st.booleans())),
        stopped=frozenset(key for key in {id.key for id in known} | set(desired) if draw(st.booleans())),
        expected=frozenset(id for id in known if draw(st.booleans())),
        stalls=draw(st.sampled_from([(), (Stall(992.0, 4.0),), (Stall(500.0, 100.0), Stall(1000.0, 8.0))])),
    )


@settings(max_examples=examples(600))
@given(worlds())
def test_every_action_is_a_legal_move_and_asks_nothing_of_a_runtime_that_is_away(world: PlanInput) -> None:
    for action in plan(world):
        if isinstance(action, actions.Create):
            assert action.id not in world.runners
            continue
        runner = world.runners[action.id]
        if type(action) in MOVES:
            assert accepts(runner.state, MOVES[type(action)]), (action, runner)
        if isinstance(action, actions.Check):
            assert runner.restart_asked
            assert not runner.checking
        if isinstance(action, actions.Prepare | actions.Check | actions.Start | actions.Unpause):
            assert runner.runtime in world.up
            assert not runner.busy
        if isinstance(action, actions.Forget):
            assert runner.state in (S.COLD, S.BACKOFF, S.FAILED)
            assert (
                world.desired.get(runner.id.key) is None
                or runner.id
                not in {RunnerId(m.key, r, m.generation) for m in world.desired.values() for r in range(m.replicas)}
                or len([r for r in world.runners if r.key == runner.id.key]) > 1
            )


def _held_against_them(world: PlanInput) -> set[tuple[type, RunnerId]]:
    """What is done to runners because their time is over."""
    return {
        (type(action), action.id)
        for action in plan(world)
        if isinstance(action, actions.GiveUp)
        or (isinstance(action, actions.Stop) and "deadline" in action.why)
        or (isinstance(action, actions.Drain) and action.leaving is Leaving.IDLE)
    }


@pytest.mark.parametrize(
    ("state", "of_runner", "warm", "sessions"),
    [
        (S.UNHEALTHY, {}, True, 0),
        (S.LOADING, {"loading_since": 999.0}, True, 0),
        (S.READY, {}, False, 0),
        (S.DRAINING, {"drain_until": 1010.0, "leaving": Leaving.RESTART}, True, 1),
    ],
)
def test_each_deadline_of_a_runner_is_put_off_by_the_time_in_which_orchd_stood_still(
    state: RunnerState, of_runner: dict[str, Any], warm: bool, sessions: int
) -> None:
    model = container_model("a", "image:1", warm=warm, idle_timeout_s=50.0)
    id = RunnerId(model.key, 0, model.generation)
    stall = 1000.0
    asleep = PlanInput(
        desired={model.key: model},
        runners={id: Runner(id, model, state, since=999.0, runtime=DOCKER, **of_runner)},
        sessions={id: sessions} if sessions else {},
        idle_since={id: 999.0},
        awaited=frozenset(),
        up=frozenset({DOCKER}),
        now=1000.0 + stall,
        settings=RULES,
        unwanted_why="",
    )
    assert _held_against_them(asleep), "all deadlines have passed by the clock"
    awake = replace(asleep, stalls=(Stall(1000.0 + stall, stall),))
    assert not _held_against_them(awake)
    due = next_deadline(awake)
    assert due is not None
    assert not _held_against_them(replace(awake, now=due - 0.001))
    assert _held_against_them(replace(awake, now=due))


@settings(max_examples=100)
@given(worlds(), st.floats(1, 1e4))
def test_nothing_is_held_against_a_runner_for_the_time_in_which_orchd_stood_still(
    world: PlanInput, stall: float
) -> None:
    """After a stall no more is done than before it, and the deadlines that are left are as far away."""
    after = replace(world, now=world.now + stall, stalls=(*world.stalls, Stall(world.now + stall, stall)))
    assert _held_against_them(after) <= _held_against_them(world)


@settings(max_examples=examples(600))
@given(worlds())
def test_a_serving_runner_is_never_stopped_without_draining(world: PlanInput) -> None:
    for action in plan(world):
        if isinstance(action, actions.Stop) and world.runners[action.id].state is S.READY:
            raise AssertionError(action)


@settings(max_examples=examples(600))
@given(worlds())
def test_nothing_that_was_found_is_taken_away_while_nobody_knows_what_is_wanted(world: PlanInput) -> None:
    """As before a models file has applied, whatever store and definitions there are. Healing goes on."""
    found = {
        id: replace(r, found=True, restart_asked=False)
        for id, r in world.runners.items()
        if r.state in ALIVE - {S.STARTING, S.DRAINING}
    }
    world = replace(world, runners=found, spared=frozenset(id.key for id in found), stopped=frozenset())
    taken = [a for a in plan(world) if isinstance(a, actions.Stop | actions.Drain | actions.Forget)]
    assert not taken
    assert not [a for a in plan(replace(world, desired={})) if not isinstance(a, actions.Create)]


@settings(max_examples=examples(600))
@given(worlds())
def test_what_is_taken_down_on_order_is_spared_by_nothing(world: PlanInput) -> None:
    world = replace(world, desired={}, ending=frozenset(RunnerKind))
    assert plan(replace(world, spared=frozenset(), expected=frozenset())) == plan(world)


@settings(max_examples=examples(600))
@given(worlds())
def test_no_runner_is_replaced_before_the_streams_of_an_earlier_orchd_on_it_are_found_again(world: PlanInput) -> None:
    """After a kill in a drain the runner that was draining is found, and its streams are none of its sessions yet."""
    world = replace(world, stopped=frozenset(), expected=frozenset(world.runners))
    assert not [a for a in plan(world) if isinstance(a, actions.Drain) and a.leaving is Leaving.RETIRED]


@settings(max_examples=examples(600))
@given(worlds())
def test_nothing_of_a_stopped_model_is_begun_and_all_that_serves_drains(world: PlanInput) -> None:
    """Whether the file asks for it, has another definition of it, or can't be read."""
    steps = plan(world)
    begins = (actions.Prepare, actions.Start, actions.Attach, actions.Check, actions.Resume)
    assert not [a for a in steps if isinstance(a, begins) and a.id.key in world.stopped]
    drained = {a.id for a in steps if isinstance(a, actions.Drain)}
    edited = {a.id[:2] for a in steps if isinstance(a, actions.Create | actions.Update)}  # They are planned again.
    serving = {id for id, r in world.runners.items() if r.state in (S.READY, S.LOADING, S.UNHEALTHY)}
    assert {id for id in serving if id.key in world.stopped and id[:2] not in edited} <= drained


@settings(max_examples=examples(600))
@given(worlds())
def test_no_model_loses_more_than_one_ready_replica_at_once_to_an_edit(world: PlanInput) -> None:
    steps = plan(world)
    for key, model in world.desired.items():
        ready = {r.id.replica for r in world.runners.values() if r.id.key == key and r.state is S.READY}
        if len(ready) < model.replicas or key in world.stopped:
            continue
        left = [
            a
            for a in steps
            if isinstance(a, actions.Drain)
            and a.id.key == key
            and a.leaving is not Leaving.IDLE
            and "replicas is" not in a.why
            and world.runners[a.id].state is S.READY
            and not any(
                r.state is S.READY and r.id.replica == a.id.replica and r.id != a.id for r in world.runners.values()
            )
        ]
        assert len(left) <= 1, left


def _carry_out(world: PlanInput, action: actions.Action) -> PlanInput:
    """The smallest loop there is: everything asked for works at once."""
    known = dict(world.runners)
    if isinstance(action, actions.Create):
        known[action.id] = Runner(
            action.id, action.model, since=world.now, runtime=DOCKER if action.model.managed else None
        )
        return replace(world, runners=known)
    runner = known[action.id]
    match action:
        case actions.Forget():
            del known[action.id]
        case actions.Update(_, model):
            known[action.id] = replace(runner, model=model)
        case actions.Prepare():
            known[action.id] = replace(runner, state=S.PREPARED, restart_asked=False)
        case actions.Check():
            known[action.id] = replace(runner, checked=True)
        case actions.Start() | actions.Attach() | actions.Resume():
            known[action.id] = replace(runner, state=S.READY, since=world.now, restart_asked=False, leaving=None)
        case actions.Unpause():
            known[action.id] = replace(runner, paused=False)
        case actions.Drain(_, leaving, _):
            known[action.id] = replace(runner, state=S.DRAINING, leaving=leaving, drain_until=world.now)
        case actions.Stop() | actions.GiveUp() | actions.Reset():
            known[action.id] = replace(runner, state=S.COLD, busy=False, leaving=None, paused=False)
    return replace(world, runners=known, sessions={k: v for k, v in world.sessions.items() if k in known})


@settings(max_examples=examples(600))
@given(worlds())
def test_following_the_plan_leads_to_what_is_desired(world: PlanInput) -> None:
    # What is under way ends well, and time passes.
    done = {
        id: replace(
            r,
            busy=False,
            checking=False,
            called_at=world.now - RETRY_S,
            retry_at=0.0,
            drain_until=0.0,
            state={S.PULLING: S.PREPARED, S.STARTING: S.READY, S.LOADING: S.READY, S.UNHEALTHY: S.READY}.get(
                r.state, r.state
            ),
        )
        for id, r in world.runners.items()
    }
    world = replace(world, runners=done, up=frozenset({DOCKER}), sessions={}, spared=frozenset(), expected=frozenset())
    for _ in range(200):
        steps = plan(world)
        if not steps:
            break
        world = _carry_out(world, steps[0])
    else:
        raise AssertionError(f"never at rest: {plan(world)}")
    for key, model in world.desired.items():
        mine = [r for r in world.runners.values() if r.id.key == key]
        parked = [r for r in mine if r.state is S.FAILED]
        if parked and key not in world.stopped:
            continue  # waits for an operator
        assert len(mine) == model.replicas
        assert all(r.id.generation == model.generation and r.model == model for r in mine)
        if key in world.stopped:
            assert {r.state for r in mine} == {S.COLD}
            continue
        up = model.warm or not model.managed or key in world.awaited
        assert all(r.state is S.READY for r in mine) or not up
    assert not [r for r in world.runners.values() if r.id.key not in world.desired]
    deadline = next_deadline(world)
    assert deadline is None or deadline > world.now, "the loop would turn for ever"

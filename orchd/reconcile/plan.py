"""Desired models and known runners -> the actions that bring them together. Pure: no clock, no I/O, no state.

It runs for a model after every event that concerns it, and for every model on a timer, always from what is known now.
So a lost event costs a delay and not a leak, and an action that is still under way (`Runner.busy`) is not asked for
again. No model's plan depends on another model: the plan of all is the plans of each, one after the other.

A replica is replaced in this order: the new generation is prepared beside the old one (pull, create, arguments
checked); only when that worked is the old one drained and stopped; then the new one is started. With several replicas
one is replaced at a time, and the next only when the one before is ready again.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.lifecycle import ALIVE, RunnerState
from orchd.domain.model import Model
from orchd.domain.state import BY_OPERATOR
from orchd.reconcile.actions import (
    Action,
    Attach,
    Check,
    Create,
    Drain,
    Forget,
    GiveUp,
    Prepare,
    Reset,
    Resume,
    Start,
    Stop,
    Unpause,
    Update,
)
from orchd.reconcile.plan_input import RETRY_S, PlanInput, may_idle
from orchd.reconcile.runner import Leaving, Runner
from orchd.reconcile.standing import withdrawn

S = RunnerState
SERVING = frozenset({S.LOADING, S.READY, S.UNHEALTHY})
GOING = frozenset({S.DRAINING, S.STOPPING})
DOWN = frozenset({S.COLD, S.BACKOFF, S.FAILED})
_KEPT = (
    *(S.READY, S.UNHEALTHY, S.LOADING, S.STARTING, S.DRAINING),
    *(S.PREPARED, S.PULLING, S.BACKOFF, S.FAILED, S.STOPPING, S.COLD),
)
"""Of several former generations of a replica the first in this order goes on serving until its successor can."""
ASKED = "an operator asked for a restart"
NOT_AWAITED = "no job waits for it any more"


def plan(given: PlanInput) -> tuple[Action, ...]:
    """Return the next actions. Empty when all is as it is to be, or when everything left to do is under way."""
    by_key: dict[ModelKey, list[Runner]] = {key: [] for key in given.desired}
    for runner in given.runners.values():
        by_key.setdefault(runner.id.key, []).append(runner)
    actions: list[Action] = []
    for key, runners in by_key.items():
        model = given.desired.get(key)
        if model is None:
            for runner in runners:
                actions += _retire(runner, given, given.unwanted_why)
        else:
            actions += _plan_model(model, runners, given)
    return tuple(actions)


def _plan_model(model: Model, runners: list[Runner], given: PlanInput) -> Iterable[Action]:
    chosen = _choose_replicas(model, runners, given)
    generation = model.generation
    ours = {r.id.replica: r for r in runners if r.id.generation == generation}
    idle_since = _idle_since(runners, given) if any(r.model.managed for r in runners) else None
    for runner in runners:
        if runner.id.replica not in chosen:
            yield from _retire(runner, given, f"replicas is {model.replicas} now")
    one_leaves = False
    for replica in chosen:
        successor = ours.get(replica)
        if successor is None:
            yield Create(RunnerId(model.key, replica, generation), model)
            continue
        if successor.model != model:
            yield Update(successor.id, model)
            if successor.state in (S.BACKOFF, S.FAILED):
                yield Reset(successor.id, "its entry was edited")
            continue
        others_ready = not one_leaves and _others_ready(model, replica, chosen, runners)
        formers = [r for r in runners if r.id.replica == replica and r.id.generation != generation]
        if model.key in given.stopped:
            yield from _halt(formers, successor, given)
            continue
        steps = [*_succeed(formers, successor, given, others_ready, idle_since)] if formers else []
        steps += _advance(successor, formers, given, others_ready, idle_since)
        one_leaves = one_leaves or any(isinstance(s, Drain) and s.leaving is not Leaving.IDLE for s in steps)
        yield from steps


def _idle_since(runners: list[Runner], given: PlanInput) -> float | None:
    """Return since when no replica holds a session; None = one does. A cold model is stopped as a whole or not."""
    if any(given.held(r) for r in runners):
        return None
    return max((given.idle(r) for r in runners if r.state is S.READY), default=None)


def _choose_replicas(model: Model, runners: list[Runner], given: PlanInput) -> tuple[int, ...]:
    """Return which replica numbers are to be: those that exist, without the emptiest; then the lowest free ones."""

    def worth(replica: int) -> tuple[bool, int, int]:
        mine = [r for r in runners if r.id.replica == replica]
        going = all(r.state in GOING for r in mine)
        return (going, -sum(given.held(r) for r in mine), replica)

    chosen = sorted({r.id.replica for r in runners})
    if len(chosen) == model.replicas:
        return tuple(chosen)
    if len(chosen) > model.replicas:
        chosen = sorted(chosen, key=worth)[: model.replicas]
    free = 0
    while len(chosen) < model.replicas:
        if free not in chosen:
            chosen.append(free)
        free += 1
    return tuple(sorted(chosen))


def _others_ready(model: Model, replica: int, chosen: tuple[int, ...], runners: list[Runner]) -> bool:
    """Return whether no other replica is down or being replaced, so that this one may leave for a moment."""

    if chosen == (replica,):
        return True

    def fine(other: int) -> bool:
        states = {r.state for r in runners if r.id.replica == other}
        return S.READY in states or (not model.warm and states == {S.COLD})

    return all(fine(other) for other in chosen if other != replica)


def _succeed(
    formers: list[Runner], successor: Runner, given: PlanInput, others_ready: bool, idle_since: float | None
) -> Iterable[Action]:
    """Let former generations go once their successor can take over; until then one goes on as if it were wanted.

    There are several if an edit came while the last one was still being brought about.
    """
    fit = successor.state in ALIVE if successor.model.managed else successor.state is S.READY
    keeper = None if fit else min(formers, key=lambda r: _KEPT.index(r.state), default=None)
    for former in formers:
        if former is keeper and former.state is not S.COLD:
            others = [r for r in formers if r is not former]
            yield from _advance(former, others, given, others_ready, idle_since)
        elif not fit or others_ready or former.state is not S.READY:
            yield from _retire(former, given, f"replaced by generation {successor.id.generation}")


def _retire(runner: Runner, given: PlanInput, why: str) -> Iterable[Action]:
    """Take the next step towards its end: drain, stop, forget."""
    match runner.state:
        case S.COLD | S.BACKOFF | S.FAILED:
            yield Forget(runner.id)
        case S.PULLING | S.PREPARED:
            # A pull under way is cut short; its runner never ran.
            if (runner.state is S.PULLING or not runner.busy) and not given.spares(runner):
                yield Stop(runner.id, why)
        case S.STARTING:
            pass  # in a moment it is LOADING
        case S.LOADING | S.READY | S.UNHEALTHY:
            if not given.spares(runner):
                yield Drain(runner.id, Leaving.RETIRED, why)
        case S.DRAINING | S.STOPPING:
            yield from _finish(runner, given)


def _halt(formers: list[Runner], runner: Runner, given: PlanInput) -> Iterable[Action]:
    """Take the next step towards COLD, and stay there: an operator has stopped the model.

    Its newest definition stays known as a cold runner, which `start` begins from.
    """
    for former in formers:
        yield from _retire(former, given, BY_OPERATOR)
    match runner.state:
        case S.COLD:
            pass
        case S.BACKOFF | S.FAILED:
            yield Reset(runner.id, BY_OPERATOR)
        case _:
            yield from _retire(runner, given, BY_OPERATOR)


def _finish(runner: Runner, given: PlanInput) -> Iterable[Action]:
    """Bring a draining or stopping runner to its end."""
    if runner.busy or (runner.runtime not in given.up and runner.model.managed):
        return
    if runner.state is S.STOPPING:
        if given.now < runner.called_at + RETRY_S:
            return
        yield Stop(runner.id, "the last try to stop it did not go through")
    elif not given.held(runner):
        yield Stop(runner.id, "drained")
    elif given.now >= given.drain_due(runner):
        yield Stop(runner.id, f"the drain deadline passed with {given.held(runner)} sessions")


def _advance(
    runner: Runner, formers: list[Runner], given: PlanInput, others_ready: bool, idle_since: float | None
) -> Iterable[Action]:
    """Take the next step of a runner that is to go on as it is defined."""
    model = runner.model
    if runner.busy:
        return
    if runner.state is S.DRAINING and runner.leaving is Leaving.RETIRED:
        yield Resume(runner.id)
    elif runner.state in GOING:
        yield from _finish(runner, given)
    elif _restarts_now(runner, others_ready) and (runner.checked or not model.managed):
        yield Drain(runner.id, Leaving.RESTART, ASKED)
    elif not model.managed:
        if runner.state is S.COLD:
            yield Attach(runner.id)
    elif runner.runtime in given.up:
        if _restarts_now(runner, others_ready) and not runner.checking:
            yield Check(runner.id)
        yield from _launch(runner, formers, given)
        yield from _tend(runner, given, idle_since)


def _restarts_now(runner: Runner, others_ready: bool) -> bool:
    return runner.restart_asked and runner.state in SERVING and (others_ready or runner.state is not S.READY)


def _launch(runner: Runner, formers: list[Runner], given: PlanInput) -> Iterable[Action]:
    """Bring up a managed runner that is down, if it is to be up."""
    model = runner.model
    wanted = model.warm or model.key in given.awaited or runner.restart_asked or any(e.state in ALIVE for e in formers)
    # Nobody is sent to it any more, so it has to show by itself that it can be started again.
    wanted = wanted or withdrawn(runner)
    match runner.state:
        case S.COLD if wanted:
            yield Prepare(runner.id)
        case S.BACKOFF | S.FAILED if runner.restart_asked:
            yield Reset(runner.id, ASKED)
        case S.BACKOFF if given.now >= runner.retry_at:
            yield Prepare(runner.id) if wanted else Reset(runner.id, NOT_AWAITED)
        case S.PREPARED if all(e.state in DOWN for e in formers):
            yield Start(runner.id)
        case _:
            pass


def _tend(runner: Runner, given: PlanInput, idle_since: float | None) -> Iterable[Action]:
    """Heal a managed runner that runs, or stop it when its model is idle."""
    model, state, now = runner.model, runner.state, given.now
    if runner.paused and now >= runner.called_at + RETRY_S:
        yield Unpause(runner.id)
    if state is S.LOADING and runner.loading_since is not None:
        if now >= given.due(runner.loading_since, model.loading_timeout_s):
            yield GiveUp(runner.id, f"it was not ready after {model.loading_timeout_s:g} s of loading: {runner.detail}")
    elif (
        state is S.UNHEALTHY
        and runner.id not in given.letting_go
        and now >= given.due(runner.since, model.health.restart_after_s)
    ):
        yield GiveUp(runner.id, f"it stayed unhealthy for {model.health.restart_after_s:g} s: {runner.detail}")
    elif (
        state is S.READY
        and may_idle(runner, given)
        and model.key not in given.awaited
        and idle_since is not None
        and now >= given.due(idle_since, model.idle_timeout_s)
    ):
        yield Drain(runner.id, Leaving.IDLE, f"no session for {model.idle_timeout_s:g} s")

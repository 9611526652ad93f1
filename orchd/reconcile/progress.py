"""How far an operator's order about a model is, from what the loop knows of it. Pure.

One word for each step, as `orchd status` shows it, so that a command that waits prints a line for each of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.lifecycle import RunnerState
from orchd.domain.model import RunnerKind
from orchd.domain.progress import Progress
from orchd.reconcile.runner import Runner
from orchd.reconcile.standing import COLD, drained_at
from orchd.reconcile.state import ReconcileState

S = RunnerState

_SLOWEST = (
    *(S.DRAINING, S.STOPPING, S.COLD, S.PULLING, S.PREPARED, S.STARTING, S.LOADING, S.UNHEALTHY),
    *(S.READY, S.BACKOFF, S.FAILED),
)
"""The state of the replica that is farthest from being ready says how far the model is."""


def of_stop(state: ReconcileState, key: ModelKey) -> Progress:
    """Return how far the stop of a model is."""
    runners = [runner for runner in state.fleet.of(key) if runner.state is not S.COLD]
    if key not in state.stopped:
        return Progress("was started again before it had stopped", over=True, failed=bool(runners))
    if not runners:
        return Progress("stopped", over=True)
    draining = [runner for runner in runners if runner.state is S.DRAINING]
    if jobs := sum(state.table.running_on(runner.id) for runner in draining):
        last = max(draining, key=lambda runner: runner.drain_until)
        return Progress(f"stopping; {_jobs(jobs)} may go on until {drained_at(last)}")
    if down := state.engine_down(runners[0].model):
        return Progress(f"stopping; waits, since {down}")
    stuck = next((runner for runner in runners if runner.state is S.STOPPING and not runner.busy), None)
    if stuck is not None and stuck.detail:
        return Progress(f"stopping; the last try did not go through, and is made again: {stuck.detail}")
    return Progress("stopping")


def of_start(state: ReconcileState, key: ModelKey) -> Progress:
    """Return how far the start of a model is."""
    return _coming(state, key, waits=())


def of_restart(state: ReconcileState, key: ModelKey, before: Mapping[RunnerId, float]) -> Progress:
    """Return how far the restart of a model is.

    Args:
        before: when each of its runners had been launched (`Runner.launched_at`) before it was asked for.
    """
    model = state.wanted.get(key)
    ours = [r for r in state.fleet.of(key) if model is not None and r.id.generation == model.generation]
    old = [r for r in ours if before.get(r.id) == r.launched_at and r.state in (S.LOADING, S.READY, S.UNHEALTHY)]
    for runner in old:
        if not runner.restart_asked:
            why = f"could not be restarted, and runs on: {runner.detail or runner.state}"
            return Progress(f"{why}; {_more(key)}", over=True, failed=True)
    return _coming(state, key, waits=old)


def launched(state: ReconcileState, key: ModelKey) -> dict[RunnerId, float]:
    """Return when each runner of a model was launched, for `of_restart`."""
    return {runner.id: runner.launched_at for runner in state.fleet.of(key)}


def _coming(state: ReconcileState, key: ModelKey, waits: Sequence[Runner]) -> Progress:
    model = state.wanted.get(key)
    if stopped := state.stopped.get(key):
        return Progress(f"is stopped, {stopped}", over=True, failed=True)
    if model is None:
        return Progress("is not in the models file, so nothing is started", over=True)
    ours = [runner for runner in state.fleet.of(key) if runner.id.generation == model.generation]
    for runner in ours:
        if runner.state in (S.BACKOFF, S.FAILED):
            again = "orchd has given up on it" if runner.state is S.FAILED else "orchd tries again"
            why = f"could not be started: {runner.fault or runner.last_failure}; {again}"
            return Progress(f"{why}; {_more(key)}", over=True, failed=True)
        if runner.state is S.UNHEALTHY and not model.managed:
            why = f"can't be reached: {runner.detail}; orchd goes on probing it"
            return Progress(f"{why}; `orchd status {key}` says more", over=True, failed=True)
    if waits:
        getting = any(runner.checking for runner in waits)
        return Progress("gets and checks what the new start needs" if getting else "waits for its turn")
    if not ours:
        return Progress("about to be started")
    if all(runner.state is S.READY for runner in ours):
        return Progress("ready", over=True)
    if not model.warm and model.managed and all(runner.state is S.COLD and not runner.restart_asked for runner in ours):
        return Progress(COLD, over=True)
    slowest = min(ours, key=lambda runner: _SLOWEST.index(runner.state))
    if slowest.state in (S.COLD, S.PULLING, S.PREPARED) and (down := state.engine_down(model)):
        return Progress(f"waits, since {down}")
    ready = sum(runner.state is S.READY for runner in ours)
    count = f", {ready} of {len(ours)} replicas ready" if len(ours) > 1 else ""
    return Progress(_word(slowest) + count)


def _word(runner: Runner) -> str:
    """Return how far a runner is that is not ready; what is got for it has been told by now if there is any."""
    match runner.state:
        case S.COLD:
            return "about to be started"
        case S.PULLING if not (runner.model.kind is RunnerKind.CONTAINER and runner.detail):
            return "preparing"
        case _:
            return str(runner.state)


def _more(key: ModelKey) -> str:
    return f"`orchd logs {key}` and `orchd status {key}` say more"


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"

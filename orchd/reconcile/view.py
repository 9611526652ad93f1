"""From the loop's own records of one model to what others may read of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from orchd.domain.ids import ModelKey
from orchd.domain.lifecycle import RunnerState
from orchd.domain.model import Model
from orchd.domain.state import ModelStatus, RunnerStatus
from orchd.reconcile.runner import Runner
from orchd.reconcile.standing import waits_for
from orchd.reconcile.state import ReconcileState


def model_status(state: ReconcileState, key: ModelKey) -> ModelStatus | None:
    """Return how a model stands, with the dates that were taken when things happened; None = there is no such model."""
    model = state.models.get(key)
    if model is None:
        return None
    runners, table = state.fleet.of(key), state.table
    stand = state.standing(key)
    leaving = key not in state.wanted
    spared = state.why_spared(key)
    return ModelStatus(
        model=model,
        ready=stand.ready,
        startable=stand.startable,
        reason=stand.reason,
        sessions=table.active(key),
        letting_go=table.letting_go(key),
        pending=table.pending(key),
        waiting=table.waiting(key),
        runners=tuple(_runner(r, runners, state, model, leaving, spared) for r in runners),
        history=state.fleet.history(key),
        held_over=key in state.desired.held_over,
        leaving=leaving,
        stopped=state.stopped.get(key),
        last_failure=next((r.last_failure for r in runners if r.last_failure), ""),
    )


def _runner(
    runner: Runner, runners: Sequence[Runner], state: ReconcileState, model: Model, leaving: bool, spared: str
) -> RunnerStatus:
    table = state.table
    runtime = state.by_id.get(runner.runtime) if runner.runtime is not None else None
    whereabouts = runtime.whereabouts(runner.handle) if runtime is not None and runner.handle is not None else None
    doubt = runner.doubt if runner.state is RunnerState.READY else ""
    detail = waits_for(runner, runners, spared) or runner.detail or runner.fault
    return RunnerStatus(
        runner=runner.id,
        state=runner.state,
        since=runner.since_date,
        wanted=not leaving and runner.id.generation == model.generation,
        detail="; ".join(filter(None, (doubt, detail))),
        doubt=doubt,
        handle=runner.handle,
        address=runner.address.url if runner.address else None,
        sessions=table.active_on(runner.id),
        letting_go=table.letting_go_on(runner.id),
        restarts=runner.restarts,
        retry_at=runner.date_of(runner.retry_at) if runner.state is RunnerState.BACKOFF else None,
        last_log=runner.last_log,
        last_stop=runner.last_stop,
        source=runner.model.source,
        whereabouts=whereabouts,
    )

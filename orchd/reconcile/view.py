"""From the loop's own records to what others may read. Pure, but for the date of the reading itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from orchd.domain.ids import ModelKey
from orchd.domain.lifecycle import RunnerState
from orchd.domain.model import Model, RunnerKind
from orchd.domain.state import DesiredState, ModelStatus, RunnerStatus, RuntimeStatus, Severity, Snapshot
from orchd.reconcile.fleet import Fleet
from orchd.reconcile.runner import Runner
from orchd.reconcile.standing import standing, waits_for
from orchd.sessions.table import SessionTable


def snapshot(
    desired: DesiredState,
    models: Mapping[ModelKey, Model],
    fleet: Fleet,
    table: SessionTable,
    down: Mapping[RunnerKind, str],
    kinds: Sequence[RunnerKind],
    engine_down: Callable[[Model], str],
    why_spared: Callable[[ModelKey], str],
    reloaded_at: float,
    converged: bool,
) -> Snapshot:
    """Return everything a reader may know; dates are those that were taken when things happened.

    Args:
        models: the desired models and those that still drain.
        kinds: the runtimes that there are; `down`: why some can't be used.
        why_spared: why nothing of a model may be taken away now.
    """
    needed = {model.kind for model in models.values()}
    refused = any(p.severity is Severity.ERROR and p.entry is None for p in desired.problems)
    return Snapshot(
        at=time.time(),
        models=MappingProxyType(
            {
                key: _model(key, model, desired, fleet, table, engine_down(model), why_spared(key))
                for key, model in models.items()
            }
        ),
        problems=desired.problems,
        runtimes=tuple(RuntimeStatus(kind, kind not in down, down.get(kind, ""), kind in needed) for kind in kinds),
        file_hash=desired.file_hash,
        reload_ok=not refused,
        reload_at=reloaded_at,
        converged=converged,
    )


def _model(
    key: ModelKey,
    model: Model,
    desired: DesiredState,
    fleet: Fleet,
    table: SessionTable,
    engine_down: str,
    spared: str,
) -> ModelStatus:
    runners = fleet.of(key)
    leaving = key not in desired.models
    stand = standing(model, runners, leaving=leaving, engine_down=engine_down, spared=spared)
    return ModelStatus(
        model=model,
        ready=stand.ready,
        startable=stand.startable,
        reason=stand.reason,
        sessions=table.active(key),
        letting_go=table.letting_go(key),
        waiting=table.waiting(key),
        runners=tuple(_runner(r, runners, model, table, leaving, spared) for r in runners),
        history=fleet.history(key),
        held_over=key in desired.held_over,
        leaving=leaving,
        last_failure=next((r.last_failure for r in runners if r.last_failure), ""),
    )


def _runner(
    runner: Runner, runners: Sequence[Runner], model: Model, table: SessionTable, leaving: bool, spared: str
) -> RunnerStatus:
    return RunnerStatus(
        runner=runner.id,
        state=runner.state,
        since=runner.since_date,
        wanted=not leaving and runner.id.generation == model.generation,
        detail=waits_for(runner, runners, spared) or runner.detail or runner.fault,
        handle=runner.handle,
        address=runner.address.url if runner.address else None,
        sessions=table.active_on(runner.id),
        letting_go=table.letting_go_on(runner.id),
        restarts=runner.restarts,
        retry_at=runner.date_of(runner.retry_at) if runner.state is RunnerState.BACKOFF else None,
        last_log=runner.last_log,
        last_stop=runner.last_stop,
        source=runner.model.source,
    )

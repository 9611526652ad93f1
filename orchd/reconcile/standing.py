"""From a model's runners to what a job on it gets: begin, wait for a cold start, or a refusal with the reason. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchd.domain.lifecycle import RunnerState
from orchd.domain.model import Model
from orchd.errors import Code
from orchd.reconcile.runner import Leaving, Runner

S = RunnerState


@dataclass(frozen=True, slots=True)
class Standing:
    """Attributes:
    ready: a session can begin now, if a slot is free.
    startable: its first job would start it, or it is just being started for one.
    code, reason: what a job is told while neither.
    """

    ready: bool
    startable: bool
    code: Code = Code.NOT_READY
    reason: str = ""


# The most hopeful state says most about the model as a whole.
_HOPE = (
    S.READY,
    S.LOADING,
    S.STARTING,
    S.PREPARED,
    S.PULLING,
    S.UNHEALTHY,
    S.DRAINING,
    S.STOPPING,
    S.BACKOFF,
    S.FAILED,
    S.COLD,
)

_COMING = frozenset({S.COLD, S.PULLING, S.PREPARED, S.STARTING, S.LOADING, S.BACKOFF})


def standing(model: Model, runners: Sequence[Runner], *, leaving: bool, engine_down: str = "") -> Standing:
    """Return how `model` stands.

    Args:
        leaving: it has left the file; its runners drain.
        engine_down: why its runtime can't be reached; empty = it can.
    """
    if any(r.state is S.READY for r in runners):
        return Standing(ready=True, startable=False)
    if leaving:
        return Standing(False, False, Code.DRAINING, "the model is leaving: it is no longer in aiModels.json")
    best = min(runners, key=lambda r: _HOPE.index(r.state), default=None)
    if engine_down and (best is None or best.state in (*_COMING, S.STOPPING)):
        return Standing(False, False, reason=engine_down)
    if model.managed and not model.warm and _can_come(runners):
        return Standing(False, True, reason="cold: its first job starts it")
    if best is None:
        return Standing(False, False, reason="it is about to be started")
    return Standing(False, False, _code(best), _reason(best))


def _can_come(runners: Sequence[Runner]) -> bool:
    """Whether a cold model will serve without anybody's help: nothing parked or unhealthy stands in the way."""
    if not runners:
        return True
    return any(r.state in _COMING or r.state in (S.DRAINING, S.STOPPING) for r in runners)


def _code(runner: Runner) -> Code:
    leaving = runner.state is S.DRAINING or (runner.state is S.STOPPING and not runner.fault)
    return Code.DRAINING if leaving else Code.NOT_READY


def _reason(runner: Runner) -> str:
    words = {
        S.COLD: "it is cold and about to be started",
        S.PULLING: "its image is being pulled and its container prepared",
        S.PREPARED: "it is prepared and waits to be started",
        S.STARTING: "it is being started",
        S.LOADING: "it is loading",
        S.UNHEALTHY: "it fails its health probes",
        S.DRAINING: "it is draining" if runner.leaving is not Leaving.RESTART else "it is draining for a restart",
        S.STOPPING: "it failed and is being removed" if runner.fault else "it is being stopped",
        S.BACKOFF: "it failed and is about to be started again",
        S.FAILED: "it failed too often and is parked until its entry is edited or `orchd restart` is used",
    }
    said = words.get(runner.state, str(runner.state))
    why = runner.fault or runner.detail
    return f"{said}: {why}" if why else said

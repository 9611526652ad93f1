"""From a model's runners to what a job on it gets: begin, wait for a cold start, or a refusal with the reason. Pure.

What is wanted (runners of the model's own generation) comes first; what still runs of former generations is
added to the reason.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from orchd.domain.lifecycle import RunnerState
from orchd.domain.model import Model, RunnerKind
from orchd.domain.state import BY_OPERATOR
from orchd.errors import Code
from orchd.reconcile.runner import Leaving, Runner

S = RunnerState

COLD = "cold: its first job starts it"
WITHDRAWN_AFTER = 2
"""Starts in a row that failed, after which a cold model no longer counts as one that its first job starts. It is then
tried again without a job, or it would never be offered again."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether jobs for a model can begin, and what they are told if not.

    Attributes:
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
_ON_ITS_WAY = _COMING - {S.COLD, S.BACKOFF}
_DOWN = frozenset({S.COLD, S.BACKOFF, S.FAILED})


def standing(
    model: Model,
    runners: Sequence[Runner],
    *,
    leaving: bool,
    engine_down: str = "",
    spared: str = "",
    stopped: bool = False,
) -> Standing:
    """Return how `model` stands.

    Args:
        leaving: it has left the file; its runners drain.
        engine_down: why its runtime can't be reached; empty = it can.
        spared: why nothing of it may be taken away now; empty = it may.
        stopped: an operator has stopped it.
    """
    if any(r.state is S.READY for r in runners):
        return Standing(ready=True, startable=False)
    if stopped:
        return Standing(False, False, Code.STOPPED, _to_its_end(BY_OPERATOR, runners))
    if leaving:
        said = "the model is leaving: it is no longer in aiModels.json"
        return Standing(False, False, Code.DRAINING, _to_its_end(said, runners))
    generation = model.generation
    wanted = [r for r in runners if r.id.generation == generation]
    former = [r for r in runners if r.id.generation != generation and r.state not in _DOWN]
    best = min(wanted, key=lambda r: _HOPE.index(r.state), default=None)
    if engine_down and (best is None or best.state in (*_COMING, S.STOPPING)):
        return Standing(False, False, reason=engine_down)
    reason = _reason(best, runners, spared) if best else "it is about to be started"
    code = _code(best) if best else Code.NOT_READY
    if former:
        shown = min(former, key=lambda r: _HOPE.index(r.state))
        reason += f"; its former definition (generation {shown.id.generation}): {_reason(shown, runners, spared)}"
        code = _code(shown)
    if model.managed and not model.warm and _can_come(wanted):
        return Standing(False, True, reason=reason if former else _cold(best, runners))
    return Standing(False, False, code, reason)


def withdrawn(runner: Runner) -> bool:
    """Return whether a cold model's runner has failed to start so often that no job may count on it."""
    return not runner.model.warm and runner.failed_starts >= WITHDRAWN_AFTER


def waits_for(runner: Runner, runners: Sequence[Runner], spared: str = "") -> str:
    """Return for what a prepared runner waits, and until when at the latest; empty = it is not waiting for another."""
    formers = [
        r for r in runners if (r.id.replica, r.state in _DOWN) == (runner.id.replica, False) and r.id != runner.id
    ]
    if runner.state is not S.PREPARED or not formers:
        return ""
    former = min(formers, key=lambda r: _HOPE.index(r.state))
    who = f"its former definition (generation {former.id.generation})"
    match former.state:
        case S.DRAINING:
            return f"waits until the sessions on {who} have ended, until {drained_at(former)} at the latest"
        case S.STOPPING:
            return f"waits until {who} has stopped, for {former.model.stop.grace_s:g} s at most before it is killed"
        case _ if spared:
            return f"waits, since nothing that runs is taken away now: {spared}"
        case S.READY:
            return f"waits until the other replicas are ready, since one is replaced at a time; until then {who} serves"
        case _:
            return f"waits for {who}, which is {former.state}"


def _to_its_end(said: str, runners: Sequence[Runner]) -> str:
    """Return the reason of a model that is not to run any more: what is `said` of that, and how far its end is."""
    last = min(runners, key=lambda r: _HOPE.index(r.state), default=None)
    if last is None or last.state in _DOWN:
        return said
    if last.state is S.DRAINING:
        return f"{said}; its sessions may go on until {drained_at(last)}"
    return f"{said}; {_reason(last, runners)}"


def drained_at(runner: Runner) -> str:
    """Return when the sessions of a draining runner are cut, as a time of day."""
    date = dt.datetime.fromtimestamp(runner.date_of(runner.drain_until), dt.UTC)
    return date.strftime("%H:%M:%S UTC")


def _can_come(runners: Sequence[Runner]) -> bool:
    """Whether a cold model will serve without anybody's help: nothing failed or unhealthy stands in the way."""
    if not runners:
        return True
    return any((r.state in _COMING or r.state in (S.DRAINING, S.STOPPING)) and not withdrawn(r) for r in runners)


def _cold(runner: Runner | None, runners: Sequence[Runner]) -> str:
    """Return the reason of a cold model that its first job would start, or that is being started for one."""
    failed = next((r.last_failure for r in runners if r.last_failure), "")
    if runner is None or runner.state is S.COLD:
        return f"{COLD}; its last start failed: {failed}" if failed else COLD
    if runner.state in _ON_ITS_WAY:
        said = f"it is being started for a job: {_reason(runner, runners)}"
        return f"{said}; the start before failed: {failed}" if failed else said
    if runner.state is S.BACKOFF:
        return f"its last start failed: {failed}; a job that comes now waits for the next try"
    if runner.fault:
        return f"it failed and is being removed: {runner.fault}; a job that comes now waits for the next start"
    why = ", since nobody used it" if runner.leaving is Leaving.IDLE else ""
    return f"it is being stopped{why}; a job that comes now starts it again"


def _code(runner: Runner) -> Code:
    leaving = runner.state is S.DRAINING or (runner.state is S.STOPPING and not runner.fault)
    return Code.DRAINING if leaving else Code.NOT_READY


def _reason(runner: Runner, runners: Sequence[Runner], spared: str = "") -> str:
    words = {
        S.COLD: "it is cold and about to be started",
        S.PULLING: "its image is being pulled and its container prepared"
        if runner.model.kind is RunnerKind.CONTAINER
        else "it is being prepared",
        S.PREPARED: f"it is prepared and {waits_for(runner, runners, spared) or 'waits to be started'}",
        S.STARTING: "it is being started",
        S.LOADING: "it is loading",
        S.UNHEALTHY: "it fails its health probes",
        S.DRAINING: "it is draining" if runner.leaving is not Leaving.RESTART else "it is draining for a restart",
        S.STOPPING: "it failed and is being removed" if runner.fault else "it is being stopped",
        S.BACKOFF: "it failed and is about to be started again",
        S.FAILED: "it failed too often; orchd gives up until its entry is edited or `orchd restart` is used",
    }
    said = words.get(runner.state, str(runner.state))
    why = runner.fault or runner.detail
    if withdrawn(runner):
        tries = f"its last {runner.failed_starts} starts failed"
        again = (
            "orchd has given up on it"
            if runner.state is S.FAILED
            else "it is tried again without a job, and offered when it runs"
        )
        return f"it can't be started: {tries}, the last one: {runner.last_failure}; {again}"
    return f"{said}: {why}" if why else said

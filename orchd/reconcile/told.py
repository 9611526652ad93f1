"""Pure. Which moves of a runner are told to the history, and as what: those that a person cares for."""

from __future__ import annotations

from orchd.domain.lifecycle import RunnerEvent, RunnerState
from orchd.history.ports import Kind

E, S = RunnerEvent, RunnerState

_BY_EVENT = {
    E.PREPARE: Kind.START,
    E.ATTACH: Kind.START,
    E.FOUND_CREATED: Kind.ADOPTED,
    E.FOUND_RUNNING: Kind.ADOPTED,
    E.PROBE_READY: Kind.READY,
    E.PROBE_FAILED: Kind.UNHEALTHY,
    E.DRAIN: Kind.DRAINING,
    E.RESUME: Kind.RESUMED,
    E.STOPPED: Kind.STOPPED,
    E.STOPPED_AFTER_FAILURE: Kind.FAILED,
    E.STOPPED_TOO_OFTEN: Kind.GIVEN_UP,
}


def kind_of(before: RunnerState, event: RunnerEvent, after: RunnerState) -> Kind | None:
    """Return as what a move is told; None = it is not.

    A runner that goes down by itself is told when it is down: only then is known why, and what its last words were.
    """
    if after is before:
        return None
    if event is E.STOP:
        return Kind.DRAINED if before is S.DRAINING else Kind.STOPPING
    if event is E.PROBE_LOADING:
        return Kind.LOADING if before is S.READY else None
    return _BY_EVENT.get(event)

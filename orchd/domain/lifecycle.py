"""The life of one runner (a replica of one generation), as one table of legal moves.

    The diagram in docs/explanation/lifecycle.md is made from TRANSITIONS; a test walks every state and event pair.

The table knows nothing of time, Docker or health words. `reconcile/loop.py` is its only caller: it turns what the
edges tell into events, and what the planner asks for into events.

Three ideas carry it:
- preparing (pull, create, check arguments) is apart from starting, so that a bad edit is found while the old
  generation serves on: PREPARED waits there for its predecessor to leave;
- not ready is not dead: UNHEALTHY takes no new sessions but keeps those it has, and comes back by a good probe;
- every way down goes through STOPPING, where the container is stopped and removed; what comes after (COLD, BACKOFF,
  FAILED) is decided when that is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class RunnerState(StrEnum):
    COLD = "cold"
    PULLING = "pulling"
    PREPARED = "prepared"
    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    FAILED = "failed"


class RunnerEvent(StrEnum):
    # Asked for by the planner.
    PREPARE = "prepare"
    """Pull the image and create the container, or check the command."""
    START = "start"
    ATTACH = "attach"
    """An external runner: nothing to launch, begin to probe."""
    DRAIN = "drain"
    """No new sessions; end those that run within the deadline; then stop."""
    RESUME = "resume"
    """An edit was taken back while it drained."""
    STOP = "stop"
    """Stop now: drained, past its deadline, or nothing runs yet."""
    GIVE_UP = "give_up"
    """It will not get well by itself: timed out in loading, too long unhealthy, or said ERROR."""
    RESET = "reset"
    """An operator or an edit asks to try again."""

    # Told by a runtime.
    PREPARE_OK = "prepare_ok"
    STARTED = "started"
    LAUNCH_FAILED = "launch_failed"
    EXITED = "exited"
    """The container is dead or gone, no matter who ended it."""
    FOUND_CREATED = "found_created"
    FOUND_RUNNING = "found_running"
    FOUND_DEAD = "found_dead"
    STOPPED = "stopped"
    """Stopped on purpose, and removed."""
    STOPPED_AFTER_FAILURE = "stopped_after_failure"
    STOPPED_TOO_OFTEN = "stopped_too_often"

    # Told by health.
    PROBE_READY = "probe_ready"
    PROBE_LOADING = "probe_loading"
    PROBE_FAILED = "probe_failed"


S, E = RunnerState, RunnerEvent

_DOWN = {E.GIVE_UP: S.STOPPING, E.EXITED: S.STOPPING, E.STOP: S.STOPPING}

TRANSITIONS: Mapping[RunnerState, Mapping[RunnerEvent, RunnerState]] = {
    S.COLD: {
        E.PREPARE: S.PULLING,
        E.ATTACH: S.LOADING,
        E.FOUND_CREATED: S.PREPARED,
        E.FOUND_RUNNING: S.LOADING,
        E.FOUND_DEAD: S.STOPPING,
    },
    S.PULLING: {
        E.PREPARE_OK: S.PREPARED,
        E.LAUNCH_FAILED: S.STOPPING,
        E.STOP: S.STOPPING,
    },
    S.PREPARED: {E.START: S.STARTING, **_DOWN},
    S.STARTING: {E.STARTED: S.LOADING, E.LAUNCH_FAILED: S.STOPPING, **_DOWN},
    S.LOADING: {
        E.PROBE_READY: S.READY,
        E.PROBE_LOADING: S.LOADING,
        E.PROBE_FAILED: S.UNHEALTHY,
        E.DRAIN: S.DRAINING,
        **_DOWN,
    },
    S.READY: {
        E.PROBE_READY: S.READY,
        # A live model may reload its defaults after a stream; until then nothing new may begin on it.
        E.PROBE_LOADING: S.LOADING,
        E.PROBE_FAILED: S.UNHEALTHY,
        E.DRAIN: S.DRAINING,
        **_DOWN,
    },
    S.UNHEALTHY: {
        E.PROBE_READY: S.READY,
        E.PROBE_LOADING: S.LOADING,
        E.PROBE_FAILED: S.UNHEALTHY,
        E.DRAIN: S.DRAINING,
        **_DOWN,
    },
    S.DRAINING: {
        # Probes go on (an edit may be taken back) and decide nothing; the planner repeats itself.
        E.PROBE_READY: S.DRAINING,
        E.PROBE_LOADING: S.DRAINING,
        E.PROBE_FAILED: S.DRAINING,
        E.DRAIN: S.DRAINING,
        E.RESUME: S.LOADING,
        **_DOWN,
    },
    S.STOPPING: {
        # News of an exit that we asked for.
        E.EXITED: S.STOPPING,
        E.STOP: S.STOPPING,
        E.STOPPED: S.COLD,
        E.STOPPED_AFTER_FAILURE: S.BACKOFF,
        E.STOPPED_TOO_OFTEN: S.FAILED,
    },
    S.BACKOFF: {E.PREPARE: S.PULLING, E.RESET: S.COLD},
    S.FAILED: {E.RESET: S.COLD},
}


class IllegalMove(Exception):
    """A state was asked to take an event that its row does not have: a bug of ours, never the operator's doing."""


def next_state(state: RunnerState, event: RunnerEvent) -> RunnerState:
    """Return the state after `event`.

    Raises:
        IllegalMove: the table has no such move.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalMove(f"cannot take {event} in state {state}") from None


def accepts(state: RunnerState, event: RunnerEvent) -> bool:
    """Return whether `event` is a legal move in `state`; late news often is not, and is then dropped."""
    return event in TRANSITIONS[state]


ALIVE = frozenset({S.PREPARED, S.STARTING, S.LOADING, S.READY, S.UNHEALTHY, S.DRAINING})
"""A container or process stands behind it (and may run)."""

PROBED = frozenset({S.LOADING, S.READY, S.UNHEALTHY, S.DRAINING})
"""Its health is polled."""

"""What the loop knows of one runner. Frozen: only the loop replaces it (`Fleet`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from orchd.domain.ids import Address, RunnerId
from orchd.domain.lifecycle import RunnerState
from orchd.domain.model import Model
from orchd.domain.runtime_id import RuntimeId


class Leaving(StrEnum):
    """Why it drains: decides whether an edit taken back may call it back."""

    RETIRED = "retired"
    """Its model left the file, was edited, was stopped by an operator, or has fewer replicas now."""
    IDLE = "idle"
    RESTART = "restart"


@dataclass(frozen=True)
class Runner:
    """All times are of the loop clock, in seconds.

    Attributes:
        model: the definition that it serves; offer-only fields are kept up to date.
        since: of the state. `since_date`: the same as Unix time, taken then, so that it never wanders.
        runtime: who launches it; None = somebody else runs it, or nothing here can launch it.
        handle: the runtime's name for it; None before it was prepared.
        found: what stands behind it was left by an earlier orchd.
        busy: a call to the runtime about it is under way; nothing else is begun meanwhile.
        called_at: when the last such call ended; older sightings say nothing.
        launched_at: start of the start window.
        loading_since: since when it says itself that it loads.
        leaving, drain_until: while draining. `leaving_why`: from then on, or from its stop, until it has ended.
        fault: why it goes down by itself; empty = on purpose, or not its own fault.
        passing: the cause of `fault` will pass by itself: it counts for nothing, and is tried again for ever.
        detail: the newest word on it, for people.
        doubt: why it may not be well although it is ready; empty = nothing is known, or it is not ready.
        failures: when it failed, as far as not forgotten since.
        unready_failures: how often in a row without having been ready.
        failed_starts: how many starts in a row ended before it was ready, for whatever cause.
        last_failure: why it went down by itself the last time, until it is ready again.
        was_ready: since it was started.
        retry_at: in BACKOFF.
        restart_asked: drain and start again as soon as the other replicas allow it.
        checking: what a new start needs is being got and checked, before anything is stopped.
        checked: that went well, so the next start need not get it again.
        paused: somebody else has paused it (`docker pause`, SIGSTOP).
    """

    id: RunnerId
    model: Model
    state: RunnerState = RunnerState.COLD
    since: float = 0.0
    since_date: float = 0.0
    runtime: RuntimeId | None = None
    handle: str | None = None
    found: bool = False
    address: Address | None = None
    busy: bool = False
    called_at: float = -1.0
    launched_at: float = 0.0
    loading_since: float | None = None
    leaving: Leaving | None = None
    leaving_why: str = ""
    drain_until: float = 0.0
    fault: str = ""
    passing: bool = False
    detail: str = ""
    doubt: str = ""
    failures: tuple[float, ...] = ()
    unready_failures: int = 0
    failed_starts: int = 0
    last_failure: str = ""
    was_ready: bool = False
    retry_at: float = 0.0
    restarts: int = 0
    restart_asked: bool = False
    checking: bool = False
    checked: bool = False
    paused: bool = False
    last_log: tuple[str, ...] = ()
    last_stop: str = ""

    def changed(self, **changes: Any) -> Self:
        """Return it with these changes. All fields are copied at once: a tenth of what `dataclasses.replace` takes."""
        runner = object.__new__(type(self))
        runner.__dict__.update(self.__dict__, **changes)
        assert len(runner.__dict__) == len(self.__dict__), f"no field of a runner: {changes.keys()}"
        return runner

    def date_of(self, at: float) -> float:
        """Return a loop time as Unix time; always the same one as long as the runner stays in its state."""
        return self.since_date + (at - self.since)

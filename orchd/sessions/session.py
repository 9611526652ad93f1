"""One hold on a model: begins once, ends once, in exactly one outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from orchd.domain.ids import Address, ModelKey, RunnerId, SessionId
from orchd.hooks.account import Account


class SessionKind(StrEnum):
    """Why it began, and thereby how it ends."""

    JOB = "job"
    """A batch job, an SSE answer or a WebSocket: ends with its request."""
    STREAM = "stream"
    """A realtime session: ends by its stop, with its container, or when the node lets it go."""


class Outcome(StrEnum):
    """How a job or session ended: the `outcome` label. One word each, whoever caused it."""

    OK = "ok"
    """The runner's whole answer reached the caller, and its status was not 500 to 599."""
    RUNNER_ERROR = "runner_error"
    """As `OK`, but the runner itself said by its status (500 to 599) that it has failed."""
    REFUSED = "refused"
    """Our own answer: no slot, not ready, hook, bad request."""
    CLIENT_GONE = "client_gone"
    BACKEND_FAILED = "backend_failed"
    TIMEOUT = "timeout"
    ABORTED = "aborted"
    """Cut by orchd: drain deadline, runner gone, shutdown."""
    ERROR = "error"
    """A bug of ours."""


@dataclass(eq=False, slots=True)
class Session:
    """Attributes:
    began_at, progress_at: loop clock, seconds; progress is the last byte that moved either way.
    held: where it is counted; the table's own.
    abort: set by whoever serves the session; the table calls it (at most once) with the reason to cut it.
    outcome: None while it runs.
    freed: it is letting go: it has ended, and its slot is taken until its runner has stopped working on it. The table
        calls this when the slot is free. None = it is not letting go.
    account: who pays for it, made when it was admitted. None = it was not yet, or no hook asks for accounts.
    """

    id: SessionId
    key: ModelKey
    runner: RunnerId
    address: Address
    kind: SessionKind
    began_at: float
    progress_at: float
    held: object = None
    abort: Callable[[str], None] | None = None
    outcome: Outcome | None = None
    freed: Callable[[], None] | None = None
    account: Account | None = None

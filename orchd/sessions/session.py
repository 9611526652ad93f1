"""One hold on a model: begins once, ends once, in exactly one outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orchd.domain.ids import Address, ModelKey, RunnerId, SessionId
from orchd.domain.outcomes import Outcome
from orchd.hooks.account import Account
from orchd.hooks.usage import Measured
from orchd.sessions.payers import PayerPlace

NOT_SERVED = Measured(0.0)


class SessionKind(StrEnum):
    """Why it began, which decides how it ends."""

    JOB = "job"
    """A batch job, an SSE answer or a WebSocket: ends with its request."""
    NODE_JOB = "node-job"
    """The same, and the node counts it as a session of its own (Live Runner's single-shot requests)."""
    STREAM = "stream"
    """A realtime session: ends by its stop, with its container, or when the node lets it go."""


@dataclass(eq=False, slots=True)
class Session:
    """One hold on a slot, by a job or a stream.

    Attributes:
        began_at, progress_at: loop clock, seconds; progress is the last byte that moved either way.
        held: where it is counted; the table's own.
        abort: set by what serves the session; the table calls it (at most once) with the reason to cut it.
        outcome: None while it runs.
        freed: it is letting go: it has ended, and its slot is taken until its runner has stopped working on it. The
            table calls this when the slot is free. None = it is not letting go.
        account: who pays for it, made when it was admitted. None = it was not yet, or no hook asks for accounts.
        place: where it counts for its payer, until its slot is free; None = it does not.
        served: what is settled; measured when it ends, and only where somebody settles.
    """

    id: SessionId
    key: ModelKey
    runner: RunnerId
    address: Address
    kind: SessionKind
    began_at: float
    progress_at: float
    held: Any = None
    abort: Callable[[str], None] | None = None
    outcome: Outcome | None = None
    freed: Callable[[], None] | None = None
    account: Account | None = None
    place: PayerPlace | None = None
    served: Measured = NOT_SERVED

"""What is counted of a model and of each of its replicas. Values without rules; `table.py` keeps them true."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.errors import Code, JobRefused
from orchd.sessions.session import Session, SessionKind

NOT_STARTED = "it has not been started yet"


@dataclass(eq=False, slots=True)
class QueuePlace:
    """A job's place in the queue of a cold model.

    Attributes:
        resolve: set by the job in the step that took the place; called at most once, with what came of it.
    """

    key: ModelKey
    kind: SessionKind
    resolve: Callable[[Session | JobRefused], None]


@dataclass(eq=False, slots=True)
class PendingSlot:
    """A slot that is kept for somebody who may begin a session.

    Attributes:
        replica: where it is counted; the table's own. None = on no replica, or not pending any more.
        is_pending: it was neither confirmed nor released.
    """

    key: ModelKey
    replica: object = None
    is_pending: bool = True


@dataclass(eq=False, slots=True)
class ReplicaSlots:
    """The slots of one runner."""

    runner: RunnerId
    address: Address
    limit: int | None = None
    is_open: bool = True
    gone: bool = False
    sessions: set[Session] = field(default_factory=set)
    letting_go: int = 0
    pending: set[PendingSlot] = field(default_factory=set)
    idle_since: float = 0.0
    held: HeldAt | None = None

    @property
    def has_room(self) -> bool:
        return self.is_open and (self.limit is None or self.taken < self.limit)

    @property
    def taken(self) -> int:
        return len(self.sessions) + len(self.pending)

    @property
    def running(self) -> int:
        """How many sessions run on it: those that hold a slot less those that are letting go."""
        return len(self.sessions) - self.letting_go

    @property
    def load(self) -> tuple[int, int]:
        """The least is taken first."""
        return self.taken, self.runner.replica


@dataclass(eq=False, slots=True)
class ModelSlots:
    """The slots of a model, over all its replicas and generations."""

    max_sessions: int
    hold_limit: int
    defined: bool = True
    startable: bool = False
    code: Code = Code.NOT_READY
    reason: str = NOT_STARTED
    active: int = 0
    letting_go: int = 0
    begun: int = 0
    node_jobs: int = 0
    replicas: dict[RunnerId, ReplicaSlots] = field(default_factory=dict)
    waiting: deque[QueuePlace] = field(default_factory=deque)
    expected: dict[RunnerId, list[QueuePlace]] = field(default_factory=dict)
    expecting: int = 0
    pending: int = 0
    wanted: bool = False
    homeless: list[PendingSlot] = field(default_factory=list)  # The pending slots that no replica counts.

    @property
    def taken(self) -> int:
        """How many slots are taken for a session that there is, is expected or may begin."""
        return self.active + self.expecting + self.pending

    @property
    def is_open(self) -> bool:
        return any(replica.is_open for replica in self.replicas.values())

    def emptiest(self) -> ReplicaSlots | None:
        """Return the open replica with the fewest sessions and room for one more; None = nothing may begin."""
        # As `taken`, without its call: each job asks.
        return None if self.active + self.expecting + self.pending >= self.max_sessions else self.roomiest()

    def roomiest(self) -> ReplicaSlots | None:
        """As `emptiest`, whatever `max_sessions` says."""
        best: ReplicaSlots | None = None
        for each in self.replicas.values():
            # As `has_room`, without its call where a replica has no limit of its own.
            room = each.is_open and (each.limit is None or each.has_room)
            if room and (best is None or each.load < best.load):
                best = each
        return best


@dataclass(eq=False, slots=True)
class HeldAt:
    """Where a session is counted; the same for all of a replica."""

    model: ModelSlots
    replica: ReplicaSlots


def taken_text(model: ModelSlots) -> str:
    """Return in words what its slots are taken by."""
    running = f"{model.active - model.letting_go} run"
    letting_go = f", {model.letting_go} letting go" if model.letting_go else ""
    return running + letting_go + (f", {model.pending} pending" if model.pending else "")


def refusal(key: ModelKey, code: Code, reason: str) -> JobRefused:
    """Return what a job is told that can't have a slot."""
    return JobRefused(code, f"cannot begin a session of {key}: {reason}")

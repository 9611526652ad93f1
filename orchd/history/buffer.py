"""Pure. What waits to be written: bounded, and the oldest is lost first."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import islice

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import Model

MOST_WAITING = 10_000
"""Events that wait while the disk is full or slow: a few MiB, and with 100 models that flap some minutes."""
MOST_TOGETHER = 200
"""Events, and states of runners, in one transaction: 2 or 3 ms, which is how long others may wait for it."""


@dataclass(
    slots=True
)  # Not frozen: to make one takes a quarter of the time, and a file of many models makes thousands.
class Event:
    """One thing that has happened; see `ports.History.note`. Never changed.

    Attributes:
        id: grows by 1 with each event, over all lives of orchd.
        at: Unix time, seconds.
        replica: None = about no single runner.
        model: whose secrets must not be kept.
    """

    id: int
    at: float
    kind: str
    key: ModelKey | None
    replica: int | None
    generation: str
    by: str
    why: str
    evidence: str
    model: Model | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Stand:
    """In which state a runner is; see `ports.History.stands`. `since`: Unix time."""

    state: str
    since: float
    why: str
    model: Model | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Lost:
    """Events that are not kept: how many, and id and time of the last one."""

    count: int
    id: int
    at: float


@dataclass(frozen=True, slots=True)
class EventBatch:
    """What is written together. `stands`: None = the runner is gone."""

    events: tuple[Event, ...] = ()
    stands: dict[RunnerId, Stand | None] = field(default_factory=dict)
    lost: Lost | None = None

    def __bool__(self) -> bool:
        return bool(self.events or self.stands or self.lost)


class Buffer:
    """What waits to be written.

    Args:
        most: events that may wait; more, and the oldest are lost.
    """

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._events: deque[Event] = deque()
        self._stands: dict[RunnerId, Stand | None] = {}
        self._lost: Lost | None = None

    def __bool__(self) -> bool:
        return bool(self._events or self._stands or self._lost)

    def __len__(self) -> int:
        return len(self._events)

    @property
    def fills_a_batch(self) -> bool:
        """As much waits as is written together."""
        return max(len(self._events), len(self._stands)) >= MOST_TOGETHER

    def add(self, event: Event) -> None:
        """Let an event wait."""
        self._events.append(event)
        self._bound()

    def stand(self, runner: RunnerId, stand: Stand | None) -> None:
        """Let the newest state of a runner wait, in place of the one before; None = it is gone."""
        self._stands[runner] = stand

    def take(self, most: int = MOST_TOGETHER) -> EventBatch:
        """Return what is to be written next, and no longer let it wait."""
        events = tuple(self._events.popleft() for _ in range(min(most, len(self._events))))
        stands = {runner: self._stands.pop(runner) for runner in tuple(islice(self._stands, most))}
        lost, self._lost = self._lost, None
        return EventBatch(events, stands, lost)

    def put_back(self, batch: EventBatch) -> None:
        """Let a batch wait again that could not be written."""
        self._events.extendleft(reversed(batch.events))
        self._stands = {**batch.stands, **self._stands}
        if batch.lost is not None:
            self._lose(batch.lost)
        self._bound()

    def _bound(self) -> None:
        while len(self._events) > self._most:
            oldest = self._events.popleft()
            self._lose(Lost(1, oldest.id, oldest.at))

    def _lose(self, more: Lost) -> None:
        before = self._lost
        if before is None:
            self._lost = more
        else:
            last = max(before, more, key=lambda lost: lost.id)
            self._lost = Lost(before.count + more.count, last.id, last.at)

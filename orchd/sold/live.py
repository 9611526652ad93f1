"""One session that lives, and the table of those that do. No await in it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

from orchd.domain.ids import RunnerId
from orchd.domain.outcomes import Cut
from orchd.domain.sold import SoldSession
from orchd.sold.clock import ServedClock
from orchd.sold.needs import Slot, SoldStream

STATES = ("pending", "active", "ending")
MOST_OVER = 10_000
"""Ids of ended sessions that are remembered at most; the oldest are forgotten first."""


@dataclass(eq=False, slots=True, kw_only=True)
class LiveSession(SoldSession):
    """What is known of a session beyond what others see of it.

    Attributes:
        runner: on which it has its slot.
        clock: for how long it could be served.
        slot: None = an earlier orchd has left it, and it is not found again yet.
        stream: carries a persistent one once it has begun; None = it is a job, or pending, or not found again yet.
        cut: ends the request that it began with; None = that is over.
        guests: cuts each further request that is under way in a job.
        forgetting: drops the record of its stream, if it ends before that is found again.
        moved_at: loop clock, seconds: the last byte in its slot or its channels, as of the last look.
    """

    runner: RunnerId
    clock: ServedClock = field(default_factory=ServedClock, repr=False)
    slot: Slot | None = field(default=None, repr=False)
    stream: SoldStream | None = field(default=None, repr=False)
    cut: Cut | None = field(default=None, repr=False)
    guests: set[Cut] = field(default_factory=set, repr=False)
    forgetting: asyncio.Task[None] | None = field(default=None, repr=False)
    moved_at: float = 0.0

    @property
    def state(self) -> str:
        """One of `STATES`."""
        return "ending" if self.ending else "pending" if self.pending else "active"


class LiveSessions:
    """Those that live, by id, by account and by stream; and ids of some that have ended."""

    def __init__(self) -> None:
        self._by_id: dict[str, LiveSession] = {}
        self._by_account: dict[str, LiveSession] = {}
        self._over: dict[str, None] = {}

    def __iter__(self) -> Iterator[LiveSession]:
        return iter([*self._by_id.values()])

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, id: str) -> LiveSession | None:
        return self._by_id.get(id)

    def of_account(self, account: str) -> LiveSession | None:
        return self._by_account.get(account)

    def was_here(self, id: str) -> bool:
        """Return whether one of this id has ended, and is remembered."""
        return id in self._over

    def add(self, session: LiveSession) -> None:
        self._by_id[session.id] = session
        if session.account:
            self._by_account[session.account] = session

    def drop(self, session: LiveSession) -> bool:
        """Note that it has ended; False = it is not here any more."""
        if self._by_id.get(session.id) is not session:
            return False
        del self._by_id[session.id]
        self._by_account.pop(session.account, None)
        self._over.pop(session.id, None)
        self._over[session.id] = None
        if len(self._over) > MOST_OVER:
            del self._over[next(iter(self._over))]
        return True

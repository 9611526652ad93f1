"""How long a slot may be pending: it is confirmed, released, or its time is up, whichever comes first. No await in it.

A caller who has to pay before the session begins is promised a slot until a deadline. Exactly one of these ends that:
`confirm` makes a session of it, `release` gives it back, or the deadline passes, which gives it back and tells
the one who has asked for it.
"""

from __future__ import annotations

from collections.abc import Callable

from orchd.domain.ids import ModelKey
from orchd.sessions.letting_go import Timer
from orchd.sessions.session import Session, SessionKind
from orchd.sessions.slots import PendingSlot, QueuePlace
from orchd.sessions.table import SessionTable


class PendingSlots:
    """Slots that are kept until a deadline.

    Args:
        call_later: calls after so many seconds, as the loop's does.
    """

    def __init__(self, table: SessionTable, call_later: Callable[[float, Callable[[], None]], Timer]) -> None:
        self._table = table
        self._call_later = call_later
        self._timers: dict[PendingSlot, Timer] = {}

    def __len__(self) -> int:
        return len(self._timers)

    def reserve(self, key: ModelKey, seconds: float, expired: Callable[[], None]) -> PendingSlot:
        """Keep a slot for so many seconds.

        Args:
            expired: called once if the time is up before anything else; the slot is free by then.

        Raises:
            JobRefused: as `SessionTable.reserve`.
        """
        slot = self._table.reserve(key)

        def time_up() -> None:
            if self.release(slot):
                expired()

        self._timers[slot] = self._call_later(seconds, time_up)
        return slot

    def confirm(self, slot: PendingSlot, kind: SessionKind) -> Session | QueuePlace | None:
        """Begin the session that the slot was kept for; None = its time is up, or it was released or confirmed.

        Raises:
            JobRefused: as `SessionTable.confirm`: the runner is gone, and no other one has room.
        """
        self._forget_timer(slot)
        return self._table.confirm(slot, kind)

    def release(self, slot: PendingSlot) -> bool:
        """Give it back. False if its time is up, or it was released or confirmed."""
        self._forget_timer(slot)
        return self._table.release(slot)

    def close(self) -> None:
        """Release all: orchd ends. Nobody is told."""
        for slot in [*self._timers]:
            self.release(slot)

    def _forget_timer(self, slot: PendingSlot) -> None:
        if (timer := self._timers.pop(slot, None)) is not None:
            timer.cancel()

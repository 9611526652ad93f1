"""Who holds which slot, as a part: the table and what lets go, and their news for the parts above."""

from __future__ import annotations

import asyncio

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.signal import Signal
from orchd.part import Context, Part
from orchd.sessions.letting_go import LettingGo
from orchd.sessions.pending import PendingSlots
from orchd.sessions.table import SessionTable


class SessionsPart(Part):
    """After `ports.Sessions`."""

    name = "sessions"
    table: SessionTable
    letting_go: LettingGo
    pending: PendingSlots

    def __init__(self, context: Context) -> None:
        self._opened: PendingSlots | None = None
        self.drained: Signal[RunnerId] = Signal()
        self.wanted: Signal[ModelKey] = Signal()
        self.closed: Signal[RunnerId] = Signal()

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self.table = SessionTable(
            on_drained=self.drained.emit, on_wanted=self.wanted.emit, on_closed=self.closed.emit, clock=loop.time
        )
        self.letting_go = LettingGo(self.table, loop.time, loop.call_later)
        self.pending = self._opened = PendingSlots(self.table, loop.call_later)

    def busy(self) -> bool:
        """Return whether a slot is taken of any model; `open` has been called."""
        return self.table.any_active()

    async def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

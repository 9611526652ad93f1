"""What the part `sessions` offers the parts above it."""

from __future__ import annotations

from typing import Protocol

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.signal import Signal
from orchd.sessions.letting_go import LettingGo
from orchd.sessions.pending import PendingSlots
from orchd.sessions.table import SessionTable


class Sessions(Protocol):
    """The table of slots, and its news.

    Attributes:
        drained: this runner was closed, and its last running session has ended.
        wanted: a job waits for this model, which can be started.
        closed: no session begins on this runner any more.
    """

    @property
    def table(self) -> SessionTable: ...

    @property
    def letting_go(self) -> LettingGo: ...

    @property
    def pending(self) -> PendingSlots: ...

    @property
    def drained(self) -> Signal[RunnerId]: ...

    @property
    def wanted(self) -> Signal[ModelKey]: ...

    @property
    def closed(self) -> Signal[RunnerId]: ...

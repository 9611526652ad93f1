"""What the part `realtime` offers the parts above it."""

from __future__ import annotations

from typing import Protocol

from orchd.domain.signal import Signal
from orchd.realtime.keeper import Keeper
from orchd.realtime.stream import StreamEnd


class RealtimeStreams(Protocol):
    """The keeper of streams, and its news.

    Attributes:
        ended: a stream has ended, and no request rides on it any more.
    """

    @property
    def keeper(self) -> Keeper: ...

    @property
    def ended(self) -> Signal[StreamEnd]: ...

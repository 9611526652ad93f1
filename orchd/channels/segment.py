"""The life of one segment, as one table of legal moves. Pure.

A segment is made by its writer or by a reader that waits for it. It *flows* from its first byte on; it *ends* when a
writer is done, or by others (deletion, reset, its place taken by another number, nobody resumes a broken upload), and
never begins again: bytes of a writer that goes on are for readers to come. It is *dropped* when its bytes are given
back; who still reads it then is cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum

Wake = Callable[[], None]
"""Called when it is worth asking again. It may only note that: it must not call back at once."""


class SegmentState(StrEnum):
    WAITING = "waiting"
    """No byte yet."""
    FLOWING = "flowing"
    ENDED = "ended"
    DROPPED = "dropped"


class SegmentEvent(StrEnum):
    BYTES = "bytes"
    END = "end"
    DROP = "drop"


_S, _E = SegmentState, SegmentEvent

SEGMENT_MOVES: Mapping[SegmentState, Mapping[SegmentEvent, SegmentState]] = {
    _S.WAITING: {_E.BYTES: _S.FLOWING, _E.END: _S.ENDED},
    _S.FLOWING: {_E.BYTES: _S.FLOWING, _E.END: _S.ENDED, _E.DROP: _S.DROPPED},
    _S.ENDED: {_E.BYTES: _S.ENDED, _E.END: _S.ENDED, _E.DROP: _S.DROPPED},
    _S.DROPPED: {_E.END: _S.DROPPED},
}
"""What is not in it raises: there is nothing to drop before the first byte, nor to add after the drop."""


class TrickleSegment:
    """The bytes under one number.

    Attributes:
        data: one buffer, whatever the pieces were: small pieces must not cost more memory than large ones.
        readers, writers: the requests that hold it, with how to wake them.
        in_window: it can be found by its number; if not, only who reads it already knows of it.
        given_up: it was dropped while it could be found: nobody gets what its writers still bring.
    """

    __slots__ = ("data", "given_up", "in_window", "readers", "seq", "state", "writers")

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.state = SegmentState.WAITING
        self.data = bytearray()
        self.in_window = True
        self.given_up = False
        self.readers: dict[object, Wake] = {}
        self.writers: dict[object, Wake] = {}

    @property
    def is_open(self) -> bool:
        return self.state in (SegmentState.WAITING, SegmentState.FLOWING)

    def append(self, piece: bytes) -> None:
        self._move(SegmentEvent.BYTES)
        self.data += piece
        self._wake(self.readers)

    def end(self) -> None:
        """End it; a repeat changes nothing. Readers end, and a writer without a byte has nothing to wait for."""
        self._move(SegmentEvent.END)
        self._wake(self.readers)
        self._wake(self.writers)

    def drop(self) -> None:
        """Give its bytes back."""
        self._move(SegmentEvent.DROP)
        self.data = bytearray()
        self._wake(self.readers)
        self._wake(self.writers)

    def _move(self, event: SegmentEvent) -> None:
        self.state = SEGMENT_MOVES[self.state][event]

    @staticmethod
    def _wake(who: Mapping[object, Wake]) -> None:
        for wake in tuple(who.values()):
            wake()

"""PURE. Channels and segments of trickle as go-livepeer's server keeps them, its oddities included.

A channel holds at most five segments, in slots by `seq mod 5`. Writers append to a segment object, readers keep their
own hold on it: what is evicted stays readable for whoever has it. Every method runs to its end without an await, so
one event loop is all the locking there is. Source: trickle.md 1 to 8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

WINDOW = 5
SWEEP_EVERY_S = 60.0
IDLE_LIMIT_S = 300.0
NEXT, CURRENT = -1, -2
"""Sequence words: the head, to be written next; and the newest segment that has bytes."""


class BadSequence(Exception):
    """A negative number that is no word. The reference server crashes or hangs; trickle.md 2 asks for a 400."""


@dataclass(eq=False)
class Segment:
    """Bytes under one number. `watchers` are called on every piece and on close."""

    seq: int
    pieces: list[bytes] = field(default_factory=list)
    closed: bool = False
    watchers: set[Callable[[], None]] = field(default_factory=set)

    def append(self, piece: bytes) -> None:
        """Add bytes, also after the close: a writer that goes on is still heard by new readers."""
        self.pieces.append(piece)
        self._tell()

    def close(self) -> None:
        self.closed = True
        self._tell()

    def _tell(self) -> None:
        for watcher in tuple(self.watchers):
            watcher()


@dataclass
class Channel:
    """`now` is in seconds on the server's clock; `touched_at` is when a segment last got its first byte."""

    name: str
    mime_type: str
    now: Callable[[], float]
    head: int = 0
    closed: bool = False
    touched_at: float = field(init=False)
    slots: list[Segment | None] = field(default_factory=lambda: [None] * WINDOW)

    def __post_init__(self) -> None:
        self.touched_at = self.now()

    def held(self, seq: int) -> Segment | None:
        segment = self.slots[seq % WINDOW]
        return segment if segment is not None and segment.seq == seq else None

    def segments(self) -> Iterator[Segment]:
        return (segment for segment in self.slots if segment is not None)

    def resolve_read(self, seq: int) -> int:
        """Raises `BadSequence`."""
        if seq == NEXT:
            return self.head
        if seq == CURRENT:
            return max(self.head - 1, 0)
        if seq < 0:
            raise BadSequence
        return seq

    def open_for_read(self, seq: int) -> Segment | None:
        """Return the segment `seq` (resolved), or None when it is gone or too far ahead (470).

        A reader may be first at the head, and at 1 while nothing was written. The segment it makes takes the slot
        without closing what was there: that one's readers end with its writer.
        """
        segment = self.held(seq)
        if segment is None and (seq == self.head or (seq == 1 and self.head == 0)):
            segment = self.slots[seq % WINDOW] = Segment(seq)
        return segment

    def open_for_write(self, seq: int, *, reset: bool = False) -> Segment:
        """Find or make the segment to write; another one in its slot is closed. Reserves the slot before any byte.

        `reset` closes every held segment below it: its publisher starts anew. Raises `BadSequence`.
        """
        if seq == NEXT:
            seq = self.head
        if seq < 0:
            raise BadSequence
        if reset:
            for lower in self.segments():
                if lower.seq < seq:
                    lower.close()
        segment = self.held(seq)
        if segment is None:
            if (before := self.slots[seq % WINDOW]) is not None:
                before.close()
            segment = self.slots[seq % WINDOW] = Segment(seq)
        return segment

    def wrote_first(self, segment: Segment) -> None:
        """A writer's first byte, or its end without one: moves the head, also backwards."""
        self.head = segment.seq + 1
        self.touched_at = self.now()

    def close_segment(self, seq: int) -> bool:
        """Return False if it is not held. Raises `BadSequence`."""
        if seq < 0:
            raise BadSequence
        segment = self.held(seq)
        if segment is not None:
            segment.close()
        return segment is not None

    def close(self) -> None:
        """Mark the channel first: woken readers must see that it is gone."""
        self.closed = True
        for segment in self.segments():
            segment.close()


class Channels:
    """The names of one server. `changes` is the changefeed, told of every channel made and removed."""

    CHANGES = "_changes"

    def __init__(self, now: Callable[[], float], *, changefeed: bool = False) -> None:
        self._now = now
        self._by_name: dict[str, Channel] = {}
        self._changefeed = changefeed
        if changefeed:
            self.create(self.CHANGES, "application/json")

    def get(self, name: str) -> Channel | None:
        return self._by_name.get(name)

    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    def create(self, name: str, mime_type: str) -> Channel:
        """Return the channel; one that exists keeps its type."""
        channel = self._by_name.get(name)
        if channel is None:
            channel = self._by_name[name] = Channel(name, mime_type, self._now)
            self._announce("added", name)
        return channel

    def remove(self, name: str) -> bool:
        """Close and forget; False if there is no such channel."""
        channel = self._by_name.get(name)
        if channel is None:
            return False
        channel.close()
        del self._by_name[name]
        self._announce("removed", name)
        return True

    def publish(self, name: str, data: bytes) -> bool:
        """Write one whole segment at the head, as code inside the node does; False if there is no such channel."""
        channel = self._by_name.get(name)
        if channel is None:
            return False
        segment = channel.open_for_write(NEXT)
        channel.wrote_first(segment)
        segment.append(data)
        segment.close()
        return True

    def sweep(self) -> tuple[str, ...]:
        """Remove the channels without a first byte for five minutes; return their names."""
        idle = tuple(
            name
            for name, channel in self._by_name.items()
            if not name.startswith("_") and self._now() - channel.touched_at > IDLE_LIMIT_S
        )
        for name in idle:
            self.remove(name)
        return idle

    def _announce(self, what: str, name: str) -> None:
        if self._changefeed:
            self.publish(self.CHANGES, f'{{"{what}":["{name}"]}}'.encode())

"""One channel: the numbers of its segments, which of them are held, and the bytes that they take. Pure.

Held are five at most: a number's place is its remainder by five, and who takes a place ends and forgets what was
there. The *head* is the number to be written next. Whatever has begun or ended, and is held, is below the head: it
never names a segment that is over, where a reader or a writer sent there would be stuck.

Here the reference server is corrected (docs/protocol/trickle.md 9): late bytes for an old number leave the head alone,
unless it is too old to be late: then a publisher has started again and takes the channel over.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchd.channels.segment import SegmentState, TrickleSegment
from orchd.channels.tally import Crowd, Tally

WINDOW = 5
NEXT, CURRENT = -1, -2
"""Words in place of a number: the head, and the newest segment that has begun."""


class Channel:
    """A name with segments.

    Args:
        tally: of all channels.
        now: seconds.
        idle_s: how many seconds may pass without a byte; infinite = who made the channel removes it.

    Attributes:
        mime_type: of all segments, fixed.
        crowd: of its session's channels.
        head: the number to be written next.
        gone: it has been removed; who still reads it gets what was held.
        written_at: seconds; when the last byte came, or it was made.
        size: bytes in memory, of segments that can be found and of those that are only read any more.
    """

    def __init__(self, name: str, mime_type: str, tally: Tally, crowd: Crowd, now: float, idle_s: float) -> None:
        self.name = name
        self.mime_type = mime_type
        self.head = 0
        self.gone = False
        self.written_at = now
        self.size = 0
        self._tally = tally
        self.crowd = crowd
        self._idle_s = idle_s
        self._places: list[TrickleSegment | None] = [None] * WINDOW
        self._lagging: dict[TrickleSegment, None] = {}  # Only read any more; the oldest comes first.

    def is_idle(self, now: float) -> bool:
        return now - self.written_at > self._idle_s

    def held(self, seq: int) -> TrickleSegment | None:
        segment = self._places[seq % WINDOW]
        return segment if segment is not None and segment.seq == seq else None

    def segments(self) -> tuple[TrickleSegment, ...]:
        """Return what can be found by its number."""
        return tuple(segment for segment in self._places if segment is not None)

    def number_to_read(self, word: int) -> int | None:
        """Return the number that a reader means; None = there is no such word."""
        if word == NEXT:
            return self.head
        if word == CURRENT:
            return max(self.head - 1, 0)
        return word if word >= 0 else None

    def number_to_write(self, word: int) -> int | None:
        """Return the number that a writer means; None = there is no such word."""
        if word == NEXT:
            return self.head
        return word if word >= 0 else None

    def find_or_await(self, seq: int) -> TrickleSegment | None:
        """Return the segment for a reader; None = it is gone or too far ahead.

        A reader may be first at the head, and one further while nothing has been written.
        """
        segment = self.held(seq)
        if segment is None and (seq == self.head or (seq == 1 and self.head == 0)):
            segment = self._make(seq)
        return segment

    def find_or_make(self, seq: int) -> TrickleSegment:
        """Return the segment for a writer, which takes its place before any byte has come."""
        return self.held(seq) or self._make(seq)

    def append(self, segment: TrickleSegment, piece: bytes, now: float) -> None:
        """Add bytes to a segment in the window; the first ones move the head."""
        self.written_at = self.crowd.moved_at = now
        if segment.state is SegmentState.WAITING:
            self._begin(segment.seq)
        self.size += len(piece)
        self._tally.size += len(piece)
        self.crowd.size += len(piece)
        segment.append(piece)

    def finish(self, segment: TrickleSegment, now: float) -> None:
        """End a segment as its writer: one without a byte counts as written, too."""
        self.written_at = now
        if segment.in_window and segment.state is SegmentState.WAITING:
            self._begin(segment.seq)
        segment.end()

    def end(self, segment: TrickleSegment) -> None:
        """End a held segment as somebody else: readers get what it has, and the head moves past it."""
        self.head = max(self.head, segment.seq + 1)
        segment.end()

    def end_below(self, seq: int) -> None:
        """End what a publisher that has started again at `seq` has left."""
        for lower in self.segments():
            if lower.seq < seq:
                self.end(lower)

    def remove(self) -> None:
        """End all, for good. It is marked first: who is woken must see that it is gone."""
        self.gone = True
        for segment in self.segments():
            self._forget(segment)

    def enter(self) -> None:
        """Count a request that holds a segment of it."""
        self._tally.requests += 1
        self.crowd.requests += 1

    def exit(self) -> None:
        """That request holds it no more."""
        self._tally.requests -= 1
        self.crowd.requests -= 1

    def let_go(self, segment: TrickleSegment) -> None:
        """A reader has left: give the bytes back that nobody can find or reads any more."""
        if segment in self._lagging and not segment.readers:
            self._give_back(segment)

    def to_spare(self) -> Iterator[TrickleSegment]:
        """Yield what may be dropped when bytes are short: first what lags behind, then the lowest number.

        What is being written is not among it: see `written`.
        """
        yield from tuple(self._lagging)
        idle = (segment for segment in self.segments() if segment.data and not segment.writers)
        yield from sorted(idle, key=lambda segment: segment.seq)

    def written(self) -> tuple[TrickleSegment, ...]:
        """Return what has bytes and is being written."""
        return tuple(segment for segment in self.segments() if segment.data and segment.writers)

    def drop(self, segment: TrickleSegment) -> None:
        """Give the bytes of a segment back at once; its readers are cut off, and its writers refused."""
        if segment.in_window:
            self._places[segment.seq % WINDOW] = None
            segment.in_window = False
            segment.given_up = True
            self._tally.refused += len(segment.writers)
        self._give_back(segment)

    def _make(self, seq: int) -> TrickleSegment:
        before = self._places[seq % WINDOW]
        if before is not None:
            self._forget(before)
        segment = self._places[seq % WINDOW] = TrickleSegment(seq)
        return segment

    def _begin(self, seq: int) -> None:
        """Move the head as a segment begins; what is below it and has no writer gets nothing more."""
        if seq <= self.head - WINDOW:
            self._take_over(seq)
        self.head = max(self.head, seq + 1)
        for lower in self.segments():
            if lower.seq < seq and lower.is_open and not lower.writers:
                lower.end()

    def _take_over(self, seq: int) -> None:
        """Forget what a former publisher has left above: it would be in the way of this one."""
        self.head = seq + 1
        for above in self.segments():
            preconnected = above.state is SegmentState.WAITING and above.writers
            if above.seq > seq and not preconnected:
                self._forget(above)

    def _forget(self, segment: TrickleSegment) -> None:
        """End a segment and let nobody find it again; who reads it still gets all of it."""
        self._places[segment.seq % WINDOW] = None
        segment.in_window = False
        segment.end()
        if not segment.data:
            return
        if segment.readers:
            self._lagging[segment] = None
        else:
            self._give_back(segment)

    def _give_back(self, segment: TrickleSegment) -> None:
        self._lagging.pop(segment, None)
        size = len(segment.data)
        segment.drop()
        self.size -= size
        self.crowd.size -= size
        self._tally.give_back(size)

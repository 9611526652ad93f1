"""The channels of a server: their names, what they may hold together, what time brings. Pure.

**When bytes are short**, each session has a fair share: what all may hold, divided by the sessions that hold bytes. A
session alone may use all; one within its share loses nothing to others. Sessions that hold more give what is not being
written: the largest channel first, of that what only slow readers still hold, then its oldest segments. If that is not
enough, an upload that would bring its session above the share waits, and is refused when it has waited long enough; one
that would not gets its room from the session that holds most, which gives up what is being written, its largest segment
first: readers are cut off, so that nobody takes what they have for complete, and its writer is refused.

That is always enough: where a session within its share finds no room, the others hold more than theirs on average, and
who holds most holds more than the piece needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from orchd.channels import answers
from orchd.channels.answers import TrickleAnswer
from orchd.channels.bounds import Bounds
from orchd.channels.channel import Channel
from orchd.channels.reading import SegmentReader
from orchd.channels.segment import SegmentState, TrickleSegment, Wake
from orchd.channels.tally import Crowd, Tally
from orchd.channels.upload import Upload


class TooManyChannels(Exception):
    """There are as many channels as there may be."""


class Channels:
    """All channels by name. Times are seconds of one clock that never goes back."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._tally = Tally()
        self._by_name: dict[str, Channel] = {}
        self._crowds: dict[str, Crowd] = {}
        self._removed: dict[Channel, None] = {}  # Those of which somebody still reads.
        self._short_since: dict[object, float] = {}
        self._broken: dict[TrickleSegment, float] = {}  # Until when.

    @property
    def size(self) -> int:
        """Bytes in memory, of all channels and of what is still read of removed ones."""
        return self._tally.size

    @property
    def requests(self) -> int:
        """Reads and writes under way."""
        return self._tally.requests

    @property
    def refused(self) -> int:
        """Requests for which there was no room so far: of bytes, or among those under way."""
        return self._tally.refused

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str) -> Channel | None:
        return self._by_name.get(name)

    def moved_at(self, session: str) -> float | None:
        """Return when the last byte came in a channel of this session, or one was made; None = it has none."""
        crowd = self._crowds.get(session)
        return crowd.moved_at if crowd is not None and crowd.channels else None

    def create(self, name: str, mime_type: str, now: float, idle_s: float = inf, session: str = "") -> Channel:
        """Make a channel; one that is there already stays as it is, its type too.

        Args:
            idle_s: without a byte for longer, `tick` removes it; by default that is its maker's business.
            session: whose it is; the requests on all channels of one session are bounded together.

        Raises:
            TooManyChannels.
        """
        channel = self._by_name.get(name)
        if channel is None:
            if len(self._by_name) >= self._bounds.channels:
                raise TooManyChannels(name)
            crowd = self._crowds.setdefault(session, Crowd(session))
            crowd.channels += 1
            crowd.moved_at = now
            channel = self._by_name[name] = Channel(name, mime_type, self._tally, crowd, now, idle_s)
        return channel

    def remove(self, name: str) -> bool:
        """End all that is read or awaited of a channel, and forget its name; False = there was none."""
        channel = self._by_name.get(name)
        if channel is None:
            return False
        channel.remove()
        del self._by_name[name]
        channel.crowd.channels -= 1
        if channel.size:
            self._removed[channel] = None
        return True

    def read(self, channel: Channel, word: int, wake: Wake) -> SegmentReader | TrickleAnswer:
        """Begin a GET: return the reader's hold on the segment, or the answer if there is nothing to wait for."""
        seq, head = channel.number_to_read(word), channel.head
        if seq is None:
            return answers.BAD_NUMBER
        if self._is_busy(channel):
            return answers.BUSY
        segment = channel.find_or_await(seq)
        return answers.not_held(seq, head) if segment is None else SegmentReader(channel, segment, head, wake)

    def publish(self, channel: Channel, word: int, wake: Wake, *, reset: bool = False) -> Upload | TrickleAnswer:
        """Begin a POST: return the writer's hold on the segment.

        Args:
            reset: its publisher has started again; what it left below this segment gets nothing more.
        """
        seq = channel.number_to_write(word)
        if seq is None:
            return answers.BAD_NUMBER
        if self._is_busy(channel):
            return answers.BUSY
        if reset:
            channel.end_below(seq)
        return Upload(self, channel, channel.find_or_make(seq), wake)

    def _is_busy(self, channel: Channel) -> bool:
        """Return whether no more requests may be under way, and count that."""
        busy = self.requests >= self._bounds.requests or channel.crowd.requests >= self._bounds.session_requests
        self._tally.refused += busy
        return busy

    def end_segment(self, channel: Channel, seq: int) -> TrickleAnswer:
        """End one segment for its readers and for a writer without a byte; what it has stays readable."""
        if seq < 0:
            return answers.BAD_NUMBER
        segment = channel.held(seq)
        if segment is None:
            return answers.NO_SEGMENT_TO_END
        channel.end(segment)
        return answers.OK

    def tick(self, now: float) -> list[str]:
        """Do what is due, about once a second: end segments that nobody resumes, remove idle channels, and let uploads
        that wait for room see how long they have waited.

        Returns:
            The names of the channels that were removed.
        """
        self._tally.wake()
        for segment in [segment for segment, until in self._broken.items() if until <= now]:
            del self._broken[segment]
            if segment.state is SegmentState.FLOWING and not segment.writers:
                segment.end()
        self._removed = {channel: None for channel in self._removed if channel.size}
        idle = [name for name, channel in self._by_name.items() if channel.is_idle(now)]
        for name in idle:
            self.remove(name)
        self._crowds = {session: crowd for session, crowd in self._crowds.items() if crowd.counts}
        return idle

    # What uploads ask for: `RoomKeeper`.

    def fits(self, size: int) -> bool:
        return size <= self._bounds.segment_bytes

    def make_room(self, channel: Channel, size: int) -> bool:
        for segment in channel.to_spare():
            if channel.size + size <= self._bounds.channel_bytes:
                break
            channel.drop(segment)
        return channel.size + size <= self._bounds.channel_bytes and self._make_room_in_all(channel.crowd, size)

    def _make_room_in_all(self, asker: Crowd, size: int) -> bool:
        if self._tally.size + size <= self._bounds.all_bytes:
            return True
        for channel, segment in self._to_give(asker, size):
            channel.drop(segment)
            if self._tally.size + size <= self._bounds.all_bytes:
                return True
        return False

    def _to_give(self, asker: Crowd, size: int) -> Iterator[tuple[Channel, TrickleSegment]]:
        """Yield what is to be dropped for `size` more bytes of a session, as long as there is no room."""
        holders = [crowd for crowd in self._crowds.values() if crowd.size or crowd is asker]
        share = self._bounds.all_bytes // len(holders)
        within = asker.size + size <= share
        everywhere = sorted((*self._removed, *self._by_name.values()), key=lambda each: each.size, reverse=True)
        for channel in everywhere:
            for segment in channel.to_spare():
                if channel.crowd.size > share or (channel.crowd is asker and not within):
                    yield channel, segment
        if within:
            most = max(holders, key=lambda crowd: crowd.size)
            left = [
                (channel, segment) for channel in everywhere if channel.crowd is most for segment in channel.written()
            ]
            yield from sorted(left, key=lambda each: len(each[1].data), reverse=True)

    def wait_for_room(self, upload: object, wake: Wake, now: float) -> bool:
        since = self._short_since.setdefault(upload, now)
        self._tally.waiting[upload] = wake
        waits = now - since < self._bounds.room_wait_s
        self._tally.refused += not waits
        return waits

    def stop_waiting(self, upload: object) -> None:
        self._short_since.pop(upload, None)
        self._tally.waiting.pop(upload, None)

    def broke_off(self, segment: TrickleSegment, now: float) -> None:
        self._broken[segment] = now + self._bounds.rejoin_s

    def writer_left(self) -> None:
        self._tally.wake()

"""One POST of a segment: where its bytes go, when it is answered, when it must wait. Pure."""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

from orchd.channels import answers
from orchd.channels.answers import TrickleAnswer
from orchd.channels.channel import Channel
from orchd.channels.segment import SegmentState, TrickleSegment, Wake


class Took(Enum):
    """What became of a piece."""

    TAKEN = auto()
    WAIT = auto()
    """There is no room: keep the piece, read no more from the connection, and offer it again when woken, or after a
    second: waiting is bounded."""


class RoomKeeper(Protocol):
    """What an upload asks of what bounds memory."""

    def fits(self, size: int) -> bool:
        """Return whether a segment may be this long."""

    def make_room(self, channel: Channel, size: int) -> bool:
        """Make room for `size` more bytes in a channel, at the cost of what is held; False = it can't be."""

    def wait_for_room(self, upload: object, wake: Wake, now: float) -> bool:
        """Have `wake` called when there may be room; False = this upload has waited as long as it may."""

    def stop_waiting(self, upload: object) -> None:
        """Forget that an upload waits."""

    def broke_off(self, segment: TrickleSegment, now: float) -> None:
        """End a segment later, unless somebody resumes it."""

    def writer_left(self) -> None:
        """Note that what this upload has written may be dropped now."""


class Upload:
    """A writer's hold on a segment, from the request to `leave`.

    What comes for a segment that was over before is read and lost, and answered as usual: clients that post a number
    twice must not be told an error (docs/protocol/trickle.md 9, Q2). Whose segment is given up for others is refused.

    Args:
        wake: called when `early` may have an answer, or a piece that was not taken may be offered again.
    """

    def __init__(self, keeper: RoomKeeper, channel: Channel, segment: TrickleSegment, wake: Wake) -> None:
        self._keeper = keeper
        self._channel = channel
        self._segment = segment
        self._wake = wake
        self._adds = segment.is_open
        self._size = 0
        segment.writers[self] = wake
        channel.enter()

    def early(self) -> TrickleAnswer | None:
        """Return the answer to an upload that has nothing to wait for; None = go on reading.

        Ask when woken: its segment may have ended by others before a byte of the body came, or been given up.
        """
        if self._is_given_up:
            return answers.no_room(self._segment.seq)
        if self._size or self._segment.is_open:
            return None
        return answers.written(self._segment.seq, any_byte=False, gone=self._channel.gone)

    def take(self, piece: bytes, now: float) -> Took | TrickleAnswer:
        """Take a piece of the body.

        Args:
            piece: not empty.

        Returns:
            What became of it, or the answer if the upload can't go on.
        """
        if self._is_given_up:
            return answers.no_room(self._segment.seq)
        length = max(self._size, len(self._segment.data) if self._adds else 0) + len(piece)
        if not self._keeper.fits(length):
            return self._refuse(answers.too_long(self._segment.seq), now)
        if self._adds and self._segment.in_window:
            if not self._keeper.make_room(self._channel, len(piece)):
                if self._keeper.wait_for_room(self, self._wake, now):
                    return Took.WAIT
                return self._refuse(answers.no_room(self._segment.seq), now)
            self._keeper.stop_waiting(self)
            self._channel.append(self._segment, piece, now)
        self._size += len(piece)
        return Took.TAKEN

    def end(self, now: float) -> TrickleAnswer:
        """End the segment with the body, and return the answer; readers are not waited for."""
        if self._is_given_up:
            return answers.no_room(self._segment.seq)
        if self._adds:
            self._channel.finish(self._segment, now)
        return answers.written(self._segment.seq, any_byte=self._size > 0, gone=self._channel.gone)

    def leave(self, now: float) -> None:
        """Let go of the segment: after an answer, or because the client has vanished. A repeat changes nothing.

        A segment that broke off may be resumed; one without a byte stays for its next writer.
        """
        if self._segment.writers.pop(self, None) is None:
            return
        self._channel.exit()
        self._keeper.stop_waiting(self)
        if self._segment.state is SegmentState.FLOWING and not self._segment.writers:
            self._keeper.broke_off(self._segment, now)
        self._keeper.writer_left()

    @property
    def _is_given_up(self) -> bool:
        return self._adds and self._segment.given_up

    def _refuse(self, answer: TrickleAnswer, now: float) -> TrickleAnswer:
        if self._adds:
            self._channel.finish(self._segment, now)
        return answer

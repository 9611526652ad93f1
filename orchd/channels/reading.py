"""One GET of a segment: when its answer begins, what of it is sent next, how it ends. Pure."""

from __future__ import annotations

from enum import Enum, auto

from orchd.channels import answers
from orchd.channels.answers import TrickleAnswer
from orchd.channels.channel import Channel
from orchd.channels.segment import SegmentState, TrickleSegment, Wake


class ReadMark(Enum):
    """What a reader gets that is neither an answer nor bytes."""

    WAIT = auto()
    """Nothing yet: ask again when woken."""
    END = auto()
    """The segment is complete: end the body."""
    CUT = auto()
    """Its bytes had to be given back: break the connection off, so that nobody takes the rest for complete."""


class SegmentReader:
    """A reader's hold on a segment, from the request to `leave`.

    Nothing is answered before the first byte or the end: that a channel is gone is told by a header. A slow reader
    takes what it can send, and keeps its segment while others are written; only bounded memory ends that.

    Args:
        wake: called when `step` may have something new.
    """

    def __init__(self, channel: Channel, segment: TrickleSegment, head: int, wake: Wake) -> None:
        self._channel = channel
        self._segment = segment
        self._head = head
        self._at = 0
        self._begun = False
        segment.readers[self] = wake
        channel.enter()

    def step(self, most: int) -> TrickleAnswer | bytes | ReadMark:
        """Return what comes next: first an answer, with its body or none; then bytes until `END` or `CUT`.

        Args:
            most: bytes that the connection takes now.
        """
        segment = self._segment
        if segment.state is SegmentState.DROPPED:
            return ReadMark.CUT if self._begun else answers.not_held(segment.seq, self._channel.head)
        if not self._begun:
            return self._begin()
        if self._at < len(segment.data):
            piece = bytes(segment.data[self._at : self._at + most])
            self._at += len(piece)
            return piece
        return ReadMark.WAIT if segment.is_open else ReadMark.END

    def _begin(self) -> TrickleAnswer | ReadMark:
        segment, channel = self._segment, self._channel
        if segment.data:
            self._begun = True
            return answers.data_follows(segment.seq, self._head, channel.mime_type)
        if segment.is_open:
            return ReadMark.WAIT
        return answers.no_data(segment.seq, channel.head, gone=channel.gone)

    def leave(self) -> None:
        """Let go of the segment, at the end or in the middle. A repeat changes nothing."""
        if self._segment.readers.pop(self, None) is not None:
            self._channel.exit()
            self._channel.let_go(self._segment)

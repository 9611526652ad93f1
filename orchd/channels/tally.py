"""What is counted: the bytes that all channels hold, who waits for some, and the requests under way. Pure."""

from __future__ import annotations

from orchd.channels.segment import Wake


class Crowd:
    """What the channels of one session hold, and the requests under way on them.

    Attributes:
        session: its id.
        size: bytes in memory, what is still read of removed channels included.
        requests: reads and writes that hold a segment.
        channels: that the session has.
        moved_at: seconds; when the last byte came in one of them, or one was made.
    """

    __slots__ = ("channels", "moved_at", "requests", "session", "size")

    def __init__(self, session: str) -> None:
        self.session = session
        self.size = self.requests = self.channels = 0
        self.moved_at = 0.0

    @property
    def counts(self) -> bool:
        """Whether there is still something of this session."""
        return bool(self.channels or self.size or self.requests)


class Tally:
    """Counts bytes in memory, and requests under way.

    Attributes:
        size: bytes.
        requests: reads and writes that hold a segment.
        refused: requests for which there was no room: of bytes, or among those under way.
        waiting: uploads that found no room, with how to wake them.
    """

    def __init__(self) -> None:
        self.size = self.requests = self.refused = 0
        self.waiting: dict[object, Wake] = {}

    def give_back(self, size: int) -> None:
        """Count bytes out."""
        self.size -= size
        self.wake()

    def wake(self) -> None:
        """Let all who wait try again: bytes were given back, or may be now."""
        for wake in tuple(self.waiting.values()):
            wake()

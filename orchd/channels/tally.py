"""How many bytes all channels hold, and who waits for some to be given back. Pure."""

from __future__ import annotations

from orchd.channels.segment import Wake


class Tally:
    """Counts bytes in memory.

    Attributes:
        size: bytes.
        waiting: uploads that found no room, with how to wake them.
    """

    def __init__(self) -> None:
        self.size = 0
        self.waiting: dict[object, Wake] = {}

    def give_back(self, size: int) -> None:
        """Count bytes out."""
        self.size -= size
        self.wake()

    def wake(self) -> None:
        """Let all who wait try again: bytes were given back, or may be now."""
        for wake in tuple(self.waiting.values()):
            wake()

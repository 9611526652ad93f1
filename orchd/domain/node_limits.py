"""How much Livepeer Node takes, and how much of it is used. Source: docs/protocol/livepeer-node.md, 4. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

RUNNERS = 256
STREAM_PLACES = 256
CHANNELS = 768
CHANNELS_PER_STREAM = 5
"""In, out, control, events, data."""
NEAR = 0.8
"""Share of a limit from which on it is shown."""


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """What is asked of one node.

    Attributes:
        runners: models that are registered.
        sessions: jobs and streams at once.
        streams: of these, realtime sessions with media channels.
    """

    runners: int
    sessions: int
    streams: int

    def reaching(self, share: float) -> Iterator[tuple[str, int, int]]:
        """Yield what uses at least this share of its limit: in words, how many, of how many."""
        used = (
            ("runners", self.runners, RUNNERS),
            ("calls to runners at once, orchd's own polls among them", self.sessions, STREAM_PLACES),
            ("media and event channels", self.runners + self.streams * CHANNELS_PER_STREAM, CHANNELS),
        )
        return ((what, count, most) for what, count, most in used if count >= share * most)

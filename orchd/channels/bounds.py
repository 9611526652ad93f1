"""How much the channels may hold. Pure."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of all channels of a server; the first two are Livepeer Node's (docs/protocol/livepeer-node.md 4).

    Attributes:
        channels: at once.
        segment_bytes: of one segment; a longer upload is answered 413.
        channel_bytes: of one channel, what slow readers still read of it included.
        all_bytes: of all channels together, counted alike; shared fairly between sessions (`channels`).
        room_wait_s: how long an upload may wait for room before it is answered 503.
        requests: reads and writes under way at once; more are answered 503.
        session_requests: the same of one session's channels.
        rejoin_s: how long an upload that broke off may be resumed before its segment ends.

    Raises:
        ValueError: a segment would not fit into a channel, or a channel not into what all may hold.
    """

    channels: int = 768
    segment_bytes: int = 10_000_000
    channel_bytes: int = 32 * MIB
    all_bytes: int = 256 * MIB
    room_wait_s: float = 5.0
    requests: int = 1024
    session_requests: int = 128
    rejoin_s: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.segment_bytes <= self.channel_bytes <= self.all_bytes:
            raise ValueError(
                f"cannot bound channels: a segment ({self.segment_bytes} bytes) must fit into a channel "
                f"({self.channel_bytes}), and that into all ({self.all_bytes})"
            )

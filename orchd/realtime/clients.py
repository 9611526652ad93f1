"""Ends streams whose client has gone without a word.

At the node a session has no limit of time (docs/protocol/livepeer-node.md, 8.2), and a container may stay busy with a
stream that nobody feeds. Where orchd had the channels made, it can see whether the client still sends: the number of
segments in those that it writes moves with its video, and with its keep-alives.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from orchd.domain.outcomes import Outcome
from orchd.domain.phases import StreamPhase
from orchd.realtime.keeper import Keeper
from orchd.realtime.stream import Stream

LOOK_S = 10.0
"""Seconds between two looks, at most; keep-alives come as often."""


class _Seen(NamedTuple):
    """Where the client's channels were, and since when (loop clock, seconds)."""

    heads: tuple[int, ...]
    since: float


class ClientWatch:
    """Looks at the channels of running streams.

    Args:
        silence_s: longest time without anything from a client.
    """

    def __init__(self, keeper: Keeper, silence_s: float) -> None:
        self._keeper = keeper
        self._silence_s = silence_s
        self._seen: dict[Stream, _Seen] = {}

    async def run(self) -> None:
        """Look from time to time until cancelled."""
        while True:
            await asyncio.sleep(min(LOOK_S, self._silence_s / 6))
            streams = [each for each in self._keeper.streams if each.channels and each.phase is StreamPhase.RUNNING]
            self._seen = {stream: seen for stream, seen in self._seen.items() if stream in streams}
            await asyncio.gather(*(self._look(stream) for stream in streams))

    async def _look(self, stream: Stream) -> None:
        heads = None if stream.channels is None else await stream.channels.client_heads()
        now, before = asyncio.get_running_loop().time(), self._seen.pop(stream, None)
        if heads is None or stream.phase is not StreamPhase.RUNNING:
            return  # That the node says nothing is not the client's fault.
        if before is None or heads != before.heads or stream.riders:
            before = _Seen(heads, now)
        self._seen[stream] = before
        if now - max(before.since, stream.request_at) >= self._silence_s:
            self._keeper.end_soon(stream, Outcome.TIMEOUT, f"its client has sent nothing for {self._silence_s:g} s")

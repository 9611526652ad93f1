"""Ends streams that the node carries no more: a stop that never reached orchd would leave their slots taken.

It may be lost with a restart of the node, where the gateway's stop is answered before we have registered again, or come
while orchd is away; or the gateway has died. So the node is asked about each stream when it is new to us, at each start
of the node, and now and then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

import structlog

from orchd.advertise.listings import Listings
from orchd.advertise.registry import Registry, StreamRegistry
from orchd.domain.outcomes import Outcome
from orchd.domain.phases import StreamPhase
from orchd.node.ports import NodeError
from orchd.realtime.stream import Stream

log = structlog.get_logger("orchd.advertise")

TURN_S = 1.0
"""How often it is checked whether a stream is due to be asked about."""


STOPPED = "it was stopped at the node, and the stop did not reach orchd"
FORGOTTEN = "the node does not carry it any more: it was restarted, or the stop came while orchd was away"


class KeepsStreams(Protocol):
    """The keeper of streams, as far as it is used here; see `orchd.realtime.keeper.Keeper`."""

    @property
    def streams(self) -> Iterable[Stream]: ...

    def end_soon(self, stream: Stream, outcome: Outcome, why: str) -> None: ...


class _SeenAlive(NamedTuple):
    """Attributes:
    epoch: the start of the node that carried it when it was asked.
    at: when that was; loop clock.
    """

    epoch: int
    at: float


class GoneStreams:
    """Asks the node about its streams.

    Args:
        keeper: has the streams.
        registries: by name, which is also the origin of their streams.
        check_s: seconds between two questions about one stream.
    """

    def __init__(
        self, keeper: KeepsStreams, listings: Listings, registries: Mapping[str, Registry], check_s: float
    ) -> None:
        self._keeper = keeper
        self._listings = listings
        self._registries = {name: each for name, each in registries.items() if isinstance(each, StreamRegistry)}
        self._check_s = check_s
        self._seen: dict[Stream, _SeenAlive] = {}

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await asyncio.sleep(TURN_S)
            if self._listings.node.up:
                await self._turn()

    async def _turn(self) -> None:
        streams = [each for each in self._keeper.streams if each.origin in self._registries]
        self._seen = {stream: self._seen[stream] for stream in streams if stream in self._seen}
        for stream in streams:
            node, now = self._listings.node, asyncio.get_running_loop().time()
            seen = self._seen.get(stream)
            fresh = seen is not None and seen.epoch == node.epoch and now < seen.at + self._check_s
            if fresh or stream.phase is not StreamPhase.RUNNING:
                continue
            try:
                lives = await self._registries[stream.origin].lives(stream.id)
            except NodeError as exc:
                log.debug("stream_not_asked_about", stream=stream.id, error=exc.message)
                return  # The next turn asks again.
            if lives:
                self._seen[stream] = _SeenAlive(node.epoch, now)
            else:
                same = seen is not None and seen.epoch == node.epoch
                self._keeper.end_soon(stream, Outcome.OK if same else Outcome.ABORTED, STOPPED if same else FORGOTTEN)

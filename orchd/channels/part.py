"""The channels of sessions that orchd sells itself, as a part: made and served by others, kept and bounded here."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Protocol

from orchd.channels.bounds import MIB, Bounds
from orchd.channels.metrics import ChannelsCollector
from orchd.channels.settings import ChannelsSettings
from orchd.channels.store import ChannelStore
from orchd.domain.snapshots import SnapshotSource
from orchd.domain.state import ChannelsStatus, Snapshot
from orchd.part import Context, Part, Roots

TICK_S = 1.0


class TakesContributions(Protocol):
    """See `reconcile.ports.Reconciler`."""

    @property
    def snapshots(self) -> SnapshotSource: ...


class ChannelsPart(Part):
    """Keeps the channels.

    Attributes:
        keeper: as `ports.ChannelKeeper`; there once it is open.
    """

    name = "channels"
    keeper: ChannelStore

    def __init__(self, context: Context, reconcile: TakesContributions) -> None:
        self._context = context
        self._reconcile = reconcile

    async def open(self) -> None:
        bounds = _bounds(self._context.settings.channels)
        self.keeper = ChannelStore(bounds, asyncio.get_running_loop().time)
        ChannelsCollector(self._context.metrics, self.keeper.channels)
        self._reconcile.snapshots.contribute(None, self._add_to)

    def roots(self) -> Roots:
        return {"channels": self._tick()}

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.keeper.tick()

    def _add_to(self, snapshot: Snapshot) -> Snapshot:
        channels = self.keeper.channels
        status = ChannelsStatus(len(channels), channels.size, channels.requests, channels.refused)
        return replace(snapshot, channels=status)


def _bounds(settings: ChannelsSettings) -> Bounds:
    return Bounds(
        channels=settings.max_channels,
        segment_bytes=settings.segment_mb * MIB,
        channel_bytes=settings.channel_mb * MIB,
        all_bytes=settings.memory_mb * MIB,
        requests=settings.max_requests,
        session_requests=settings.max_session_requests,
    )

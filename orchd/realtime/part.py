"""Realtime sessions, as a part: the keeper of streams, and how containers are asked about theirs."""

from __future__ import annotations

from orchd.database.database import HasDatabase
from orchd.domain.ids import ModelKey
from orchd.domain.origins import Origin
from orchd.domain.signal import Signal
from orchd.part import Context, Part, Roots
from orchd.realtime.clients import ClientWatch
from orchd.realtime.container import ContainerStreams
from orchd.realtime.keeper import Keeper
from orchd.realtime.metrics import StreamCollector
from orchd.realtime.routes import has_streams
from orchd.realtime.stream import StreamEnd
from orchd.realtime.tables import StreamTable
from orchd.reconcile.ports import Reconciler
from orchd.sessions.ports import Sessions


class RealtimePart(Part):
    """After `ports.RealtimeStreams`."""

    name = "realtime"
    keeper: Keeper

    def __init__(self, context: Context, database: HasDatabase, sessions: Sessions, reconcile: Reconciler) -> None:
        self._context = context
        self._database = database
        self._sessions = sessions
        self._reconcile = reconcile
        self._containers: ContainerStreams | None = None
        self._opened: Keeper | None = None
        self.ended: Signal[StreamEnd] = Signal()

    async def open(self) -> None:
        context = self._context
        self._containers = ContainerStreams(context.settings.streams.call_timeout_s, context.names, context.lag)
        self.keeper = self._opened = Keeper(
            context.settings.streams,
            self._sessions.table,
            self._sessions.letting_go,
            StreamTable(self._database.database),
            self._containers,
            self._reconcile.loop,
            lost_s=context.lag.lost_s,
        )
        self.keeper.ended.connect(self.ended.emit)
        self._reconcile.probed.connect(self.keeper.probed)
        self._reconcile.snapshots.contribute(self.keeper)
        StreamCollector(context.metrics, self.keeper.streams.counts, self._carries_streams)
        await self.keeper.restore()
        if not context.settings.sells_sessions:  # Nobody can come back for those that an earlier orchd has sold.
            for left in self.keeper.expected(Origin.SOLD):
                self.keeper.stopped(left.runner.key, left.name)

    def _carries_streams(self, key: ModelKey) -> bool:
        model = self._reconcile.loop.models().get(key)
        return model is not None and has_streams(model.stream)

    def roots(self) -> Roots:
        watch = ClientWatch(self.keeper, self._context.settings.streams.client_silence_s)
        return {"streams": self.keeper.run(), "clients of streams": watch.run()}

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()
        if self._containers is not None:
            await self._containers.close()

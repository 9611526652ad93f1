"""The advertiser, as a part: it tells the registries of the node which models can serve."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Protocol

from orchd import tasks
from orchd.advertise.advertiser import Advertiser
from orchd.advertise.callback import CallbackTrials
from orchd.advertise.free_slots import FreeSlots
from orchd.advertise.gone_streams import GoneStreams
from orchd.advertise.listings import Listings
from orchd.advertise.metrics import CallbackCollector, RegistryErrors, StandingsCollector
from orchd.advertise.told import OffersTold
from orchd.domain.ids import ModelKey
from orchd.domain.origins import Origin
from orchd.domain.signal import Signal
from orchd.history.ports import History
from orchd.node.ports import NodeAccess
from orchd.part import Context, Part, Roots
from orchd.rate.ports import ExchangeRate
from orchd.realtime.ports import RealtimeStreams
from orchd.realtime.stream import StreamEnd
from orchd.reconcile.ports import Reconciler
from orchd.sessions.ports import Sessions
from orchd.told_gpus import ToldGpus


class NodeBelow(Protocol):
    """What the advertiser uses of the part below it; see `orchd.node.part.NodePart`."""

    @property
    def access(self) -> NodeAccess: ...


class JobsBelow(Protocol):
    """What the advertiser uses of the part that takes jobs; see `orchd.jobs.part.JobsPart`."""

    @property
    def unanswered(self) -> Signal[ModelKey, str]: ...

    def running(self, key: ModelKey, door: str) -> int: ...


class AdvertisePart(Part):
    """Tells the node what can be served. It starts after the jobs, so that what is offered can be served.

    Attributes:
        advertiser: from `open` on.
    """

    name = "advertise"
    roots_end_first = True
    advertiser: Advertiser

    def __init__(
        self,
        context: Context,
        node: NodeBelow,
        sessions: Sessions,
        realtime: RealtimeStreams,
        reconcile: Reconciler,
        jobs: JobsBelow,
        history: History,
        rate: ExchangeRate | None,
    ) -> None:
        self._context = context
        self._node = node
        self._sessions = sessions
        self._realtime = realtime
        self._reconcile = reconcile
        self._history = history
        self._jobs = jobs
        self._rate = rate
        self._told = OffersTold(history)
        self._stops: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        context, node, rules = self._context, self._node.access, self._context.settings.orchestrator
        table, keeper = self._sessions.table, self._realtime.keeper
        self._free = FreeSlots(table, keeper)
        listings = Listings(
            active=table.running,
            begun=table.begun,
            streams=lambda key, door: keeper.count(key, Origin(door)),
            jobs=self._jobs.running,
            on_error=RegistryErrors(context.metrics).registry_error,
            told=self._told.published,
            slots=self._free,
        )
        node.watch.polled.connect(self._told.node)
        node.watch.polled.connect(listings.set_node)
        node.secret_file.changed.connect(listings.wake)
        gpus = ToldGpus(self._reconcile.gpus, context.settings.docker.gpu_ids)
        self.advertiser = advertiser = Advertiser(
            rules, listings, node, self._rate, keeper, context.settings.instance, gpus
        )
        keeper.over_at_node.connect(self._stop_session)
        trials = CallbackTrials(rules, listings, node, context.names, advertiser.registries, self._history)
        self._callback = trials
        self._reconcile.snapshots.contribute(
            advertiser, lambda snapshot: replace(snapshot, node=replace(node.watch.status, callback=trials.status))
        )
        CallbackCollector(context.metrics, lambda: trials.status)
        self._jobs.unanswered.connect(listings.leaks.note)
        self._realtime.ended.connect(self._stream_ended)
        StandingsCollector(context.metrics, lambda: node.watch.status, lambda: listings.published)

    async def start(self) -> None:
        await self.advertiser.open()

    def roots(self) -> Roots:
        advertiser = self.advertiser
        # Until something else needs it, the watch runs for the registries alone.
        watch = self._node.access.watch.run()
        offers = advertiser.follow(self._reconcile.snapshots)
        streams = GoneStreams(
            self._realtime.keeper,
            advertiser.listings,
            advertiser.registries,
            self._context.settings.orchestrator.check_s,
        )
        return {
            "node": watch,
            "streams at the node": streams.run(),
            "offers": offers,
            "free slots": self._free.run(advertiser.listings.slots_moved.emit),
            "callback": self._callback.run(),
            **advertiser.roots(),
        }

    async def withdraw(self) -> None:
        await self.advertiser.withdraw()

    async def close(self) -> None:
        await tasks.cancel(*self._stops)

    def waits_for(self) -> str:
        return "the node to be told that nothing is offered any more"

    def _stream_ended(self, end: StreamEnd) -> None:
        """Note the slot of a stream that the node has not ended itself."""
        stream = end.stream
        if not stream.node_knows and not stream.origin.at_node:
            self.advertiser.listings.leaks.note(stream.key, stream.origin)

    def _stop_session(self, key: ModelKey, session: str) -> None:
        task = tasks.spawn(self.advertiser.stop_session(key, session), name="stop a session at the node")
        self._stops.add(task)
        task.add_done_callback(self._stops.discard)

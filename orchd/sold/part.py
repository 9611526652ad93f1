"""The sessions that orchd sells itself, as a part: which live, their clocks and tokens, and what ends them."""

from __future__ import annotations

from dataclasses import replace

from orchd.database.database import HasDatabase
from orchd.domain.state import Snapshot
from orchd.part import Context, Part, Roots
from orchd.sold.keeper import SoldKeeper
from orchd.sold.metrics import SoldCollector
from orchd.sold.needs import HasChannels, HasRunners, HasStreams, SeesHost
from orchd.sold.runner_side.runner_side import RunnerSide
from orchd.sold.runner_side.urls import RunnerUrls
from orchd.sold.tables import kept_secret
from orchd.sold.tally import by_mode, by_state


class SoldPart(Part):
    """After `ports.HasSold`.

    Args:
        realtime: carries persistent sessions, and has found out by `open` which an earlier orchd has left.
        runtimes: knows where containers reach orchd.
        channels: has those of sessions.
    """

    name = "sold"
    sold: SoldKeeper
    urls: RunnerUrls
    runner_side: RunnerSide

    def __init__(
        self,
        context: Context,
        database: HasDatabase,
        reconcile: HasRunners,
        realtime: HasStreams,
        runtimes: SeesHost,
        channels: HasChannels,
    ) -> None:
        self._context = context
        self._database = database
        self._reconcile = reconcile
        self._realtime = realtime
        self._runtimes = runtimes
        self._channels = channels

    async def open(self) -> None:
        context, database, runners = self._context, self._database.database, self._reconcile.loop
        public, runtimes = context.settings.public, self._runtimes
        service = f"{public.url}{public.base_path}"
        self.urls = RunnerUrls(service, public.runner_url, lambda: runtimes.host_seen.name, runners.models)
        secret = await kept_secret(database)
        streams, channels = self._realtime.keeper, self._channels.keeper
        self.sold = SoldKeeper(streams, runners, secret, context.lag.lost_s, self.urls.control, channels.moved_at)
        self.sold.restore()
        self.runner_side = RunnerSide(self.sold, channels, database)
        await self.runner_side.restore()
        SoldCollector(context.metrics, lambda: by_state(self.sold.all()))
        self._reconcile.snapshots.contribute(None, self._add_to)

    def roots(self) -> Roots:
        return {"sold sessions": self.sold.run()}

    def _add_to(self, snapshot: Snapshot) -> Snapshot:
        return replace(snapshot, sold=by_mode(self.sold.all()))

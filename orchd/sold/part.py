"""The sessions that orchd sells itself, as a part: which live, their clocks and tokens, and what ends them."""

from __future__ import annotations

from orchd.database.database import HasDatabase
from orchd.part import Context, Part, Roots
from orchd.sold.keeper import SoldKeeper
from orchd.sold.metrics import SoldCollector
from orchd.sold.needs import HasRunners, HasStreams
from orchd.sold.tables import kept_secret


class SoldPart(Part):
    """After `ports.HasSold`.

    Args:
        realtime: carries persistent sessions, and has found out by `open` which an earlier orchd has left.
    """

    name = "sold"
    sold: SoldKeeper

    def __init__(self, context: Context, database: HasDatabase, reconcile: HasRunners, realtime: HasStreams) -> None:
        self._context = context
        self._database = database
        self._reconcile = reconcile
        self._realtime = realtime

    async def open(self) -> None:
        context = self._context
        secret = await kept_secret(self._database.database)
        self.sold = SoldKeeper(self._realtime.keeper, self._reconcile.loop, secret, context.lag.lost_s)
        SoldCollector(context.metrics, self.sold)

    def roots(self) -> Roots:
        return {"sold sessions": self.sold.run()}

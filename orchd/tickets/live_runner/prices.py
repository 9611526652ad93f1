"""Prices of sessions that orchd sells itself: those of today, and former ones that have to be honoured.

What is listed is kept in the database, written behind: who starts orchd again with a higher price honours the former
one. A crash loses a change of the last moment, and then the price before it is honoured from the restart on. That a
model is not listed for a while, since it is full, is not written: it comes and goes too often.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

import structlog

from orchd.database.database import Database
from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.errors import StoreError
from orchd.hooks.terms import Terms
from orchd.tickets import tables
from orchd.tickets.live_runner.listed_prices import ListedPrice, ListedPrices
from orchd.tickets.prices import WorkPrice, quote
from orchd.tickets.validation.faults import PaymentRefused

log = structlog.get_logger("orchd.tickets")

RETRY_S = 5.0
"""Wait after a write that did not work."""


class LivePrices:
    """Tells the prices. No call but `load` and `keep` does I/O.

    Args:
        terms: of a model for a payer, at today's rate; an empty payer is everybody.
        honour_s: see `ListedPrices`.
        clock: monotonic, seconds.
    """

    def __init__(
        self,
        database: Database,
        terms: Callable[[Model, str], Terms],
        honour_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._terms = terms
        self._honour_s = honour_s
        self._clock = clock
        self._listed = ListedPrices(honour_s)
        self._kept = frozenset[tuple[ModelKey, WorkPrice]]()
        self._untold: Mapping[ModelKey, str] = {}
        self._changed = asyncio.Event()

    def list_now(self, models: Iterable[Model]) -> Mapping[ModelKey, WorkPrice]:
        """Return the prices of these models, which are listed from now on, and no others; 0 wei = it is free.

        One whose price can't be told is left out, and the log says why.
        """
        prices, untold = dict[ModelKey, WorkPrice](), dict[ModelKey, str]()
        for model in models:
            try:
                prices[model.key] = quote(self._terms(model, ""))
            except PaymentRefused as why:
                untold[model.key] = why.message
        for key, reason in untold.items():
            if self._untold.get(key) != reason:
                log.warning("model_not_sold", pipeline=key.pipeline, model_id=key.model_id, reason=reason)
        self._untold = untold
        self._listed.list_only(prices, self._clock())
        if not self._kept.issuperset(prices.items()):
            self._changed.set()
        return prices

    def honoured(self, model: Model, payer: str = "") -> WorkPrice:
        """Return what a new session costs: the price of now, or a former one if that was raised lately.

        A payer whose own price is dearer than everybody's pays that: no directory says it.

        Args:
            payer: address with `0x`, in any case.

        Raises:
            PaymentRefused: as `quote`.
        """
        price, everybodys, now = quote(self._terms(model, payer)), quote(self._terms(model, "")), self._clock()
        if self._listed.replace(model.key, everybodys, now):
            self._changed.set()
        if price.wei > everybodys.wei:
            return price
        return self._listed.honoured(model.key, price, now)

    async def load(self) -> None:
        """Read what an earlier orchd has listed.

        Raises:
            StoreError: it can't be read.
        """
        kept = await self._database.read(tables.listed_prices)
        now, ahead = self._clock(), self._clock() - time.time()
        self._listed = ListedPrices(self._honour_s, [_moved(each, ahead, now) for each in kept])
        self._kept = _still_listed(kept)

    async def keep(self) -> None:
        """Write each change, for as long as orchd runs."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._write()
            except StoreError as exc:
                log.warning("prices_not_kept", reason=exc.message, then="it is tried again")
                self._changed.set()
                await asyncio.sleep(RETRY_S)

    async def _write(self) -> None:
        now, ahead = self._clock(), time.time() - self._clock()
        prices = [_moved(each, ahead) for each in self._listed.all(now)]
        self._kept = frozenset()  # What is listed while it is written is written again.
        await self._database.transaction(lambda sql: tables.put_listed_prices(sql, prices))
        self._kept = _still_listed(prices)


def _still_listed(prices: Iterable[ListedPrice]) -> frozenset[tuple[ModelKey, WorkPrice]]:
    return frozenset((key, price) for key, price, until in prices if until is None)


def _moved(listed: ListedPrice, ahead: float, latest: float | None = None) -> ListedPrice:
    """Return it with the time of a clock that is so far ahead.

    Args:
        latest: that time is not later than this, even if a clock was set back; None = any time is fine.
    """
    if listed.until is None:
        return listed
    until = listed.until + ahead
    return listed._replace(until=until if latest is None else min(until, latest))

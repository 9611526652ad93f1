"""Makes the way in for Live Runner's clients of what takes part in it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.domain.sold import SoldSessions
from orchd.doors.public_live_runner.calls import ClientCalls
from orchd.doors.public_live_runner.clients import ClientsSeen
from orchd.doors.public_live_runner.discovery import Discovery
from orchd.doors.public_live_runner.door import PublicLiveRunnerDoor
from orchd.doors.public_live_runner.market import Findable, Market, SlotsTaken
from orchd.doors.way_in import WayIn
from orchd.reconcile.ports import Reconciler
from orchd.settings.tree import Settings
from orchd.tickets.live_runner.ports import LiveRunnerDesk
from orchd.tickets.prices import WorkPrice
from orchd.told_gpus import ToldGpus


class ListsPrices(Protocol):
    """See `tickets.live_runner.prices.LivePrices`."""

    def list_now(self, models: Iterable[Model]) -> Mapping[ModelKey, WorkPrice]: ...


class SellsByTickets(Protocol):
    """See `tickets.part.TicketsPart`."""

    @property
    def desk(self) -> LiveRunnerDesk: ...
    @property
    def prices(self) -> ListsPrices: ...


def way_in(
    settings: Settings,
    tickets: SellsByTickets,
    sold: SoldSessions,
    reconcile: Reconciler,
    slots: SlotsTaken,
    *,
    backed: bool,
) -> WayIn:
    """Return it; call it inside a running loop, when all of these are open.

    Args:
        backed: a chain is named that makes tickets worth something.
    """
    public, loop = settings.public, asyncio.get_running_loop()
    gpus = ToldGpus(reconcile.gpus, settings.docker.gpu_ids)
    prices: Prices = tickets.prices.list_now
    if not backed:
        prices = for_nothing(prices, all_free=settings.tickets.off_chain == "trust")
    findable = Findable(settings.orchestrator.capability, public.offer_cold, public.list_full)
    market = Market(reconcile.loop, slots, prices, gpus.of, findable)
    clients = ClientsSeen(time.time)
    sold.began.connect(clients.began)
    discovery = Discovery(f"{public.url}{public.base_path}", market.on_sale, loop.time)
    calls = ClientCalls(tickets.desk, sold, discovery, clients, market.could_begin)
    return WayIn(
        (PublicLiveRunnerDoor(calls, public.url, public.base_path),),
        {"GPUs that clients are told of": lambda: gpus.follow(reconcile.loop.models, reconcile.snapshots)},
        lambda: clients.status,
    )


Prices = Callable[[Iterable[Model]], Mapping[ModelKey, WorkPrice]]


def for_nothing(prices: Prices, *, all_free: bool) -> Prices:
    """Return the prices where nobody can be paid: only what is free can be had, or everything is free."""

    def free(models: Iterable[Model]) -> Mapping[ModelKey, WorkPrice]:
        return {key: WorkPrice(0) for key, price in prices(models).items() if all_free or not price.wei}

    return free

"""Payment by tickets, as a part: what issues terms, judges payments and keeps the paid sessions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from orchd.chain.ports import Chain
from orchd.database.database import HasDatabase
from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.domain.signal import Signal
from orchd.domain.sold import SoldSessions
from orchd.domain.state import DesiredState
from orchd.hooks.hook import JobHook
from orchd.hooks.terms import Terms
from orchd.part import Context, Part, Roots
from orchd.threads import DaemonThreads
from orchd.tickets.ledger.ports import Ledger
from orchd.tickets.live_runner.ports import LiveRunnerDesk
from orchd.tickets.metrics import PaymentCollector
from orchd.tickets.paid_sessions import PaidSessions
from orchd.tickets.payments import Payments, TicketRules

if TYPE_CHECKING:
    from orchd.tickets.live_runner.prices import LivePrices


class OffersChain(Protocol):
    """What has the chain, from `open` on."""

    @property
    def chain(self) -> Chain: ...


class OffersLedger(Protocol):
    """See `tickets.ledger.part.LedgerPart`."""

    @property
    def ledger(self) -> Ledger: ...


class OffersSold(Protocol):
    """What has the sessions that orchd sells itself, from `open` on."""

    @property
    def sold(self) -> SoldSessions: ...


@dataclass(frozen=True, slots=True)
class SellsSessions:
    """What else is needed where orchd sells sessions itself.

    Attributes:
        sold: has the sessions.
        desired: says which models there are.
        terms: returns name and price of a model for a payer.
        database: keeps which prices were listed.
    """

    sold: OffersSold
    desired: Signal[DesiredState]
    terms: Callable[[Model, str], Terms]
    database: HasDatabase


class TicketsPart(Part):
    """Offers what takes payments, to the hook `tickets` and to the doors that tell payers their terms.

    Args:
        selling: None = orchd sells no sessions itself.

    Attributes:
        payments, sessions: from `open` on.
        desk, prices: the same, but only where orchd sells sessions itself.
        live_runner: the hook for these sessions, from `open` on; None = orchd sells none.
    """

    name = "tickets"
    payments: Payments
    sessions: PaidSessions
    desk: LiveRunnerDesk
    prices: LivePrices

    def __init__(
        self, context: Context, chain: OffersChain, ledger: OffersLedger, selling: SellsSessions | None = None
    ) -> None:
        self._context = context
        self._chain = chain
        self._ledger = ledger
        self._selling = selling
        self._models: Mapping[ModelKey, Model] = {}
        self.live_runner: JobHook | None = None
        if selling is not None:
            selling.desired.connect(self._edited)
        # A thread gives way every few milliseconds, as one turn of the event loop would not for 600 tickets.
        self._threads = DaemonThreads("tickets")

    async def open(self) -> None:
        given = self._context.settings.tickets
        rules = TicketRules(
            given.value, given.redeem_gas, given.cost_multiplier, given.max_face_value, given.longest_gap_s
        )
        counts = PaymentCollector(self._context.metrics)
        self.payments = Payments(self._chain.chain, self._ledger.ledger, rules, counts, self._threads)
        self.sessions = PaidSessions(self._ledger.ledger, asyncio.get_running_loop().time)
        if self._selling is not None:
            await self._open_live_runner(self._selling)

    def roots(self) -> Roots:
        return {} if self._selling is None else {"listed prices": self.prices.keep()}

    async def _open_live_runner(self, selling: SellsSessions) -> None:
        from orchd.tickets.live_runner.challenges import Challenges
        from orchd.tickets.live_runner.charging import Charging
        from orchd.tickets.live_runner.desk import Desk
        from orchd.tickets.live_runner.jobs import LiveRunnerTickets
        from orchd.tickets.live_runner.prices import LivePrices
        from orchd.tickets.live_runner.till import Till

        settings, ledger, sold = self._context.settings, self._ledger.ledger, selling.sold.sold
        clock = asyncio.get_running_loop().time
        self.prices = LivePrices(selling.database.database, selling.terms, settings.tickets.former_price_s, clock)
        await self.prices.load()
        service = f"{settings.public.url}{settings.public.base_path}"
        challenges = Challenges(self.payments, ledger, service, self.prices.honoured, time.time)
        trusting = settings.tickets.off_chain == "trust"
        till = Till(self.payments, ledger, sold, challenges, Charging(ledger, sold, clock), trusting)
        self.desk = Desk(till)
        self.live_runner = LiveRunnerTickets(till, self._model)

    def _edited(self, desired: DesiredState) -> None:
        self._models = desired.models

    def _model(self, key: ModelKey) -> Model | None:
        return self._models.get(key)

    async def close(self) -> None:
        self._threads.close()

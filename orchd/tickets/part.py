"""Payment by tickets, as a part: what issues terms, judges payments and keeps the paid sessions."""

from __future__ import annotations

import asyncio
from typing import Protocol

from orchd.chain.ports import Chain
from orchd.part import Context, Part
from orchd.threads import DaemonThreads
from orchd.tickets.ledger.ports import Ledger
from orchd.tickets.metrics import PaymentCollector
from orchd.tickets.paid_sessions import PaidSessions
from orchd.tickets.payments import Payments, TicketRules


class OffersChain(Protocol):
    """What has the chain, from `open` on."""

    @property
    def chain(self) -> Chain: ...


class OffersLedger(Protocol):
    """See `tickets.ledger.part.LedgerPart`."""

    @property
    def ledger(self) -> Ledger: ...


class TicketsPart(Part):
    """Offers the two, to the hook `tickets` and to the doors that tell payers their terms.

    Attributes:
        payments, sessions: from `open` on.
    """

    name = "tickets"
    payments: Payments
    sessions: PaidSessions

    def __init__(self, context: Context, chain: OffersChain, ledger: OffersLedger) -> None:
        self._context = context
        self._chain = chain
        self._ledger = ledger
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

    async def close(self) -> None:
        self._threads.close()

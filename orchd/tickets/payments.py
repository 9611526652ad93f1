"""Issues terms of payment and judges what is paid on them, whatever the scheme: the one place that does.

What a payment is worth is decided by `validation`, which is pure; here it is given what it needs to know of the chain
and of the ledger, and what it finds is booked.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Protocol
from weakref import WeakValueDictionary

from orchd.chain.ports import Chain, ChainNow
from orchd.domain.chain import ChainFacts, PayerFacts, TermsOf
from orchd.domain.ids import ModelKey
from orchd.errors import StoreError
from orchd.threads import DaemonThreads
from orchd.tickets.ledger.ports import Ledger, LedgerKey, Manifest
from orchd.tickets.live_runner.ticket_size import ticket_value
from orchd.tickets.prices import WorkPrice
from orchd.tickets.refusals import CountsRefusals
from orchd.tickets.validation.credit import minimum_units
from orchd.tickets.validation.facts import BookFacts, PaymentFacts
from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.keys import SEED_RANDOM_BYTES, Basis
from orchd.tickets.validation.payment import Payment
from orchd.tickets.validation.schemes import LIVE_RUNNER, Scheme
from orchd.tickets.validation.tickets import TicketTerms
from orchd.tickets.validation.validate import (
    Expected,
    Taken,
    check_active,
    check_again,
    check_funds,
    check_issued,
    validate,
)
from orchd.tickets.validation.worth import Economics, make_terms, ticket_value_for

AT_ONCE = 16
"""Each ticket takes some 75 us: what is done in one turn of the event loop holds up all jobs."""


@dataclass(frozen=True, slots=True)
class TicketRules:
    """What the operator says of tickets.

    Attributes:
        value: wei that one should be worth; 0 = by the price (`worth.ticket_value_for`, `ticket_size.ticket_value`).
        redeem_gas, cost_multiplier, max_face_value: as of `worth.Economics`.
        longest_gap_s: seconds between two payments of a session, which it should be possible to pay for at once.
    """

    value: int = 0
    redeem_gas: int = 1_200_000
    cost_multiplier: int = 100
    max_face_value: int = 0
    longest_gap_s: int = 60

    def economics(self, scheme: Scheme, price: WorkPrice, gas_price: int, unpaid_s: int = 0) -> Economics:
        """Return what decides the face value of tickets that pay for work at this price, which is not free.

        Args:
            unpaid_s: whole seconds since the last payment of the session.
        """
        live = scheme is LIVE_RUNNER
        value = self.value or (
            ticket_value(price, self.longest_gap_s + unpaid_s)
            if live
            else ticket_value_for(Fraction(price.wei), minimum_units(scheme, fixed=price.fixed))
        )
        return Economics(
            value, gas_price, self.redeem_gas, self.cost_multiplier, self.max_face_value, rounded_down=live
        )


class CountsPayments(CountsRefusals, Protocol):
    """Counts what is paid; see `tickets.metrics.PaymentCollector`."""

    def taken(self, scheme: str, tickets: int) -> None:
        """Count a payment that was booked."""


class PayerTurns:
    """One thing at a time for each payer, in the order of the calls; nobody waits for somebody else's."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    def of(self, payer: bytes) -> asyncio.Lock:
        """Return what is held during a payer's turn."""
        lock = self._locks.get(payer)
        if lock is None:
            lock = self._locks[payer] = asyncio.Lock()
        return lock


class Payments:
    """Issues terms, judges payments, and books them.

    Args:
        threads: where long payments are judged.
        random: returns so many fresh random bytes.
        at_once: tickets that are looked at in one turn of the event loop; more are looked at in a thread.

    Attributes:
        counts: counts them.
    """

    def __init__(
        self,
        chain: Chain,
        ledger: Ledger,
        rules: TicketRules,
        counts: CountsPayments,
        threads: DaemonThreads,
        random: Callable[[int], bytes] = os.urandom,
        at_once: int = AT_ONCE,
    ) -> None:
        self._chain = chain
        self._ledger = ledger
        self._rules = rules
        self._threads = threads
        self._random = random
        self._at_once = at_once
        self._turns = PayerTurns()
        self.counts = counts

    @property
    def backed(self) -> bool:
        """Whether tickets are worth money; False = off chain."""
        return self._chain.backed

    @property
    def recipient(self) -> bytes:
        """The address to which all tickets are paid, 20 bytes."""
        return self._chain.recipient

    def is_free(self, price: WorkPrice, *, trusting: bool) -> bool:
        """Return whether work is done without payment: it costs nothing, or payers are trusted.

        Args:
            trusting: off chain, they are. Else what has a price is not sold there.

        Raises:
            PaymentRefused: it can't be sold.
        """
        if not price.wei or self.backed or trusting:
            return not (price.wei and self.backed)
        raise PaymentRefused(
            Fault.OFF_CHAIN,
            "cannot sell work off chain, where tickets are worth nothing: only what is free is served here",
        )

    def require_fresh(self) -> None:
        """Check that an RPC server has answered lately, as it must where something new begins.

        Raises:
            PaymentRefused: none has.
        """
        if not self._now().fresh:
            raise PaymentRefused(
                Fault.CHAIN_UNKNOWN, "cannot sell anything new: no RPC server tells of the chain now; try again"
            )

    async def terms(self, scheme: Scheme, payer: bytes, price: WorkPrice, work: str, unpaid_s: int = 0) -> TicketTerms:
        """Return new terms for a payer. Without a price they are worth nothing, and nobody asks what backs them.

        Gateways want such terms, too, so what is free is there for them whatever is known of the chain.

        Args:
            price: it is honoured until the terms expire.
            work: the capability that they are good for, where the scheme binds them to one; empty = none.
            unpaid_s: whole seconds since the last payment of the session that they are for, all of which the next one
                is to pay for.

        Raises:
            PaymentRefused: it could not pay on them, or there is a price and the chain is not known now.
        """
        now = self._now() if price.wei else self._chain.now() or _WHENEVER
        funds = _NOTHING
        if price.wei:
            check_active(now.facts)
            funds = check_funds(payer, await self._funds(payer), now.facts)
        basis = Basis(scheme.name, payer, Fraction(price.wei), work if scheme.bound_to_work else "", price.fixed)
        economics = self._rules.economics(scheme, price, now.gas_price, unpaid_s)
        random = self._random(SEED_RANDOM_BYTES)
        return make_terms(self._ledger.terms_key, random, basis, self.recipient, economics, funds, now.terms)

    async def judge(self, payment: Payment, expected: Expected) -> Taken:
        """Return what a payment is worth. Nothing is used up by that.

        Raises:
            PaymentRefused.
        """
        rands = self._ledger.terms_keys
        if self._chain.payer(expected.payer) is None:
            # Anybody can make up payers, and who has no terms of ours is not worth a question to the chain.
            check_issued(payment, expected, rands)
        if len(payment.tickets) <= self._at_once:
            return validate(payment, expected, rands, await self._facts(expected.payer, payment.terms))
        async with self._turns.of(expected.payer):  # Or one payer's would keep the thread from all others.
            facts = await self._facts(expected.payer, payment.terms)
            seen = frozenset(facts.book.seen)  # The ledger's own changes while the thread looks at it.
            still = replace(facts, book=BookFacts(seen, facts.book.published))
            return await self._threads.run(partial(validate, payment, expected, rands, still))

    async def book(
        self, taken: Taken, scheme: Scheme, key: LedgerKey, model: ModelKey, manifest: Manifest | None = None
    ) -> None:
        """Book a payment that was found good, unless something has changed since.

        Args:
            manifest: as of `Ledger.take`.

        Raises:
            PaymentRefused: it may not be taken any more, or can't be kept now; nothing of it counts then.
        """
        check_again(taken, scheme, await self._facts(taken.payer, taken.terms))
        try:
            await self._ledger.take(taken, key, model, manifest)
        except StoreError as exc:
            raise PaymentRefused(
                Fault.STORE_BUSY, "cannot take the payment: the store can't keep it now; try again"
            ) from exc
        self._chain.credited(taken.payer, taken.credit)
        self.counts.taken(scheme.name, len(taken.nonces))

    def _now(self) -> ChainNow:
        now = self._chain.now()
        if now is None:
            raise PaymentRefused(
                Fault.CHAIN_UNKNOWN, "cannot take payments now: no RPC server has told of the chain for too long"
            )
        return now

    async def _funds(self, payer: bytes) -> PayerFacts | None:
        facts = self._chain.payer(payer) or await self._chain.learn(payer)
        return None if facts is None else replace(facts, unredeemed=self._ledger.unredeemed(payer))

    async def _facts(self, payer: bytes, terms: TicketTerms | None) -> PaymentFacts:
        funds = await self._funds(payer)
        book = BookFacts() if terms is None else self._ledger.book_facts(terms.commitment)
        return PaymentFacts(self._now().facts, funds, book)


_WHENEVER = ChainNow(ChainFacts(0, 1, active=True), TermsOf(0, 1, bytes(31) + b"\1"), gas_price=0, fresh=False)
"""For terms on which nobody pays."""
_NOTHING = PayerFacts(deposit=0, reserve=0, claimed=0, claimed_by_us=0, pool_size=0, withdraw_round=0)

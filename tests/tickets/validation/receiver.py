"""A receiver around the validation core: the least that keeps books, for tests."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction

from orchd.domain.chain import ChainFacts, PayerFacts
from orchd.tickets.validation.credit import Balance, BalanceKey
from orchd.tickets.validation.facts import BookFacts, PaymentFacts
from orchd.tickets.validation.keys import Rands, TermsKey, TermsKeys
from orchd.tickets.validation.payment import Payment
from orchd.tickets.validation.validate import Expected, Taken, Winner, validate

ETH = 10**18
FUNDED = PayerFacts(deposit=10 * ETH, reserve=5 * ETH, claimed=0, claimed_by_us=0, pool_size=100, withdraw_round=0)
"""What the recordings' payers have; a hundredth of the reserve covers a face value of 2.4e15 twenty times."""
KEY = TermsKey(7, bytes(range(32)))


@dataclass
class Receiver:
    """Takes payments, each whole or not at all.

    Attributes:
        l1_block: the highest seen.
    """

    rands: Rands = field(default_factory=lambda: TermsKeys({KEY.id: KEY}))
    l1_block: int = 0
    round: int = 0
    payer: PayerFacts | None = FUNDED
    active: bool = True
    published: bool = False
    nonces: defaultdict[bytes, set[int]] = field(default_factory=lambda: defaultdict(set))
    balances: defaultdict[BalanceKey, Balance] = field(default_factory=lambda: defaultdict(Balance))
    winners: list[Winner] = field(default_factory=list)

    def facts(self, payment: Payment) -> PaymentFacts:
        """Return what holds for this payment now."""
        seen = self.nonces[payment.terms.commitment] if payment.terms else set()
        return PaymentFacts(
            ChainFacts(self.l1_block, self.round, self.active), self.payer, BookFacts(frozenset(seen), self.published)
        )

    def pay(self, payment: Payment, expected: Expected, work: str = "") -> Taken:
        """Take a payment; credit it to `work`, or to the work of its terms.

        Raises:
            PaymentRefused: nothing has changed.
        """
        taken = validate(payment, expected, self.rands, self.facts(payment))
        if taken.terms is not None:
            self.nonces[taken.terms.commitment].update(taken.nonces)
        self.winners += taken.winners
        key = BalanceKey(taken.payer, work or expected.work)
        self.balances[key] = self.balances[key].credited(taken.credit)
        return taken

    def books(self) -> tuple[object, ...]:
        """Return all that a payment may change."""
        return (
            {key: set(nonces) for key, nonces in self.nonces.items() if nonces},
            {key: balance.wei for key, balance in self.balances.items() if balance.wei},
            list(self.winners),
        )

    def credit_of(self, payer: bytes, work: str) -> Fraction:
        """Return the balance in wei."""
        return self.balances[BalanceKey(payer, work)].wei

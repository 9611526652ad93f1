"""A client and its signer, without either's I/O: what the signer signs of terms as orchd makes them, and when."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from orchd.domain.chain import TermsOf
from orchd.tickets.payments import TicketRules
from orchd.tickets.prices import WorkPrice
from orchd.tickets.validation.keys import Basis
from orchd.tickets.validation.messages import AuthToken, OrchestratorInfo, QuotedPrice
from orchd.tickets.validation.payment import read_payment
from orchd.tickets.validation.schemes import LIVE_RUNNER
from orchd.tickets.validation.tickets import TicketTerms
from orchd.tickets.validation.worth import make_terms
from tests.doubles.gateway.purse import Funds
from tests.doubles.sdk_client.client import MARGIN
from tests.doubles.signer.asked import Asked, MaxPrice, Refused
from tests.doubles.signer.paying import Limits, Payer
from tests.doubles.signer.rules import Rules
from tests.tickets.validation.made import PAYER, RECIPIENT
from tests.tickets.validation.receiver import ETH, FUNDED, KEY

AT = TermsOf(23_500_000, 4321, b"\x6d" * 32)
FUNDS = Funds(AT.l1_block, AT.round, AT.round_hash, deposit=10 * ETH, reserve=5 * ETH)
GAS_PRICE = 20_000_000
_BEGAN_NS = 1_795_000_000 * 10**9
_CYCLE_S = Fraction(301, 100)


def terms_at(price: WorkPrice, rules: TicketRules, unpaid_s: int = 0) -> TicketTerms:
    """Return terms as a challenge holds them, new ones each time."""
    economics = rules.economics(LIVE_RUNNER, price, GAS_PRICE, unpaid_s)
    basis = Basis(LIVE_RUNNER.name, PAYER.address, Fraction(price.wei), fixed=price.fixed)
    return make_terms(KEY, secrets.token_bytes(28), basis, RECIPIENT, economics, FUNDED, AT)


def highest_paid(listed: int) -> Fraction:
    """Return what a client pays at most whose directory says `listed`: a double, as it stands in JSON."""
    return Fraction(Decimal(repr(float(Decimal(listed) * MARGIN))))


@dataclass
class PayingClient:
    """Pays for one session.

    Attributes:
        listed: wei, as the client has read it in a directory.
        now_ns: Unix time.
        nonces: of the tickets last signed.
    """

    signer: Rules
    price: WorkPrice
    terms: TicketTerms
    listed: int = 0
    now_ns: int = _BEGAN_NS
    state: Any = None
    nonces: list[int] = field(default_factory=list)

    @property
    def seconds_paid(self) -> Fraction:
        """Seconds, or sessions, that the last payment is worth."""
        return len(self.nonces) * self.terms.expected_value / self.price.wei

    def pay(self, after_s: Fraction | int = 0) -> int:
        """Ask for a payment so many seconds later; return how many tickets it has.

        Raises:
            Refused: by the signer.
        """
        self.now_ns += int(after_s * 10**9)
        auth = AuthToken(b"\x77" * 32, "session_a", self.now_ns // 10**9 + 3600)
        info = OrchestratorInfo(
            "https://r.example:8935", self.terms.on_wire(), QuotedPrice(self.price.wei, 1), RECIPIENT, auth_token=auth
        )
        kind, unit = ("fixed", "fixed") if self.price.fixed else ("live", "seconds")
        most = MaxPrice(highest_paid(self.listed or self.price.wei), "wei", unit)
        asked = Asked(info, kind, "session_a", "a/b", self.state, most)
        made = Payer(self.signer, PAYER, Limits(), FUNDS, self.now_ns, secrets.token_bytes).pay(asked)
        self.state = made["state"]
        self.nonces = [ticket.sender_nonce for ticket in read_payment(made["payment"].encode()).tickets]
        return len(self.nonces)

    def cycle(self) -> int:
        """Ask again after three seconds and what the request took; return how many tickets it has, 0 if nothing is due.

        Raises:
            Refused: by the signer.
        """
        try:
            return self.pay(_CYCLE_S)
        except Refused as refused:
            if refused.status != 482:
                raise
            return 0

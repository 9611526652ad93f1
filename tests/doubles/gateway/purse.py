"""When a gateway pays, how much, and on which terms it does not. Pure. Source: payments.md 8, byoc.md 7.

Its limits and their texts are those of onchain-gateway-limits.json; texts that no recording shows are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

from orchd.tickets.validation.messages import ExpirationParams, PaymentMessage, TicketParams
from orchd.tickets.validation.payment import read_terms
from orchd.tickets.validation.tickets import TicketTerms
from tests.doubles.gateway.tokens import Token
from tests.tickets.validation.sender import Signer, header

IN_HAND_S = 120
"""Seconds of work that the reported balance must cover for nothing to be paid."""
MAX_TICKETS = 600


class CannotPay(Exception):
    """The terms are outside of the gateway's limits, or it has no funds; the text is the gateway's."""


@dataclass(frozen=True, slots=True)
class Funds:
    """What a gateway sees on the chain: of itself, and where the chain is.

    Attributes:
        l1_block: now.
        round: last initialized.
        round_hash: 32 bytes, as the RoundsManager keeps it.
        deposit: wei.
        reserve: wei.
        withdraw_round: from which on it may take all out; 0 = it has not asked.
    """

    l1_block: int
    round: int
    round_hash: bytes
    deposit: int
    reserve: int
    withdraw_round: int = 0


@dataclass(frozen=True, slots=True)
class Purse:
    """An account, and its limits in wei.

    Attributes:
        max_ticket_ev: `-maxTicketEV`.
        max_total_ev: `-maxTotalEV`.
        deposit_multiplier: `-depositMultiplier`.
    """

    signer: Signer
    max_ticket_ev: int = 3 * 10**12
    max_total_ev: int = 2 * 10**13
    deposit_multiplier: int = 1

    def payment(self, token: Token, timeout_s: int, funds: Funds) -> str | None:
        """Return the `Livepeer-Payment` header; None = the balance is enough.

        Each payment's nonces begin at 1: the terms are new with each token.

        Raises:
            CannotPay.
        """
        if token.params is None or token.price.pixels_per_unit == 0:
            raise CannotPay("no terms or no price in the token")
        price = Fraction(token.price.price_per_unit, token.price.pixels_per_unit)
        if token.balance >= IN_HAND_S * price:
            return None
        params = with_round(token.params, funds)
        terms = read_terms(params, None)
        worth = terms.expected_value
        count = min(math.ceil(price * timeout_s / worth), MAX_TICKETS) if worth else 1
        self._check(terms, count, funds)
        return header(
            PaymentMessage(
                ticket_params=params,
                sender=self.signer.address,
                expiration_params=params.expiration_params,
                ticket_sender_params=tuple(self.signer.ticket(terms, nonce) for nonce in range(1, count + 1)),
                expected_price=token.price,
            )
        ).decode()

    def _check(self, terms: TicketTerms, count: int, funds: Funds) -> None:
        """Raise CannotPay unless the gateway takes these terms; those that are worth nothing cost nothing."""
        worth = terms.expected_value
        if not worth:
            return
        if terms.expiration_block <= funds.l1_block + 1:
            raise CannotPay(f"ticket params expired: block {terms.expiration_block}, now {funds.l1_block}")
        if not funds.deposit or not funds.reserve:
            raise CannotPay("no sender deposit or reserve")
        if funds.withdraw_round and funds.withdraw_round <= funds.round + 1:
            raise CannotPay("deposit and reserve are set to unlock soon")
        if worth > self.max_ticket_ev:
            raise CannotPay(f"ticket EV {shown(worth)} > max ticket EV {shown(self.max_ticket_ev)}")
        if worth * count > self.max_total_ev:
            total, limit = shown(worth * count), shown(self.max_total_ev)
            raise CannotPay(f"total ticket EV {total} for {count} tickets > max total ticket EV {limit}")
        if worth >= terms.face_value:
            raise CannotPay(f"ticket EV {shown(worth)} >= faceValue {terms.face_value}")
        highest = funds.deposit // self.deposit_multiplier
        if terms.face_value > highest:
            raise CannotPay(f"ticket faceValue {terms.face_value} > max faceValue {highest}")


def with_round(params: TicketParams, funds: Funds) -> TicketParams:
    """Return terms with the gateway's own last round, where they carry none or a zero hash."""
    sent = params.expiration_params
    if sent is not None and sent.creation_round and sent.round_hash.strip(b"\0"):
        return params
    return replace(params, expiration_params=ExpirationParams(funds.round, funds.round_hash))


def shown(wei: Fraction | int, places: int = 5) -> str:
    """Return it with so many places, as Go shows a fraction."""
    scaled = math.floor(wei * 10**places + Fraction(1, 2))
    return f"{scaled // 10**places}.{scaled % 10**places:0{places}}"

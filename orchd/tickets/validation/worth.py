"""How much a ticket pays and how often: the choices of who makes terms (payments.md, 5 and 8). Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from orchd.domain.chain import PayerFacts, TermsOf
from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.keys import Basis, TermsKey
from orchd.tickets.validation.schemes import MAX_BATCH_VALUE, MAX_NONCES, MAX_TICKET_VALUE
from orchd.tickets.validation.signatures import MAX_U256
from orchd.tickets.validation.tickets import TicketTerms, commitment_to

BLOCKS_VALID = 40
"""L1 blocks for which terms are good: eight minutes."""
_USUAL_GAS_PRICE = 3 * 10**9


@dataclass(frozen=True, slots=True)
class Economics:
    """What decides the face value.

    Attributes:
        ticket_value: wei that one ticket should be worth, more than 0.
        redeem_gas: gas of one redemption.
        gas_price: wei.
        cost_multiplier: so many times the cost of redeeming it a winning ticket pays.
        max_face_value: most wei; 0 = no limit of the operator's.
        rounded_down: a ticket may be worth a hair less than `ticket_value`; else a hair more.
    """

    ticket_value: int
    gas_price: int
    redeem_gas: int = 1_200_000
    cost_multiplier: int = 100
    max_face_value: int = 0
    rounded_down: bool = False


def face_value(economics: Economics, most: int) -> int:
    """Return the face value of a payer's tickets.

    Args:
        most: wei that its deposit and its reserve can carry.

    Raises:
        PaymentRefused: that carries no tickets which a sender signs, or none that are worth redeeming.
    """
    cost = economics.redeem_gas * economics.gas_price
    value = cost * economics.cost_multiplier
    if value < economics.ticket_value:
        value = economics.ticket_value * 100
    value = min(value, most)
    if economics.max_face_value:
        value = min(value, economics.max_face_value)
    # Senders sign no ticket that always wins.
    if value <= economics.ticket_value or (value < cost and value < economics.redeem_gas * _USUAL_GAS_PRICE):
        raise PaymentRefused(
            Fault.SENDER_FUNDS,
            "cannot make terms of payment: insufficient sender reserve or deposit, which carry a face value of "
            f"{value} wei",
        )
    return value


def win_probability(value: int, ticket_value: int, *, rounded_down: bool = False) -> int:
    """Return how often a ticket of face value `value` must win to be worth `ticket_value`, of 2**256 - 1.

    Unless it is to be rounded down, it is rounded up as senders expect; down where a hair more would pass their limits.
    """
    if not value:
        return 0
    if value == ticket_value:
        return MAX_U256
    quotient, rest = divmod(MAX_U256, value)
    if rounded_down or _at_limit(ticket_value):
        return ticket_value * MAX_U256 // value
    return ticket_value * (quotient + 1 if rest else quotient)


def _at_limit(ticket_value: int) -> bool:
    """Return whether one ticket, or some number of them, is worth exactly what senders sign at most."""
    count, rest = divmod(MAX_BATCH_VALUE, ticket_value)
    return ticket_value == MAX_TICKET_VALUE or (not rest and count <= MAX_NONCES)


def make_terms(
    key: TermsKey, random: bytes, basis: Basis, recipient: bytes, economics: Economics, payer: PayerFacts, at: TermsOf
) -> TicketTerms:
    """Return new terms for a payer. Without a price they are worth nothing, and no float is asked for.

    Args:
        random: fresh; see `TermsKey.seed`.

    Raises:
        PaymentRefused: see `face_value`.
    """
    if not any(at.round_hash):
        raise ValueError("cannot make terms with a zero round hash: their tickets could not be redeemed")
    value = face_value(economics, min(payer.max_float, payer.deposit)) if basis.price else 0
    bare = TicketTerms(
        recipient=recipient,
        face_value=value,
        win_prob=win_probability(value, economics.ticket_value, rounded_down=economics.rounded_down),
        commitment=b"",
        seed=key.seed(random),
        expiration_block=at.l1_block + BLOCKS_VALID,
        creation_round=at.round,
        round_hash=at.round_hash,
    )
    return replace(bare, commitment=commitment_to(key.rand(bare, basis)))


def ticket_value_for(price: Fraction, minimum: int = 0) -> int:
    """Return what a ticket should be worth where a second, or a session, costs this many wei.

    A ticket of 2.5 s is large enough that 600 of them outlast their terms and 100 pay for any start, and small enough
    that a lost one ends no session. Where more must be in hand to begin, one ticket should do: BYOC's gateways buy what
    covers the time that they would wait for an answer, and no more (docs/protocol/payments.md, 14 and quirk 11).

    Args:
        minimum: units that must be in hand to begin.
    """
    return max(1, min(MAX_TICKET_VALUE, ceil(price * max(Fraction(5, 2), Fraction(minimum)))))

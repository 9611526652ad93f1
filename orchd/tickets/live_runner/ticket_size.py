"""How much one ticket of a Live Runner session is worth, and what signers with default limits can pay with it.

They sign at most a hundred tickets at a time, and neither a ticket nor all of them together may be worth too much. What
they are asked for is the time since the last payment, so after a gap that is longer than they may pay for at once a
session is never paid for again. Pure. Source: docs/protocol/paid-live-runner.md, 4 and 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from math import ceil

from orchd.tickets.prices import WorkPrice
from orchd.tickets.validation.schemes import LIVE_RUNNER, MAX_BATCH_VALUE, MAX_TICKET_VALUE

START_S = 10
"""A first payment covers so many seconds."""
TICKET_S = Fraction(12, 5)
"""A ticket should be worth so many. A start takes five then, which leaves two seconds more in hand than ten; and a lost
ticket ends no session."""
TERMS_S = 8 * 60
"""Terms are good for this many seconds, and must not run out of nonces before."""
PAID_PER_S = Fraction(4, 3)
"""Seconds that clients pay in a second: four every three."""

_FEWEST = MAX_BATCH_VALUE // MAX_TICKET_VALUE + 1
"""So many tickets of the same value can be worth as much as all together may be."""
_FIXED_COUNT = 10


class Bound(StrEnum):
    """What keeps signers with default limits from paying.

    Attributes:
        FACE_VALUE: a ticket would always win: no terms are made.
        TICKET: one ticket is worth too much.
        COUNT: a start takes too many tickets.
        BATCH: the tickets of a start are worth too much together.
        NONCES: there are too few tickets on the same terms to last until those end.
    """

    FACE_VALUE = "face_value"
    TICKET = "ticket"
    COUNT = "count"
    BATCH = "batch"
    NONCES = "nonces"


@dataclass(frozen=True, slots=True)
class Payability:
    """What signers with default limits can pay of a price.

    Attributes:
        ticket_value: wei that one ticket is worth at most; a hair less, since it is rounded down.
        at_start: tickets of the first payment.
        longest_gap_s: whole seconds between two payments that can still be paid for; None = it is paid once.
        bound: what keeps them from paying; None = nothing does.
    """

    ticket_value: int
    at_start: int
    longest_gap_s: int | None
    bound: Bound | None


def ticket_value(price: WorkPrice, gap_s: int) -> int:
    """Return what a ticket should be worth at this price, in wei; what it is worth is to be rounded down from it.

    Where all tickets together are worth as much as signers sign, their number is whole, so that nothing of that is
    left unused.

    Args:
        price: not free.
        gap_s: whole seconds between two payments that it should be possible to pay for.
    """
    if price.fixed:
        return price.wei + 1 if price.wei < MAX_TICKET_VALUE else min(MAX_TICKET_VALUE, price.wei // _FIXED_COUNT + 1)
    most = LIVE_RUNNER.max_tickets
    for_gap = min(price.wei * gap_s // most + 1, MAX_BATCH_VALUE // most)
    wanted = max(ceil(price.wei * TICKET_S), for_gap)
    if wanted * most <= MAX_BATCH_VALUE:
        return wanted
    return MAX_BATCH_VALUE // max(_FEWEST, MAX_BATCH_VALUE // wanted)


def payability(price: WorkPrice, value: int, max_face_value: int = 0) -> Payability:
    """Return what signers can pay of a price that is not free.

    Args:
        value: wei, of one ticket, as of `ticket_value` or what the operator has set.
        max_face_value: the operator's, in wei; 0 = none.
    """
    at_once = min(LIVE_RUNNER.max_tickets, MAX_BATCH_VALUE // value)
    covered = max(0, at_once * value - 1) // price.wei  # They are worth a hair less than that.
    at_start = price.wei * (1 if price.fixed else START_S) // value + 1
    bound = Bound.FACE_VALUE if 0 < max_face_value <= value else _bound(price, value, covered, at_start)
    return Payability(value, at_start, None if price.fixed else covered, bound)


def _bound(price: WorkPrice, value: int, covered: int, at_start: int) -> Bound | None:
    if value > MAX_TICKET_VALUE:
        return Bound.TICKET
    if covered < (1 if price.fixed else START_S):
        dear = price.wei * (1 if price.fixed else START_S) >= MAX_BATCH_VALUE  # No size of tickets helps then.
        return Bound.BATCH if dear or at_start <= LIVE_RUNNER.max_tickets else Bound.COUNT
    if not price.fixed and LIVE_RUNNER.nonces[1] * value < (START_S + ceil(TERMS_S * PAID_PER_S)) * price.wei:
        return Bound.NONCES
    return None

"""What `orchd price` says of sessions that orchd sells itself, at its door for clients of Live Runner.

Their clients have signers pay, which have limits of their own: which prices those pay, and for which gap between two
payments, is computed here as terms are made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from orchd.domain.model import Model
from orchd.domain.money import WEI_PER_ETH, in_eth, plain
from orchd.hooks.terms import terms_of
from orchd.text import Cell
from orchd.tickets.live_runner.ticket_size import START_S, Bound, Payability, payability, ticket_value
from orchd.tickets.prices import WorkPrice, quote
from orchd.tickets.settings import TicketsSettings
from orchd.tickets.validation.faults import PaymentRefused
from orchd.tickets.validation.schemes import LIVE_RUNNER, MAX_BATCH_VALUE, MAX_TICKET_VALUE

HEADINGS = ("MODEL", "SESSION", "ETH", "USD", "ONE TICKET", "AT START", "LONGEST GAP")
ABOUT = (
    "LONGEST GAP is for how long a session may go without a payment, such as while its client stands still, and the "
    "client's signer still pays for all of it"
)
SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True)
class DirectPrice:
    """What a session costs that orchd sells itself, and who can pay it.

    Attributes:
        price: in whole wei; None = it can't be sold, and `why` says why not.
        eth_usd: None = not known.
        payable: what signers with default limits can pay; None = it is free, or can't be sold.
        wanted_gap_s: the setting `tickets.longest_gap_s`.
    """

    price: WorkPrice | None
    eth_usd: Fraction | None = None
    payable: Payability | None = None
    wanted_gap_s: int = 0
    why: str = ""

    @property
    def shown_wei(self) -> int:
        """Wei per hour, or per session."""
        assert self.price is not None
        return self.price.wei * (1 if self.price.fixed else SECONDS_PER_HOUR)

    @property
    def shown_usd(self) -> Fraction | None:
        """The same in USD; None while the rate is not known."""
        return None if self.eth_usd is None else self.shown_wei * self.eth_usd / WEI_PER_ETH


def direct_price(model: Model, eth_usd: Fraction | None, tickets: TicketsSettings) -> DirectPrice:
    """Return what orchd itself sells sessions of a model for."""
    try:
        price = quote(terms_of(model, eth_usd=eth_usd))
    except PaymentRefused as refused:
        return DirectPrice(None, why=refused.message)
    payable = None
    if price.wei:
        value = tickets.value or ticket_value(price, tickets.longest_gap_s)
        payable = payability(price, value, tickets.max_face_value)
    return DirectPrice(price, eth_usd, payable, tickets.longest_gap_s)


def cells_of(name: str, told: DirectPrice, absent: str) -> tuple[Cell, ...]:
    """Return a model's row of the table."""
    price, payable = told.price, told.payable
    if price is None:
        return tuple(map(Cell, (name, *[absent] * 6)))
    usd = absent if told.shown_usd is None else plain(told.shown_usd)
    cells = [name, "once" if price.fixed else "per hour", in_eth(told.shown_wei), usd]
    if payable is None:
        return tuple(map(Cell, (*cells, *[absent] * 3)))
    worth = in_eth(payable.ticket_value)
    if not price.fixed:
        worth += f", {plain(Fraction(payable.ticket_value, price.wei))} s"
    start = f"{payable.at_start} ticket" + "s" * (payable.at_start != 1)
    gap = absent if payable.longest_gap_s is None else f"{payable.longest_gap_s} s"
    return tuple(map(Cell, (*cells, worth, start, gap if payable.bound in (None, Bound.NONCES) else "not payable")))


def warnings_of(told: DirectPrice) -> Iterator[str]:
    """Yield what an operator should change, or know."""
    price, payable = told.price, told.payable
    if price is None or payable is None:
        return
    if payable.bound is not None:
        yield _why_not(told, payable, payable.bound)
    elif payable.longest_gap_s is not None and payable.longest_gap_s < told.wanted_gap_s:
        yield (
            f"a session at the door live-runner is never paid for again after a gap of more than "
            f"{payable.longest_gap_s} s between two payments, although tickets.longest_gap_s is {told.wanted_gap_s}: "
            f"signers with default limits pay less than {_most(told)} at once; a lower price makes the gap longer"
        )


def as_json(told: DirectPrice | None) -> dict[str, Any] | None:
    """Return it for machines; None = the door is not open."""
    if told is None:
        return None
    price, payable = told.price, told.payable
    if price is None:
        return {"reason": told.why}
    return {
        "wei": str(price.wei),
        "unit": "session" if price.fixed else "second",
        "usd": None if told.shown_usd is None else str(told.shown_usd / (1 if price.fixed else SECONDS_PER_HOUR)),
        "ticket_wei": None if payable is None else str(payable.ticket_value),
        "tickets_at_start": None if payable is None else payable.at_start,
        "longest_gap_s": None if payable is None else payable.longest_gap_s,
        "bound": None if payable is None else payable.bound,
        "warnings": list(warnings_of(told)),
    }


def _why_not(told: DirectPrice, payable: Payability, bound: Bound) -> str:
    """Return why signers with default limits don't pay, and what to change."""
    assert told.price is not None
    way_out = "set tickets.value to 0, and orchd chooses"
    match bound:
        case Bound.BATCH:
            what = "a session" if told.price.fixed else f"the {START_S} seconds that a session begins with"
            start = told.price.wei * (1 if told.price.fixed else START_S)
            unit = "a session" if told.price.fixed else "an hour"
            why = (
                f"{what} cost{'s' * told.price.fixed} {_amount(told, start)}, and they pay less than {_most(told)} at "
                f"once; ask for less than {_amount(told, told.shown_wei * Fraction(MAX_BATCH_VALUE, start))} {unit}"
            )
        case Bound.TICKET:
            why = f"one ticket is worth more than {_amount(told, MAX_TICKET_VALUE)}, which they refuse; {way_out}"
        case Bound.COUNT:
            most = LIVE_RUNNER.max_tickets
            why = f"a start takes {payable.at_start} tickets, and they sign at most {most} at once; {way_out}"
        case Bound.FACE_VALUE:
            return (
                "no session can be paid for at the door live-runner: a winning ticket may pay no more than "
                "tickets.max_face_value, and each ticket is worth as much as that; raise it, or set it to 0"
            )
        case Bound.NONCES:
            return (
                "sessions at the door live-runner may end within eight minutes: tickets are so small that those on the "
                "same terms run out before, and go-livepeer's signer, unlike Livepeer Node's, does not ask for new "
                f"ones then; {way_out}"
            )
    return f"payable by no signer with default limits at the door live-runner: {why}"


def _most(told: DirectPrice) -> str:
    return _amount(told, MAX_BATCH_VALUE)


def _amount(told: DirectPrice, wei: Fraction | int) -> str:
    usd = "" if told.eth_usd is None else f" ({plain(wei * told.eth_usd / WEI_PER_ETH)} USD)"
    return in_eth(wei) + usd

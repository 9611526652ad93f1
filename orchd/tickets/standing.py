"""What tickets came to: expected, won, redeemed, expired, owed. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from orchd.domain.ids import ModelKey
from orchd.tickets.statistics import NO_TICKETS, Luck, Odds, luck


@dataclass(frozen=True, slots=True)
class Winners:
    """Some winning tickets: how many, and their face values in wei."""

    count: int = 0
    wei: int = 0

    def __add__(self, other: Winners) -> Winners:
        return Winners(self.count + other.count, self.wei + other.wei)

    def __sub__(self, other: Winners) -> Winners:
        return Winners(self.count - other.count, self.wei - other.wei)


@dataclass(frozen=True, slots=True)
class TicketStanding:
    """What tickets came to.

    Attributes:
        odds: how many tickets, and how many of them should have won.
        expected: their expected value in wei, exactly: what was earned.
        won: of them.
        redeemed, expired, owed: of those that have won: paid by the chain; never to be paid any more; may be paid.
    """

    odds: Odds = NO_TICKETS
    expected: Fraction = Fraction()
    won: Winners = Winners()
    redeemed: Winners = Winners()
    expired: Winners = Winners()
    owed: Winners = Winners()

    def __add__(self, other: TicketStanding) -> TicketStanding:
        return TicketStanding(
            self.odds + other.odds,
            self.expected + other.expected,
            self.won + other.won,
            self.redeemed + other.redeemed,
            self.expired + other.expired,
            self.owed + other.owed,
        )

    @property
    def exported(self) -> Winners:
        """Those that were exported and whose time is over: what became of them is not known here."""
        return self.won - self.redeemed - self.expired - self.owed

    @property
    def luck(self) -> Luck:
        """How likely it is that the number of winners is as far from the expected one as it is, or farther."""
        return luck(self.odds, self.won.count)


@dataclass(frozen=True, slots=True)
class PayerStanding:
    """What the tickets of one payer for one model came to. `payer`: 20 bytes."""

    model: ModelKey
    payer: bytes
    standing: TicketStanding


@dataclass(frozen=True, slots=True)
class ModelStanding:
    """What the tickets for one model came to. `payers`: those that pay most come first."""

    model: ModelKey
    standing: TicketStanding
    payers: tuple[PayerStanding, ...]


def by_model(rows: Iterable[PayerStanding]) -> list[ModelStanding]:
    """Return the models in the order of what they earn, the most first."""
    groups: dict[ModelKey, list[PayerStanding]] = {}
    for row in rows:
        groups.setdefault(row.model, []).append(row)
    found = [
        ModelStanding(model, total(each), tuple(sorted(each, key=lambda row: (-row.standing.expected, row.payer))))
        for model, each in groups.items()
    ]
    return sorted(found, key=lambda each: (-each.standing.expected, each.model))


def total(rows: Iterable[PayerStanding | ModelStanding]) -> TicketStanding:
    """Return what they came to together."""
    return sum((row.standing for row in rows), TicketStanding())

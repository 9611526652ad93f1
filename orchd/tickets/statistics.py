"""Have as many tickets won as should have? How unlikely is what is seen, if payers and dice are honest. Pure.

Each ticket wins or not by itself, with the probability that its terms say; how many win in all has the Poisson binomial
distribution. It is taken for the binomial one with as many tickets and the same mean. Where all tickets had one
probability that is exact; else no probability computed by it is off by more than what W. Ehm has proved (Binomial
approximation to the Poisson binomial distribution, Statistics & Probability Letters 11, 1991, theorem 1), which needs
only what `Odds` keeps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

FEWEST_EXPECTED = 5
"""Winners: with fewer, hardly any number of them would be telling."""
MOST_ERROR = 0.05
"""Of a probability: beyond it, it is not told."""
_NEGLIGIBLE = 1e-30
"""Beside the likeliest number of winners: what is less likely adds nothing that can be seen."""


@dataclass(frozen=True, slots=True)
class Odds:
    """What is to be known of tickets that were taken, to tell how many should have won. Sums are exact.

    Attributes:
        tickets: how many.
        expected: the sum of their probabilities to win: so many winners were to be expected.
        squares: the sum of the squares of these probabilities.
    """

    tickets: int = 0
    expected: Fraction = Fraction()
    squares: Fraction = Fraction()

    def __add__(self, other: Odds) -> Odds:
        return Odds(self.tickets + other.tickets, self.expected + other.expected, self.squares + other.squares)

    @property
    def spread(self) -> Fraction:
        """The sum of the squared distances of their probabilities from the mean; 0 = all are the same."""
        return self.squares - self.expected**2 / self.tickets if self.tickets else Fraction()


NO_TICKETS = Odds()


def odds_of(probability: Fraction, tickets: int = 1) -> Odds:
    """Return the odds of tickets that win with the same probability."""
    return Odds(tickets, tickets * probability, tickets * probability**2)


class Unclear(StrEnum):
    """Why no probability is told."""

    TOO_FEW = "too few to tell"
    TOO_MIXED = "too mixed to tell"


@dataclass(frozen=True, slots=True)
class Luck:
    """How likely it is that the number of winners is as far from the expected one as it is, or farther.

    Attributes:
        p: from 0 to 1; None = see `unclear`. A small one says that something is wrong, such as lost winners.
        error: by how much `p` may be off.
    """

    p: float | None
    error: float = 0.0
    unclear: Unclear | None = None

    def __str__(self) -> str:
        if self.p is None:
            return str(self.unclear)
        return "p < 0.0001" if self.p < 0.0001 else f"p = {self.p:.2g}" if self.p < 0.01 else f"p = {self.p:.2f}"


def luck(odds: Odds, won: int) -> Luck:
    """Return what the number of winners says.

    Args:
        won: winners among the tickets of `odds`.
    """
    if odds.expected < FEWEST_EXPECTED:
        return Luck(None, unclear=Unclear.TOO_FEW)
    error = error_of(odds)
    if error > MOST_ERROR:
        return Luck(None, error, Unclear.TOO_MIXED)
    return Luck(deviates(odds.tickets, odds.expected, won), error)


def error_of(odds: Odds) -> float:
    """Return by how much the binomial distribution is off at most, for any set of numbers of winners."""
    if not odds.spread:
        return 0.0
    mean = float(odds.expected / odds.tickets)
    rest = float(1 - odds.expected / odds.tickets)
    sure = mean ** (odds.tickets + 1) + rest ** (odds.tickets + 1)
    return min(1.0, (1.0 - sure) * float(odds.spread) / ((odds.tickets + 1) * mean * rest))


def deviates(tickets: int, expected: Fraction, won: int) -> float:
    """Return how likely `abs(winners - expected)` is at least what it is for `won`, in the binomial distribution.

    Looks at the numbers within some twelve standard deviations: milliseconds for a million winners.
    """
    distance = abs(won - expected)
    from_above, up_to_below = math.ceil(expected + distance), math.floor(expected - distance)
    weights = dict(_weights(tickets, expected))
    tails = math.fsum(weight for k, weight in weights.items() if k >= from_above or k <= up_to_below)
    return min(1.0, tails / math.fsum(weights.values()))


def _weights(tickets: int, expected: Fraction) -> Iterator[tuple[int, float]]:
    """Yield the numbers of winners that are not negligible, each with its probability over that of the likeliest."""
    mean = expected / tickets
    likeliest = min(tickets, math.floor((tickets + 1) * mean))
    yield likeliest, 1.0
    if mean == 1:
        return
    ratio = float(mean / (1 - mean))
    above = ((k, (tickets - k + 1) / k * ratio) for k in range(likeliest + 1, tickets + 1))
    below = ((k, (k + 1) / (tickets - k) / ratio) for k in range(likeliest - 1, -1, -1))
    for factors in (above, below):
        weight = 1.0
        for k, factor in factors:
            weight *= factor
            if weight < _NEGLIGIBLE:
                break
            yield k, weight

"""Whether winners are as many as they should be: against all outcomes counted, and against dice."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.tickets.statistics import Luck, Odds, Unclear, deviates, error_of, luck, odds_of

PROBABILITIES = st.fractions(0, 1, max_denominator=1000)
ALIKE_AND_MIXED = st.one_of(
    st.tuples(PROBABILITIES, st.integers(1, 40)).map(lambda drawn: [drawn[0]] * drawn[1]),
    st.lists(PROBABILITIES, min_size=1, max_size=40),
)


def odds(probabilities: Sequence[Fraction]) -> Odds:
    return sum(map(odds_of, probabilities), Odds())


def distribution(probabilities: Sequence[Fraction]) -> list[Fraction]:
    """The probability of each number of winners, from none to all: every ticket counted by itself, exactly."""
    found = [Fraction(1)]
    for p in probabilities:
        found = [a * (1 - p) + b * p for a, b in zip([*found, Fraction()], [Fraction(), *found], strict=True)]
    return found


def exactly(probabilities: Sequence[Fraction], won: int) -> Fraction:
    expected = sum(probabilities, Fraction())
    seen = abs(won - expected)
    return sum((p for k, p in enumerate(distribution(probabilities)) if abs(k - expected) >= seen), Fraction())


@given(probability=PROBABILITIES.filter(bool), tickets=st.integers(1, 60), data=st.data())
def test_for_tickets_of_one_probability_it_is_what_counting_all_outcomes_gives(
    probability: Fraction, tickets: int, data: st.DataObject
) -> None:
    won = data.draw(st.integers(0, tickets))
    told = odds_of(probability, tickets)
    assert error_of(told) == 0.0
    truth = float(exactly([probability] * tickets, won))
    assert math.isclose(deviates(tickets, told.expected, won), truth, rel_tol=1e-9, abs_tol=1e-25)


@given(probabilities=ALIKE_AND_MIXED.filter(any), data=st.data())
def test_for_tickets_of_many_probabilities_it_is_off_by_no_more_than_it_says(
    probabilities: list[Fraction], data: st.DataObject
) -> None:
    won = data.draw(st.integers(0, len(probabilities)))
    told = odds(probabilities)
    off = abs(deviates(told.tickets, told.expected, won) - float(exactly(probabilities, won)))
    assert off <= error_of(told) + 1e-9


def test_what_is_seen_counts_to_the_last_digit_of_its_distance() -> None:
    # 10 expected of 3 * 10: 9 and 11 are as far. A third that is no binary number must not lose the one at the edge.
    assert deviates(30, Fraction(10), 10) == 1.0
    assert math.isclose(deviates(30, Fraction(10), 9), deviates(30, Fraction(10), 11))
    assert math.isclose(deviates(30, Fraction(10), 9), float(exactly([Fraction(1, 3)] * 30, 11)))


def test_honest_dice_give_small_probabilities_as_rarely_as_they_say() -> None:
    """A test that says p <= x comes true with a probability of at most x, and, with so many tickets, hardly less."""
    dice = random.Random(16)
    probabilities = [Fraction(n % 7 + 1, 400) for n in range(3000)]
    told = odds(probabilities)
    assert error_of(told) < 0.005
    floats = [float(p) for p in probabilities]
    seen = [luck(told, sum(dice.random() < p for p in floats)).p for _ in range(400)]
    for level in (0.05, 0.2, 0.5):
        share = sum(p is not None and p <= level for p in seen) / len(seen)
        assert abs(share - level) < 4 * math.sqrt(level * (1 - level) / len(seen)) + 0.03


def test_every_second_winner_lost_is_noticed() -> None:
    told = odds_of(Fraction(1, 1000), 100_000)
    assert str(luck(told, 50)) == "p < 0.0001"
    assert str(luck(told, 97)) == "p = 0.80"
    assert str(luck(told, 72)) == "p = 0.006"


def test_few_winners_tell_nothing() -> None:
    assert luck(odds_of(Fraction(1, 1000), 4999), 0) == Luck(None, unclear=Unclear.TOO_FEW)
    assert str(luck(odds_of(Fraction(1, 1000), 4999), 0)) == "too few to tell"
    assert luck(odds_of(Fraction(1, 1000), 5000), 0).p is not None


def test_tickets_of_which_some_are_sure_and_some_are_hopeless_are_not_judged_by_their_mean() -> None:
    told = odds_of(Fraction(1), 10) + odds_of(Fraction(1, 10**6), 10)
    assert luck(told, 10).unclear is Unclear.TOO_MIXED
    assert luck(odds_of(Fraction(1), 10), 10) == Luck(1.0)
    assert luck(odds_of(Fraction(1), 10), 9) == Luck(0.0)


@pytest.mark.parametrize("winners", [10**6, 10**8])
def test_a_long_life_costs_no_more_than_its_spread(winners: int) -> None:
    # 2**200 times as many steps would never end.
    told = odds_of(Fraction(1, 2**200), winners << 200)
    found = deviates(told.tickets, told.expected, winners + 2 * math.isqrt(winners))
    assert math.isclose(found, math.erfc(math.sqrt(2)), rel_tol=0.01)

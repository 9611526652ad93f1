"""A price in every unit, and what is doubtful about it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given

from orchd.advertise.price_doubts import warnings
from orchd.advertise.prices import Doubt, moved, quote
from orchd.domain.money import Price
from orchd.domain.offer import NodeStatus
from tests.advertise.price_cases import BOUNDED, ETH, FIXED, HOUR, PRICES, RATE, RATES, SECOND, USD, VIDEO, WEI, price


def test_a_price_in_every_unit() -> None:
    shown = quote(price("1.2", USD, HOUR), RATE)
    assert (shown.usd_per_hour, shown.usd_per_second) == (Fraction(6, 5), Fraction(1, 3000))
    assert (shown.wei_per_hour, shown.wei_per_second) == (Fraction(4 * 10**14), Fraction(10**12, 9))
    assert (shown.unit, shown.usd_per_unit, shown.wei_per_unit) == (HOUR, Fraction(6, 5), Fraction(4 * 10**14))


@BOUNDED
@given(PRICES, RATES)
def test_units_and_currencies_agree_with_each_other(asked: Price, rate: Fraction) -> None:
    shown = quote(asked, rate)
    assert shown.wei_per_unit is not None
    assert shown.usd_per_unit == shown.wei_per_unit * rate / 10**18
    if asked.unit in (VIDEO, FIXED):
        assert shown.wei_per_second is shown.wei_per_hour is shown.usd_per_second is shown.usd_per_hour is None
        return
    assert shown.wei_per_second is not None
    assert shown.usd_per_second is not None
    assert shown.wei_per_hour == shown.wei_per_second * 3600
    assert shown.usd_per_hour == shown.usd_per_second * 3600
    for unit, wei, usd in (
        (SECOND, shown.wei_per_second, shown.usd_per_second),
        (HOUR, shown.wei_per_hour, shown.usd_per_hour),
    ):
        assert quote(Price(wei, 1, WEI, unit), rate).usd_per_second == shown.usd_per_second
        assert quote(Price(usd, 1, USD, unit), rate).wei_per_hour == shown.wei_per_hour
        assert quote(Price(wei / 10**18, 1, ETH, unit), rate).wei_per_second == shown.wei_per_second


@given(PRICES)
def test_without_a_rate_only_the_other_currency_is_unknown(asked: Price) -> None:
    shown = quote(asked, None)
    free = asked.per_unit == 0
    assert (shown.wei_per_unit is None) == (asked.currency is USD and not free)
    assert (shown.usd_per_unit is None) == (asked.currency is not USD and not free)


# What may not be meant.

ON_CHAIN = NodeStatus(True, 1, 1.0, on_chain=True, registries=("live-runner", "byoc"))


def doubts(
    asked: Price, previous: Price | None = None, rate: Fraction | None = RATE, node: NodeStatus | None = ON_CHAIN
) -> set[str]:
    return {warning.code for warning in warnings(asked, previous, rate, node)}


def test_an_ordinary_price_is_not_doubted() -> None:
    assert doubts(price(1200), price(130)) == set()
    assert doubts(price(1, USD, HOUR)) == set()
    assert doubts(price(1)) == set()


@pytest.mark.parametrize("asked", [price(0), price(0, USD, FIXED)])
def test_free_is_doubted(asked: Price) -> None:
    assert doubts(asked) == {Doubt.FREE}


@pytest.mark.parametrize(
    "asked",
    [price("0.999"), price(3599, unit=HOUR), price(99_532_799_999, unit=VIDEO), price("0.5", unit=FIXED)],
)
def test_less_than_one_wei_of_what_is_counted_is_doubted(asked: Price) -> None:
    assert doubts(asked) == {Doubt.BELOW_ONE_WEI}
    assert doubts(price(asked.per_unit + 1, unit=asked.unit)) == set()


@pytest.mark.parametrize(
    ("before", "after", "doubted"),
    [
        (price(100), price(1000), False),
        (price(100), price(1001), True),
        (price(1001), price(100), True),
        (price(100), price(360_000, unit=HOUR), False),
        (price(100), price(3_600_001, unit=HOUR), True),
        (price(1, USD, HOUR), price("9.9", USD, HOUR), False),
        (price(10**15), price("0.3", USD), False),
        (price(10**15), price("0.29", USD), True),
        (price(100), price(10**9, unit=FIXED), False),  # nothing to compare
        (price(0), price(5), True),
    ],
)
def test_a_change_of_more_than_ten_times_is_doubted(before: Price, after: Price, doubted: bool) -> None:
    assert (Doubt.CHANGED_TENFOLD in doubts(after, before)) == doubted


def test_to_free_is_more_than_ten_times() -> None:
    assert doubts(price(0), price(5)) == {Doubt.FREE, Doubt.CHANGED_TENFOLD}
    assert doubts(price(0), price(0)) == {Doubt.FREE}


def test_usd_are_compared_without_a_rate_and_with_wei_only_by_one() -> None:
    assert doubts(price(11, USD), price(1, USD), rate=None) == {Doubt.CHANGED_TENFOLD}
    assert doubts(price(11, USD), price(1), rate=None) == set()


@pytest.mark.parametrize(
    ("new", "expected"), [("2850", False), ("2849.99", True), ("3150", False), ("3150.01", True), ("3000", False)]
)
def test_a_rate_has_moved_when_it_differs_by_more_than_the_tolerance(new: str, expected: bool) -> None:
    assert moved(RATE, Fraction(new), Fraction(1, 20)) is expected


def remarks_of(asked: Price, node: NodeStatus | None) -> str:
    return "; ".join(warning.text for warning in warnings(asked, None, RATE, node))


@pytest.mark.parametrize("on_chain", [False, None])
def test_a_node_that_is_not_known_to_be_on_chain_is_not_spoken_of_as_if_it_were(on_chain: bool | None) -> None:
    for asked in (price(0), price("0.1")):
        assert "on chain" in remarks_of(asked, ON_CHAIN)
        assert "on chain" not in remarks_of(asked, replace(ON_CHAIN, on_chain=on_chain))


def test_without_a_node_it_is_said_what_each_program_makes_of_a_price() -> None:
    assert "on chain takes no such price" in remarks_of(price(0), None)
    assert "Livepeer Node takes no price per hour of 720p video" in remarks_of(price("0.5", USD, VIDEO), None)
    assert not remarks_of(price("0.5", USD, VIDEO), ON_CHAIN)

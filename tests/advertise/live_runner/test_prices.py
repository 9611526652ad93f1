"""Prices on their way to Live Runner, by the node's own arithmetic."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchd.advertise.live_runner.prices import GO_LIVEPEER, LIVEPEER_NODE, LivePrice, PriceInfo, PriceTerms, live_price
from orchd.advertise.prices import INT64_MAX, Unpublishable
from orchd.domain.money import Price
from tests.advertise.price_cases import (
    BOUNDED,
    ETH,
    FIXED,
    HOUR,
    LIVE,
    PRICES,
    RATE,
    RATES,
    USD,
    VIDEO,
    exact_wei,
    price,
    unpublishable,
)

DIVISOR = {"hour": 3600, "720p": 99_532_800_000, "fixed": 1}
SHOWN = {"hour": "seconds", "720p": "720p-pixel-seconds", "fixed": "fixed"}


BOTH = pytest.mark.parametrize("terms", [GO_LIVEPEER, LIVEPEER_NODE], ids=lambda terms: terms.program)


def live(asked: Price, rate: Fraction | None = RATE, terms: PriceTerms = GO_LIVEPEER) -> LivePrice:
    published = live_price(asked, rate, terms, on_chain=True)
    assert isinstance(published, LivePrice), published
    return published


@pytest.mark.parametrize(
    ("asked", "published", "reported"),
    [
        (
            price("1.2", USD, HOUR),
            LivePrice("1.2", HOUR),
            PriceInfo(111_111_111_111, "seconds"),
        ),  # docs/protocol/live-runner.md, 7
        (price("0.001", USD), LivePrice("3.6", HOUR), PriceInfo(333_333_333_333, "seconds")),
        (price(1200), LivePrice("0.00000001296", HOUR), PriceInfo(1200, "seconds")),
        (price("0.5", USD, VIDEO), LivePrice("0.5", VIDEO), PriceInfo(1674, "720p-pixel-seconds")),
        (price("1e-5", ETH, FIXED), LivePrice("0.03", FIXED), PriceInfo(10**13, "fixed")),
        (price(100, USD, FIXED), LivePrice("100", FIXED), PriceInfo(33_333_333_333_333_333, "fixed")),
    ],
)
def test_live_runner_is_told_a_decimal_in_usd(asked: Price, published: LivePrice, reported: PriceInfo) -> None:
    assert live(asked) == published
    assert published.reported(RATE, GO_LIVEPEER) == reported


@BOTH
@BOUNDED
@given(PRICES, RATES)
def test_the_decimal_is_json_and_the_node_shows_whole_wei_of_what_is_asked(
    terms: PriceTerms, asked: Price, rate: Fraction
) -> None:
    exact = exact_wei(asked, rate)
    published = live_price(asked, rate, terms, on_chain=True)
    if isinstance(published, Unpublishable):
        refused = asked.unit is VIDEO and terms is LIVEPEER_NODE
        assert refused or exact == 0 or not 0 < terms.whole(exact) <= INT64_MAX
        return
    assert published is not None
    assert re.fullmatch(r"\d+(\.\d*[1-9])?", published.price)
    assert json.loads(published.price, parse_float=Decimal) == Decimal(published.price)
    unit = LIVE[asked.unit][0]
    assert published.unit == unit
    usd = Fraction(published.price)
    exact_usd = exact * rate * DIVISOR[unit] / 10**18
    assert abs(usd - exact_usd) < Fraction(1, 10**40)
    node_wei = usd * 10**18 / rate / DIVISOR[unit]
    assert published.reported(rate, terms) == PriceInfo(terms.whole(node_wei), SHOWN[unit])
    # What is left to the next wei is at least one part of the denominator: more than was rounded, or it may be reached.
    assume(Fraction(1, exact.denominator) > Fraction(10**18, 10**40) / rate)
    assert terms.whole(node_wei) == terms.whole(exact)


@BOTH
@BOUNDED
@given(st.integers(1, 10**18), RATES)
def test_whole_wei_come_back_as_they_are(terms: PriceTerms, wei: int, rate: Fraction) -> None:
    info = live(price(wei), rate, terms).reported(rate, terms)
    assert info == PriceInfo(wei, "seconds")


def test_livepeer_node_rounds_up_where_go_livepeer_rounds_down() -> None:
    asked = price("0.9", USD, HOUR)
    rate = Fraction(10**18, 333_333_333_333_333)  # docs/protocol/livepeer-node.md, 10
    assert live(asked, rate, LIVEPEER_NODE).reported(rate, LIVEPEER_NODE) == PriceInfo(83_333_333_334, "seconds")
    assert live(asked, rate, GO_LIVEPEER).reported(rate, GO_LIVEPEER) == PriceInfo(83_333_333_333, "seconds")
    tiny = price("0.5", unit=FIXED)
    assert live(tiny, RATE, LIVEPEER_NODE).reported(RATE, LIVEPEER_NODE) == PriceInfo(1, "fixed")


def test_livepeer_node_is_told_no_price_per_720p() -> None:
    for on_chain in (True, False, None):
        refused = unpublishable(live_price(price("0.5", USD, VIDEO), RATE, LIVEPEER_NODE, on_chain=on_chain))
        assert "Livepeer Node takes no price per hour of 720p video" in refused


@BOTH
def test_wei_without_a_rate_have_no_price_in_usd(terms: PriceTerms) -> None:
    assert "orchestrator.eth_usd" in unpublishable(live_price(price(1200), None, terms, on_chain=True))
    assert live(price(1, USD), None, terms).reported(None, terms) is None


@BOTH
def test_free_is_refused_on_chain(terms: PriceTerms) -> None:
    for asked in (price(0), price(0, USD)):
        assert "no price of 0" in unpublishable(live_price(asked, None, terms, on_chain=True))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (price(1, pixels=3), "below 1 wei per second"),
        (price(10**10, unit=VIDEO), "below 1 wei per pixel"),
        (price("0.5", unit=FIXED), "below 1 wei per job"),
        (price(10, ETH, FIXED), "above 9223372036854775807 wei per job"),
    ],
)
def test_what_the_node_would_show_no_price_for_is_refused(asked: Price, said: str) -> None:
    assert said in unpublishable(live_price(asked, RATE, GO_LIVEPEER, on_chain=True))


@BOTH
@pytest.mark.parametrize("on_chain", [False, None])
def test_a_node_that_is_not_known_to_be_on_chain_gets_a_price_where_there_is_one_and_never_a_refusal(
    terms: PriceTerms, on_chain: bool | None
) -> None:
    assert live_price(price(0), RATE, terms, on_chain=on_chain) is None
    assert live_price(price(1200), None, terms, on_chain=on_chain) is None
    assert live_price(price("0.5"), RATE, terms, on_chain=on_chain) == LivePrice("0.0000000000054", HOUR)
    assert live_price(price(100, ETH, FIXED), RATE, terms, on_chain=on_chain) == LivePrice("300000", FIXED)

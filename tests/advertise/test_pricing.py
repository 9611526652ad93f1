"""Prices on their way to the registries, by the node's own arithmetic and by what real nodes answered."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchd.advertise.pricing import (
    INT64_MAX,
    MOST_WEI_PER_SECOND,
    ByocPrice,
    Doubt,
    LivePrice,
    PriceInfo,
    Unpublishable,
    byoc_price,
    live_price,
    moved,
    quote,
    warnings,
)
from orchd.domain.money import Currency, Price, PriceUnit

TRANSCRIPTS = Path(__file__).parents[1] / "golivepeer" / "transcripts"
RATE = Fraction(3000)
WEI, ETH, USD = Currency
SECOND, HOUR, VIDEO, FIXED = PriceUnit
LIVE = {SECOND: ("hour", 1), HOUR: ("hour", 3600), VIDEO: ("720p", 3600 * 1280 * 720 * 30), FIXED: ("fixed", 1)}
"""Live Runner's unit for each of ours, and how many of what it counts (seconds, pixel-seconds, jobs) are in ours."""
DIVISOR = {"hour": 3600, "720p": 99_532_800_000, "fixed": 1}
SHOWN = {"hour": "seconds", "720p": "720p-pixel-seconds", "fixed": "fixed"}

AMOUNTS = st.one_of(
    st.integers(0, 10**20).map(Fraction),
    st.decimals(0, 10**6, places=12, allow_nan=False, allow_infinity=False).map(Fraction),
    st.decimals(0, 1, places=30, allow_nan=False, allow_infinity=False).map(Fraction),
)
PRICES = st.builds(Price, AMOUNTS, st.integers(1, 10**9), st.sampled_from(Currency), st.sampled_from(PriceUnit))
RATES = st.decimals(1, 10**6, places=8, allow_nan=False, allow_infinity=False).map(Fraction)  # as a feed has them
BOUNDED = settings(max_examples=300)


def price(amount: Any, currency: Currency = WEI, unit: PriceUnit = SECOND, pixels: int = 1) -> Price:
    return Price(Fraction(amount), pixels, currency, unit)


def exact_wei(asked: Price, rate: Fraction) -> Fraction:
    """Return the wei per second, pixel-second or job that an operator asks for."""
    to_wei = {WEI: Fraction(1), ETH: Fraction(10**18), USD: 10**18 / rate}[asked.currency]
    return asked.per_unit / asked.pixels_per_unit * to_wei / LIVE[asked.unit][1]


def byoc(asked: Price, rate: Fraction | None = RATE, on_chain: bool | None = True) -> ByocPrice:
    published = byoc_price(asked, rate, on_chain=on_chain)
    assert isinstance(published, ByocPrice), published
    return published


def live(asked: Price, rate: Fraction | None = RATE, on_chain: bool | None = True) -> LivePrice:
    published = live_price(asked, rate, on_chain=on_chain)
    assert isinstance(published, LivePrice), published
    return published


def unpublishable(published: object) -> str:
    assert isinstance(published, Unpublishable), published
    return published.reason


# BYOC.


@pytest.mark.parametrize(
    ("asked", "published", "reported"),
    [
        (price(1200), ByocPrice(1200, 1, WEI), 1200),
        (price("1.2", USD, HOUR), ByocPrice(1, 3000, USD), 111_111_111_111),
        (price("0.18", USD, pixels=1_000_000), ByocPrice(9, 50_000_000, USD), 60_000_000),
        (price("1e-9", ETH, HOUR), ByocPrice(2_500_000, 9, WEI), 277_777),
        (price("1e-18", ETH, HOUR), ByocPrice(1, 3600, WEI), 0),
        (price(1, pixels=3), ByocPrice(1, 3, WEI), 0),
        (price(0, USD), ByocPrice(0, 1, USD), 0),
        (price(MOST_WEI_PER_SECOND), ByocPrice(MOST_WEI_PER_SECOND, 1, WEI), MOST_WEI_PER_SECOND),
    ],
)
def test_byoc_is_told_a_fraction_per_second(asked: Price, published: ByocPrice, reported: int) -> None:
    assert byoc(asked) == published
    assert published.reported(RATE) == reported


@BOUNDED
@given(PRICES, RATES)
def test_byoc_s_integers_fit_and_the_node_reports_the_floor_of_what_is_asked(asked: Price, rate: Fraction) -> None:
    exact = exact_wei(asked, rate)
    published = byoc_price(asked, rate, on_chain=True)
    if isinstance(published, Unpublishable):
        assert asked.unit in (VIDEO, FIXED) or exact > MOST_WEI_PER_SECOND
        return
    assert 0 <= published.price_per_unit <= INT64_MAX
    assert 1 <= published.price_scaling <= INT64_MAX
    told = Fraction(published.price_per_unit, published.price_scaling)
    told_wei = told * 10**18 / rate if published.currency is USD else told
    in_currency = exact * rate / 10**18 if published.currency is USD else exact
    assert 0 <= in_currency - told < (in_currency + 1) / 2**62  # never more than asked, and hardly less
    if published.currency is WEI or told == in_currency:
        assert published.reported(rate) == floor(exact)
    else:
        assert published.reported(rate) == floor(told_wei)


def test_what_does_not_fit_keeps_its_whole_part() -> None:
    asked = price("123456.99999999999999999999999999999")
    assert byoc(asked).reported(None) == 123_456
    assert byoc(asked).price_scaling > 10**12


def test_a_usd_price_goes_out_as_usd_and_needs_no_rate_on_chain() -> None:
    for on_chain in (True, None):
        published = byoc(price(1, USD, HOUR), None, on_chain)
        assert published == ByocPrice(1, 3600, USD)
        assert published.reported(None) is None


def test_an_off_chain_node_is_told_wei_as_it_drops_usd() -> None:
    assert byoc(price("1.2", USD, HOUR), RATE, on_chain=False) == ByocPrice(10**12, 9, WEI)
    assert "takes no price in USD" in unpublishable(byoc_price(price(1, USD), None, on_chain=False))
    assert byoc(price(0, USD), None, on_chain=False) == ByocPrice(0, 1, WEI)


@pytest.mark.parametrize("unit", [VIDEO, FIXED])
def test_byoc_cannot_bill_video_and_jobs(unit: PriceUnit) -> None:
    reason = unpublishable(byoc_price(price(1, unit=unit), RATE, on_chain=True))
    assert reason == f"BYOC bills by the second only, and priceUnit is {unit}"


@pytest.mark.parametrize(
    "asked", [price(MOST_WEI_PER_SECOND + 1), price(10, ETH), price(10**30, USD, HOUR), price(10**40)]
)
def test_more_than_a_node_reports_is_refused_and_not_cut(asked: Price) -> None:
    assert str(MOST_WEI_PER_SECOND) in unpublishable(byoc_price(asked, RATE, on_chain=True))


def test_a_usd_price_out_of_all_bounds_is_refused_without_a_rate_too() -> None:
    unpublishable(byoc_price(price(10**20, USD), None, on_chain=True))


# Live Runner.


@pytest.mark.parametrize(
    ("asked", "published", "reported"),
    [
        (price("1.2", USD, HOUR), LivePrice("1.2", HOUR), PriceInfo(111_111_111_111, "seconds")),  # live-runner.md 7
        (price("0.001", USD), LivePrice("3.6", HOUR), PriceInfo(333_333_333_333, "seconds")),
        (price(1200), LivePrice("0.00000001296", HOUR), PriceInfo(1200, "seconds")),
        (price("0.5", USD, VIDEO), LivePrice("0.5", VIDEO), PriceInfo(1674, "720p-pixel-seconds")),
        (price("1e-5", ETH, FIXED), LivePrice("0.03", FIXED), PriceInfo(10**13, "fixed")),
        (price(100, USD, FIXED), LivePrice("100", FIXED), PriceInfo(33_333_333_333_333_333, "fixed")),
    ],
)
def test_live_runner_is_told_a_decimal_in_usd(asked: Price, published: LivePrice, reported: PriceInfo) -> None:
    assert live(asked) == published
    assert published.reported(RATE) == reported


@BOUNDED
@given(PRICES, RATES)
def test_live_runner_s_decimal_is_json_and_the_node_shows_the_floor_of_what_is_asked(
    asked: Price, rate: Fraction
) -> None:
    exact = exact_wei(asked, rate)
    published = live_price(asked, rate, on_chain=True)
    if isinstance(published, Unpublishable):
        assert not 1 <= exact < INT64_MAX + 1
        return
    assert published is not None
    assert re.fullmatch(r"\d+(\.\d*[1-9])?", published.price)
    assert json.loads(published.price, parse_float=Decimal) == Decimal(published.price)
    unit = LIVE[asked.unit][0]
    assert published.unit == unit
    usd = Fraction(published.price)
    exact_usd = exact * rate * DIVISOR[unit] / 10**18
    assert 0 <= usd - exact_usd < Fraction(1, 10**40)
    node_wei = usd * 10**18 / rate / DIVISOR[unit]
    assert published.reported(rate) == PriceInfo(floor(node_wei), SHOWN[unit])
    # What is left to the next wei is at least one part of the denominator: more than was rounded, or it may be reached.
    assume(Fraction(1, exact.denominator) > Fraction(10**18, 10**40) / rate)
    assert floor(node_wei) == floor(exact)


@BOUNDED
@given(st.integers(1, 10**18), RATES)
def test_whole_wei_come_back_as_they_are(wei: int, rate: Fraction) -> None:
    info = live(price(wei), rate).reported(rate)
    assert info == PriceInfo(wei, "seconds")


def test_wei_without_a_rate_have_no_price_in_usd() -> None:
    assert "orchestrator.eth_usd" in unpublishable(live_price(price(1200), None, on_chain=True))
    assert live(price(1, USD), None).reported(None) is None


def test_free_is_refused_on_chain() -> None:
    for asked in (price(0), price(0, USD)):
        assert "no price of 0" in unpublishable(live_price(asked, None, on_chain=None))


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
    assert said in unpublishable(live_price(asked, RATE, on_chain=True))


def test_an_off_chain_node_gets_a_price_where_there_is_one_and_never_a_refusal() -> None:
    assert live_price(price(0), RATE, on_chain=False) is None
    assert live_price(price(1200), None, on_chain=False) is None
    assert live_price(price("0.5"), RATE, on_chain=False) == LivePrice("0.0000000000054", HOUR)


# Real nodes.


def registered_and_reported(file: str) -> list[tuple[str, dict[str, Any], int]]:
    """Return (step, body of the registration, wei in the token) of each token that a recording has a price for."""
    bodies: dict[str, dict[str, Any]] = {}
    found = []
    for step in json.loads((TRANSCRIPTS / file).read_text()):
        request, response = step.get("request") or {}, step.get("response") or {}
        headers = request.get("headers") or {}
        if request.get("target") == "/capability/register":
            body = json.loads(request["body"])
            bodies[body["name"]] = body
        elif request.get("target") == "/process/token" and response.get("status") == 200:
            name = headers["Livepeer-Capability"]
            if given_in_label := re.search(r"price_per_unit (\d+), price_scaling (\d+)", step["step"]):
                per_unit, scaling = map(int, given_in_label.groups())
                bodies[name] = {"price_per_unit": per_unit, "price_scaling": scaling, "currency": "wei"}
            if name in bodies:
                found.append((step["step"], bodies[name], json.loads(response["body"])["price"].get("pricePerUnit", 0)))
    return found


def test_the_token_of_a_node_without_overhead_shows_what_we_say_it_reports() -> None:
    tokens = registered_and_reported("onchain-token-noadjust.json")
    assert len(tokens) >= 5
    for step, body, wei in tokens:
        published = ByocPrice(body["price_per_unit"], body["price_scaling"], Currency(body["currency"]))
        assert published.reported(None) == wei, step


@pytest.mark.parametrize("file", ["onchain-token.json", "onchain-price.json"])
def test_the_token_shows_the_price_with_one_percent_of_overhead_and_then_floors_and_cuts(file: str) -> None:
    tokens = [token for token in registered_and_reported(file) if token[1]["price_per_unit"] >= 0]
    assert tokens
    for step, body, wei in tokens:
        told = Fraction(body["price_per_unit"], body["price_scaling"])
        assert min(floor(told * Fraction(101, 100)), MOST_WEI_PER_SECOND) == wei, step


def test_an_entry_is_registered_as_the_recordings_have_it() -> None:
    bodies = [body for _, body, _ in registered_and_reported("onchain-token.json")]
    assert {(body["price_per_unit"], body["price_scaling"]) for body in bodies} >= {(1, 3), (100, 3), (2_500_000, 1)}
    for body in bodies:
        if body["price_per_unit"] <= MOST_WEI_PER_SECOND:
            asked = Price(Fraction(body["price_per_unit"]), body["price_scaling"])
            assert byoc(asked) == ByocPrice(body["price_per_unit"], body["price_scaling"], WEI)


# Every unit.


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


def doubts(
    asked: Price, previous: Price | None = None, rate: Fraction | None = RATE, on_chain: bool | None = True
) -> set[Doubt]:
    return {warning.doubt for warning in warnings(asked, previous, rate, on_chain=on_chain)}


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


def test_usd_off_chain_is_doubted_and_what_happens_instead_is_said() -> None:
    [warning] = warnings(price(1, USD), None, RATE, on_chain=False)
    assert (warning.doubt, "told wei" in warning.text) == (Doubt.USD_OFF_CHAIN, True)
    [warning] = warnings(price(1, USD), None, None, on_chain=False)
    assert "not registered" in warning.text
    assert doubts(price(10**9), on_chain=False) == set()


@pytest.mark.parametrize(
    ("new", "expected"), [("2850", False), ("2849.99", True), ("3150", False), ("3150.01", True), ("3000", False)]
)
def test_a_rate_has_moved_when_it_differs_by_more_than_the_tolerance(new: str, expected: bool) -> None:
    assert moved(RATE, Fraction(new), Fraction(1, 20)) is expected

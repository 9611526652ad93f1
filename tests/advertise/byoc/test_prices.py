"""Prices on their way to BYOC, by the node's own arithmetic and by what real nodes answered."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fractions import Fraction
from math import floor
from typing import Any

import pytest
from hypothesis import given

from orchd.advertise.byoc.prices import MOST_WEI_PER_SECOND, USD_OFF_CHAIN, ByocPrice, byoc_price
from orchd.advertise.price_doubts import warnings
from orchd.advertise.prices import INT64_MAX, Unpublishable
from orchd.domain.money import Currency, Price, PriceUnit
from orchd.domain.offer import NodeStatus
from tests.advertise.price_cases import (
    BOUNDED,
    ETH,
    FIXED,
    HOUR,
    PRICES,
    RATE,
    RATES,
    TRANSCRIPTS,
    USD,
    VIDEO,
    WEI,
    exact_wei,
    price,
    unpublishable,
)


def byoc(asked: Price, rate: Fraction | None = RATE, on_chain: bool | None = True) -> ByocPrice:
    published = byoc_price(asked, rate, on_chain=on_chain)
    assert isinstance(published, ByocPrice), published
    return published


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


OFF_CHAIN = NodeStatus(True, 1, 1.0, on_chain=False, registries=("byoc", "live-runner"))


def test_usd_off_chain_is_not_doubted_for_what_byoc_does_not_get() -> None:
    assert not warnings(price(1, USD, FIXED), None, RATE, OFF_CHAIN), "it bills by the second only"
    assert not warnings(price(1, USD, VIDEO), None, RATE, OFF_CHAIN)
    assert not warnings(price(1, USD), None, RATE, replace(OFF_CHAIN, registries=("live-runner",)))


def test_usd_off_chain_is_doubted_and_what_happens_instead_is_said() -> None:
    [warning] = warnings(price(1, USD), None, RATE, OFF_CHAIN)
    assert (warning.code, "told wei" in warning.text) == (USD_OFF_CHAIN, True)
    [warning] = warnings(price(1, USD), None, None, OFF_CHAIN)
    assert "not registered" in warning.text
    assert not warnings(price(10**9), None, RATE, OFF_CHAIN)


# What real nodes answered.


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

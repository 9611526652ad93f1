"""Prices and rates to try, and the node's own arithmetic."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from orchd.advertise.prices import Unpublishable
from orchd.domain.money import Currency, Price, PriceUnit

TRANSCRIPTS = Path(__file__).parents[1] / "doubles" / "transcripts"
RATE = Fraction(3000)
WEI, ETH, USD = Currency
SECOND, HOUR, VIDEO, FIXED = PriceUnit
LIVE = {SECOND: ("hour", 1), HOUR: ("hour", 3600), VIDEO: ("720p", 3600 * 1280 * 720 * 30), FIXED: ("fixed", 1)}
"""Live Runner's unit for each of ours, and how many of what it counts (seconds, pixel-seconds, jobs) are in ours."""

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


def unpublishable(published: object) -> str:
    assert isinstance(published, Unpublishable), published
    return published.reason

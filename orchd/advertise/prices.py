"""The price of an entry, in words that all registries share. Pure, and exact.

    entry (wei, eth, USD; per second, hour, 720p, fixed)
      -> a registry's own terms (`prices.py` in its folder)
      -> what the node then reports of it: whole wei

The node converts USD at the rate of its own feed and drops fractions of a wei. All prices here are before its overhead,
which it adds per gateway (docs/protocol/byoc.md, 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any, NamedTuple

from orchd.domain.money import Price, PriceUnit

SECONDS_PER_HOUR = 3600
SECONDS = {PriceUnit.SECOND: 1, PriceUnit.HOUR: SECONDS_PER_HOUR}
"""Seconds of compute in a unit; the other units have no fixed number of them."""

INT64_MAX = 2**63 - 1

NO_RATE = "ETH/USD is not known (set orchestrator.eth_usd)"
NO_720P = "Livepeer Node takes no price per hour of 720p video (set price_unit to second, hour or fixed)"
USD_ONLY = f"Live Runner takes USD only, and {NO_RATE}"


class BillingUnit(NamedTuple):
    """What the node counts in the end.

    Attributes:
        name: the node's own word.
        words: one of it, for people.
        in_unit: how many of it are in the price's unit.
    """

    name: str
    words: str
    in_unit: int


# Source: docs/protocol/live-runner.md, 6.
BILLED = {
    PriceUnit.SECOND: BillingUnit("seconds", "second", 1),
    PriceUnit.HOUR: BillingUnit("seconds", "second", SECONDS_PER_HOUR),
    PriceUnit.VIDEO_720P: BillingUnit(
        "720p-pixel-seconds", "pixel and second of 720p video", SECONDS_PER_HOUR * 1280 * 720 * 30
    ),
    PriceUnit.FIXED: BillingUnit("fixed", "job or session", 1),
}


@dataclass(frozen=True, slots=True)
class Unpublishable:
    """A price that a registry can't be told.

    Attributes:
        reason: why; goes on from "cannot publish the price: ".
    """

    reason: str


@dataclass(frozen=True, slots=True)
class ToldPrice:
    """A price as one registry has it, for `orchd price`.

    Attributes:
        told: what the registry is told.
        reported: what the node then reports; empty = not known.
        json: both, exact, for machines.
    """

    told: str
    reported: str
    json: Mapping[str, Any]


class Doubt(StrEnum):
    """What an operator may not have meant, whatever the registry. A registry may have doubts of its own."""

    FREE = "free"
    BELOW_ONE_WEI = "below_one_wei"
    CHANGED_TENFOLD = "changed_tenfold"


@dataclass(frozen=True, slots=True)
class Quote:
    """A price in every unit, exact; None where it can't be said.

    Attributes:
        unit: of the last two.
        wei_per_second, wei_per_hour, usd_per_second, usd_per_hour: None too for 720p and fixed.
    """

    unit: PriceUnit
    wei_per_second: Fraction | None
    wei_per_hour: Fraction | None
    usd_per_second: Fraction | None
    usd_per_hour: Fraction | None
    wei_per_unit: Fraction | None
    usd_per_unit: Fraction | None


def quote(price: Price, eth_usd: Fraction | None) -> Quote:
    """Return `price` in every unit."""
    seconds = SECONDS.get(price.unit)

    def in_seconds(per_unit: Fraction | None, count: int) -> Fraction | None:
        return None if per_unit is None or seconds is None else per_unit * count / seconds

    wei, usd = price.wei(eth_usd), price.usd(eth_usd)
    return Quote(
        price.unit,
        wei_per_second=in_seconds(wei, 1),
        wei_per_hour=in_seconds(wei, SECONDS_PER_HOUR),
        usd_per_second=in_seconds(usd, 1),
        usd_per_hour=in_seconds(usd, SECONDS_PER_HOUR),
        wei_per_unit=wei,
        usd_per_unit=usd,
    )


def moved(old_rate: Fraction, new_rate: Fraction, tolerance: Fraction) -> bool:
    """Return whether a rate has changed by more than `tolerance`, a share of the old one (1/20 for 5 %)."""
    return abs(new_rate - old_rate) > old_rate * tolerance

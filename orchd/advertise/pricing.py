"""From the price of an entry to what a registry is told, and to what the node then reports. Pure, and exact.

    entry (wei, eth, USD; per second, hour, 720p, fixed)
      -> BYOC: a fraction of int64s in wei or USD, per second        -> the node's token: whole wei per second
      -> Live Runner: a decimal in USD, per hour, 720p or fixed      -> discovery: whole wei per second, pixel, job

The node converts USD at the rate of its own feed and cuts off what is left of a wei. All prices here are before its
overhead, which it adds per gateway (byoc.md 3.2).

Rounding. Nearly every price goes out as it is. What doesn't fit into BYOC's int64s is rounded down, by less than 2**-62
of the price plus one unit of its currency: never more than was asked. What is no decimal of 40 places, as most wei
amounts in USD are not, is rounded up for Live Runner, by less than 1e-40 USD: rounded down, a whole number of wei would
come back as one less. So the node's whole wei are those of the exact price, unless that misses the next wei by less
than what was rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from math import floor
from typing import NamedTuple

from orchd.domain.money import WEI_PER_ETH, Currency, Price, PriceUnit

SECONDS_PER_HOUR = 3600
SECONDS = {PriceUnit.SECOND: 1, PriceUnit.HOUR: SECONDS_PER_HOUR}
"""Seconds of compute in a unit; the other units have no fixed number of them."""

INT64_MAX = 2**63 - 1
MOST_WEI_PER_SECOND = INT64_MAX // 1000
"""Of more than this the node would report only this, 33 ETH an hour. Source: byoc.md 3.2, onchain-token.json."""

_LIVE_UNITS = {
    PriceUnit.SECOND: PriceUnit.HOUR,
    PriceUnit.HOUR: PriceUnit.HOUR,
    PriceUnit.VIDEO_720P: PriceUnit.VIDEO_720P,
    PriceUnit.FIXED: PriceUnit.FIXED,
}


class _Counted(NamedTuple):
    """What Live Runner bills by."""

    name: str
    per_unit: int


# Source: live-runner.md 6.
_COUNTED = {
    PriceUnit.HOUR: _Counted("seconds", SECONDS_PER_HOUR),
    PriceUnit.VIDEO_720P: _Counted("720p-pixel-seconds", SECONDS_PER_HOUR * 1280 * 720 * 30),
    PriceUnit.FIXED: _Counted("fixed", 1),
}
_IN_WORDS = {"seconds": "second", "720p-pixel-seconds": "pixel and second of 720p video", "fixed": "job or session"}

_PLACES = 40

NO_RATE = "ETH/USD is not known (set orchestrator.eth_usd)"


@dataclass(frozen=True, slots=True)
class Unpublishable:
    """Attributes:
    reason: why a registry can't be told this price; goes on from "cannot publish the price: ".
    """

    reason: str


@dataclass(frozen=True, slots=True)
class ByocPrice:
    """What BYOC is told: `price_per_unit / price_scaling` of `currency` per second. Source: byoc.md 2.2.

    Attributes:
        price_per_unit: 0 to 2**63 - 1.
        price_scaling: 1 to 2**63 - 1.
        currency: wei or USD; ETH goes out as wei, which is the same to the node.
    """

    price_per_unit: int
    price_scaling: int
    currency: Currency

    def reported(self, eth_usd: Fraction | None) -> int | None:
        """Return the wei per second of the node's tokens; None for USD while the rate is not known."""
        wei = Price(Fraction(self.price_per_unit), self.price_scaling, self.currency).wei(eth_usd)
        return None if wei is None else floor(wei)


@dataclass(frozen=True, slots=True)
class PriceInfo:
    """`price_info` of the node's discovery, in wei. Source: live-runner.md 7.

    Attributes:
        unit: `seconds`, `720p-pixel-seconds` or `fixed`.
    """

    price: int
    unit: str


@dataclass(frozen=True, slots=True)
class LivePrice:
    """What Live Runner is told, in USD. Source: live-runner.md 6.

    Attributes:
        price: a positive decimal without exponent. The node takes it as a JSON text or number, and reads it exactly.
        unit: hour, 720p or fixed.
    """

    price: str
    unit: PriceUnit

    def reported(self, eth_usd: Fraction | None) -> PriceInfo | None:
        """Return what discovery shows; None while the rate is not known. Below 1 wei it would show nothing at all."""
        if eth_usd is None:
            return None
        counted = _COUNTED[self.unit]
        return PriceInfo(floor(Fraction(self.price) * WEI_PER_ETH / eth_usd / counted.per_unit), counted.name)


def byoc_price(price: Price, eth_usd: Fraction | None, *, on_chain: bool | None) -> ByocPrice | Unpublishable:
    """Return the price for BYOC.

    Args:
        eth_usd: USD that an ETH costs; None = not known.
        on_chain: None = not known, and taken for true. A node off-chain has no feed and drops the connection over USD
            (byoc.md 2.2), so it is told wei.
    """
    seconds = SECONDS.get(price.unit)
    if seconds is None:
        return Unpublishable(f"BYOC bills by the second only, and priceUnit is {price.unit}")
    wei, usd = price.wei(eth_usd), price.usd(eth_usd)
    if price.currency is Currency.USD and on_chain is not False:
        amount, currency = usd, Currency.USD
    else:
        amount, currency = wei, Currency.WEI
    if amount is None:
        return Unpublishable(f"an off-chain node takes no price in USD, and {NO_RATE}")
    if max(amount, wei or 0) / seconds > MOST_WEI_PER_SECOND:
        return Unpublishable(f"it is above {MOST_WEI_PER_SECOND} wei per second, the most that a node reports")
    return ByocPrice(*_as_int64s(amount / seconds).as_integer_ratio(), currency)


def live_price(price: Price, eth_usd: Fraction | None, *, on_chain: bool | None) -> LivePrice | Unpublishable | None:
    """Return the price for Live Runner; None = send none, which only a node off-chain allows (it ignores prices).

    Args:
        eth_usd: as for `byoc_price`. The node converts back at its own rate, so it reports what was asked only as far
            as the rates agree.
        on_chain: as for `byoc_price`.
    """
    usd = price.usd(eth_usd)
    if not usd:
        if on_chain is False:
            return None
        return Unpublishable(
            f"Live Runner takes USD only, and {NO_RATE}" if usd is None else "Live Runner takes no price of 0 on chain"
        )
    unit = _LIVE_UNITS[price.unit]
    told = LivePrice(_as_decimal(usd * SECONDS_PER_HOUR if price.unit is PriceUnit.SECOND else usd), unit)
    shown = told.reported(eth_usd)
    if shown and on_chain is not False and not 0 < shown.price <= INT64_MAX:
        bound = "below 1" if shown.price == 0 else f"above {INT64_MAX}"
        return Unpublishable(f"it is {bound} wei per {_IN_WORDS[shown.unit]}: Live Runner would refuse all sessions")
    return told


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


class Doubt(StrEnum):
    """What an operator may not have meant."""

    FREE = "free"
    BELOW_ONE_WEI = "below_one_wei"
    CHANGED_TENFOLD = "changed_tenfold"
    USD_OFF_CHAIN = "usd_off_chain"


class PriceWarning(NamedTuple):
    doubt: Doubt
    text: str


def warnings(
    price: Price, previous: Price | None, eth_usd: Fraction | None, *, on_chain: bool | None
) -> tuple[PriceWarning, ...]:
    """Return what is doubtful about a price.

    Args:
        previous: the price before this one; None = there was none. Prices for different things (seconds, 720p video,
            jobs) and, while the rate is not known, USD and wei are not compared.
    """
    found = []
    counted, wei = _counted(price, price.wei(eth_usd))
    if price.per_unit == 0:
        found.append(PriceWarning(Doubt.FREE, "the price is 0 (free): Live Runner on chain takes no such price"))
    elif wei is not None and wei < 1:
        found.append(
            PriceWarning(
                Doubt.BELOW_ONE_WEI,
                f"the price is less than 1 wei per {_IN_WORDS[counted]}: "
                "it is floored to 0, which is free with BYOC, and Live Runner on chain refuses all sessions",
            )
        )
    if previous and _tenfold(previous, price, eth_usd):
        found.append(PriceWarning(Doubt.CHANGED_TENFOLD, "the price has changed more than ten times: is it meant?"))
    if price.currency is Currency.USD and on_chain is False:
        instead = "the model is not registered there" if eth_usd is None else "it is told wei at our rate"
        found.append(PriceWarning(Doubt.USD_OFF_CHAIN, f"an off-chain node drops BYOC registrations in USD: {instead}"))
    return tuple(found)


def moved(old_rate: Fraction, new_rate: Fraction, tolerance: Fraction) -> bool:
    """Return whether a rate has changed by more than `tolerance`, a share of the old one (1/20 for 5 %)."""
    return abs(new_rate - old_rate) > old_rate * tolerance


def _counted(price: Price, per_unit: Fraction | None) -> tuple[str, Fraction | None]:
    """Return what the price is counted by in the end, and the amount for one of it."""
    counted = _COUNTED[_LIVE_UNITS[price.unit]]
    return counted.name, per_unit and per_unit / SECONDS.get(price.unit, counted.per_unit)


def _tenfold(before: Price, after: Price, eth_usd: Fraction | None) -> bool:
    """Return whether one is more than ten times the other; 0 and anything else are."""
    for one, other in ((before.wei(eth_usd), after.wei(eth_usd)), (before.usd(eth_usd), after.usd(eth_usd))):
        (what, old), (as_well, new) = _counted(before, one), _counted(after, other)
        if what == as_well and old is not None and new is not None:
            return old > 10 * new or new > 10 * old
    return False


def _as_int64s(amount: Fraction) -> Fraction:
    """Return the fraction of int64s for `amount`, rounded down where it must be; its whole part is always kept."""
    if max(amount.as_integer_ratio()) <= INT64_MAX:
        return amount
    scaling = INT64_MAX // (floor(amount) + 1)
    return Fraction(floor(amount * scaling), scaling)


def _as_decimal(amount: Fraction) -> str:
    """Return `amount` without exponent; rounded up at the last place that is kept."""
    digits = -floor(-amount * 10**_PLACES)
    whole, rest = divmod(digits, 10**_PLACES)
    return f"{whole}.{rest:0{_PLACES}}".rstrip("0").rstrip(".")

"""Prices for Live Runner: a decimal in USD, per hour, 720p or fixed. Pure.

What is not a decimal of 40 places, as most wei amounts in USD are not, is rounded up, by less than 1e-40 USD: rounded
down, a whole number of wei would come back as one less. So the node's whole wei are those of the exact price, unless
that misses the next wei by less than what was rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import floor

from orchd.advertise.price_doubts import below_one_wei
from orchd.advertise.prices import BILLED, INT64_MAX, NO_RATE, SECONDS_PER_HOUR, Doubt, ToldPrice, Unpublishable
from orchd.domain.money import WEI_PER_ETH, Price, PriceUnit

HEADING = "LIVE RUNNER"
"""The heading of its column in `orchd price`."""

_PLACES = 40


@dataclass(frozen=True, slots=True)
class PriceInfo:
    """`price_info` of the node's discovery, in wei. Source: docs/protocol/live-runner.md, 7.

    Attributes:
        unit: `seconds`, `720p-pixel-seconds` or `fixed`.
    """

    price: int
    unit: str


@dataclass(frozen=True, slots=True)
class LivePrice:
    """What Live Runner is told, in USD. Source: docs/protocol/live-runner.md, 6.

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
        billed = BILLED[self.unit]
        return PriceInfo(floor(Fraction(self.price) * WEI_PER_ETH / eth_usd / billed.in_unit), billed.name)


def live_price(price: Price, eth_usd: Fraction | None, *, on_chain: bool | None) -> LivePrice | Unpublishable | None:
    """Return the price for Live Runner; None = send none, which only a node off-chain allows (it ignores prices).

    Args:
        eth_usd: USD per ETH; None = not known. The node converts back at its own rate, so it reports what was asked
            only as far as the rates agree.
        on_chain: None = not known, and taken for true.
    """
    usd = price.usd(eth_usd)
    if not usd:
        if on_chain is False:
            return None
        return Unpublishable(
            f"Live Runner takes USD only, and {NO_RATE}" if usd is None else "Live Runner takes no price of 0 on chain"
        )
    unit = PriceUnit.HOUR if price.unit is PriceUnit.SECOND else price.unit
    told = LivePrice(_as_decimal(usd * SECONDS_PER_HOUR if price.unit is PriceUnit.SECOND else usd), unit)
    shown = told.reported(eth_usd)
    if shown and on_chain is not False and not 0 < shown.price <= INT64_MAX:
        bound = "below 1" if shown.price == 0 else f"above {INT64_MAX}"
        return Unpublishable(f"it is {bound} wei per {BILLED[unit].words}: Live Runner would refuse all sessions")
    return told


def describe(price: Price, eth_usd: Fraction | None) -> ToldPrice | Unpublishable:
    """Return what Live Runner is told by a node on chain, and what the node then shows."""
    told = live_price(price, eth_usd, on_chain=None)
    assert told is not None  # Only a node off chain is sent none.
    if isinstance(told, Unpublishable):
        return told
    shown = told.reported(eth_usd)
    return ToldPrice(
        f"{told.price} usd, {told.unit}",
        f"{shown.price} wei, {shown.unit}" if shown else "",
        {**asdict(told), "currency": "usd", "node_reports": shown and {**asdict(shown), "currency": "wei"}},
    )


def remarks(price: Price, eth_usd: Fraction | None, *, on_chain: bool | None) -> Mapping[str, str]:
    """Return what Live Runner makes of a doubtful price, by the code of the doubt."""
    if price.per_unit == 0:
        return {Doubt.FREE: "Live Runner on chain takes no such price"}
    if below_one_wei(price, eth_usd):
        return {Doubt.BELOW_ONE_WEI: "Live Runner on chain refuses all sessions"}
    return {}


def _as_decimal(amount: Fraction) -> str:
    """Return `amount` without exponent; rounded up at the last place that is kept."""
    digits = -floor(-amount * 10**_PLACES)
    whole, rest = divmod(digits, 10**_PLACES)
    return f"{whole}.{rest:0{_PLACES}}".rstrip("0").rstrip(".")

"""Prices for Live Runner: a decimal in USD, per hour, 720p or fixed. Pure.

The two node programs make whole wei of it in two ways: go-livepeer drops fractions, Livepeer Node rounds them up
(`PriceTerms`). What is not a decimal of 40 places, as most wei amounts in USD are not, is rounded the other way, by
less than 1e-40 USD, so that a whole number of wei comes back as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import ceil, floor

from orchd.advertise.price_doubts import below_one_wei
from orchd.advertise.prices import (
    BILLED,
    INT64_MAX,
    NO_720P,
    SECONDS_PER_HOUR,
    USD_ONLY,
    Doubt,
    ToldPrice,
    Unpublishable,
)
from orchd.domain.money import WEI_PER_ETH, Price, PriceUnit
from orchd.domain.offer import NodeStatus

HEADING = "LIVE RUNNER"
"""The heading of its column in `orchd price`."""

_PLACES = 40

VIDEO_AT_LIVEPEER_NODE = "720p_at_livepeer_node"
"""The code of the warning about a price that only one of the two programs takes."""


@dataclass(frozen=True, slots=True)
class PriceTerms:
    """How a node program reads a price. Source: docs/protocol/live-runner.md, 6.

    Attributes:
        program: its name, for people.
        whole: makes whole wei of an amount.
        video: it takes prices per 720p.
    """

    program: str
    whole: Callable[[Fraction], int]
    video: bool


GO_LIVEPEER = PriceTerms("go-livepeer", floor, video=True)
LIVEPEER_NODE = PriceTerms("Livepeer Node", ceil, video=False)


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

    def reported(self, eth_usd: Fraction | None, terms: PriceTerms) -> PriceInfo | None:
        """Return what discovery shows; None while the rate is not known. Of 0 wei it would show nothing at all."""
        if eth_usd is None:
            return None
        billed = BILLED[self.unit]
        return PriceInfo(terms.whole(Fraction(self.price) * WEI_PER_ETH / eth_usd / billed.in_unit), billed.name)


def live_price(
    price: Price, eth_usd: Fraction | None, terms: PriceTerms, *, on_chain: bool | None
) -> LivePrice | Unpublishable | None:
    """Return the price for Live Runner; None = send none, which a node off-chain ignores and one on chain refuses.

    Args:
        eth_usd: USD per ETH; None = not known. The node converts back at its own rate, so it reports what was asked
            only as far as the rates agree.
        on_chain: None = not known: what can be sent is sent, and what the node says to it is believed.
    """
    if price.unit is PriceUnit.VIDEO_720P and not terms.video:
        return Unpublishable(NO_720P)
    usd = price.usd(eth_usd)
    if not usd:
        return Unpublishable(why_none(price, eth_usd)) if on_chain else None
    unit = PriceUnit.HOUR if price.unit is PriceUnit.SECOND else price.unit
    told = LivePrice(_as_decimal(usd * SECONDS_PER_HOUR if price.unit is PriceUnit.SECOND else usd, terms), unit)
    shown = told.reported(eth_usd, terms)
    if shown and on_chain and not 0 < shown.price <= INT64_MAX:
        bound = "below 1" if shown.price == 0 else f"above {INT64_MAX}"
        return Unpublishable(f"it is {bound} wei per {BILLED[unit].words}: Live Runner would refuse all sessions")
    return told


def why_none(price: Price, eth_usd: Fraction | None) -> str:
    """Return why a node on chain can't be told of a price that is 0, or that can't be said in USD."""
    if price.usd(eth_usd) is None:
        return USD_ONLY
    return "Live Runner takes no price of 0 on chain"


def describe(price: Price, eth_usd: Fraction | None) -> ToldPrice | Unpublishable:
    """Return what Live Runner is told by a node on chain, and what go-livepeer then shows."""
    told = live_price(price, eth_usd, GO_LIVEPEER, on_chain=True)
    assert told is not None  # Only a node off chain is sent none.
    if isinstance(told, Unpublishable):
        return told
    shown = told.reported(eth_usd, GO_LIVEPEER)
    return ToldPrice(
        f"{told.price} usd, {told.unit}",
        f"{shown.price} wei, {shown.unit}" if shown else "",
        {**asdict(told), "currency": "usd", "node_reports": shown and {**asdict(shown), "currency": "wei"}},
    )


def remarks(price: Price, eth_usd: Fraction | None, node: NodeStatus | None) -> Mapping[str, str]:
    """Return what Live Runner makes of a doubtful price, by the code of the doubt.

    Args:
        node: the one beside us; None = it was not asked, so what any would make of it is said.
    """
    if node is not None and not node.on_chain:
        return {}  # Off chain no price counts; and if it is not known, the node will say so.
    if price.per_unit == 0:
        return {Doubt.FREE: "Live Runner on chain takes no such price"}
    found: dict[str, str] = {}
    if below_one_wei(price, eth_usd):
        found[Doubt.BELOW_ONE_WEI] = (
            "go-livepeer's Live Runner on chain refuses all sessions; Livepeer Node takes one wei"
        )
    if node is None and price.unit is PriceUnit.VIDEO_720P:
        found[VIDEO_AT_LIVEPEER_NODE] = NO_720P
    return found


def _as_decimal(amount: Fraction, terms: PriceTerms) -> str:
    """Return `amount` without exponent; rounded at the last place that is kept, against the program's own rounding.

    Args:
        amount: above 0.
    """
    digits = max(-terms.whole(-amount * 10**_PLACES), 1)
    whole, rest = divmod(digits, 10**_PLACES)
    return f"{whole}.{rest:0{_PLACES}}".rstrip("0").rstrip(".")

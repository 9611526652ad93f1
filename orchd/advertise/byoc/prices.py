"""Prices for BYOC: a fraction of two int64s in wei or USD, per second. Pure.

Nearly every price goes out as it is. What doesn't fit into int64s is rounded down, by less than 2**-62 of the price
plus one unit of its currency: never more than was asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import floor

from orchd.advertise.price_doubts import below_one_wei
from orchd.advertise.prices import INT64_MAX, NO_RATE, SECONDS, Doubt, ToldPrice, Unpublishable
from orchd.domain.money import Currency, Price
from orchd.domain.offer import NodeStatus

HEADING = "BYOC, A SECOND"
"""The heading of its column in `orchd price`."""

USD_OFF_CHAIN = "usd_off_chain"
"""A doubt of BYOC's own: a price in USD at a node that is not on chain."""

MOST_WEI_PER_SECOND = INT64_MAX // 1000
"""The highest price that the node reports, 33 ETH an hour: of a higher one it would report only this. Source:
docs/protocol/byoc.md, 3.2, onchain-token.json."""


@dataclass(frozen=True, slots=True)
class ByocPrice:
    """What BYOC is told: `price_per_unit / price_scaling` of `currency` per second. Source: docs/protocol/byoc.md, 2.2.

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


def byoc_price(price: Price, eth_usd: Fraction | None, *, on_chain: bool | None) -> ByocPrice | Unpublishable:
    """Return the price for BYOC.

    Args:
        eth_usd: USD that an ETH costs; None = not known.
        on_chain: None = not known, and taken for true. A node off-chain has no feed and drops the connection over USD
            (docs/protocol/byoc.md, 2.2), so it is told wei.
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


def describe(price: Price, eth_usd: Fraction | None) -> ToldPrice | Unpublishable:
    """Return what BYOC is told by a node on chain, and what the node then reports."""
    told = byoc_price(price, eth_usd, on_chain=None)
    if isinstance(told, Unpublishable):
        return told
    wei = told.reported(eth_usd)
    return ToldPrice(
        f"{told.price_per_unit}/{told.price_scaling} {told.currency}",
        "" if wei is None else f"{wei} wei",
        {**asdict(told), "node_reports_wei": wei},
    )


def remarks(price: Price, eth_usd: Fraction | None, node: NodeStatus | None) -> Mapping[str, str]:
    """Return what BYOC makes of a doubtful price, by the code of the doubt.

    Args:
        node: the one beside us; None = it was not asked.
    """
    found: dict[str, str] = {}
    if price.unit not in SECONDS:
        return found  # Such a model is not registered there at all.
    if below_one_wei(price, eth_usd):
        found[Doubt.BELOW_ONE_WEI] = "BYOC rounds it down to 0, which is free"
    if price.currency is Currency.USD and node is not None and node.on_chain is False:
        instead = "the model is not registered there" if eth_usd is None else "it is told wei at our rate"
        found[USD_OFF_CHAIN] = f"an off-chain node drops BYOC registrations in USD: {instead}"
    return found


def _as_int64s(amount: Fraction) -> Fraction:
    """Return the fraction of int64s for `amount`, rounded down where it must be; its whole part is always kept."""
    if max(amount.as_integer_ratio()) <= INT64_MAX:
        return amount
    scaling = INT64_MAX // (floor(amount) + 1)
    return Fraction(floor(amount * scaling), scaling)

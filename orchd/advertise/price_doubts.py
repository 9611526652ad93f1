"""What is doubtful about a price: said once when it changes, and by `orchd price`. Pure."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from orchd.advertise import registries
from orchd.advertise.prices import BILLED, Doubt
from orchd.domain.money import Price
from orchd.domain.offer import NodeStatus


class PriceWarning(NamedTuple):
    """One doubt.

    Attributes:
        code: one of `Doubt`, or of a registry's own.
        text: for people.
    """

    code: str
    text: str


def warnings(
    price: Price, previous: Price | None, eth_usd: Fraction | None, node: NodeStatus | None
) -> tuple[PriceWarning, ...]:
    """Return what is doubtful about a price, and what each registry makes of it.

    Args:
        previous: the price before this one; None = there was none. Prices for different things (seconds, 720p video,
            jobs) and, while the rate is not known, USD and wei are not compared.
        eth_usd: USD per ETH; None = not known.
        node: the one beside us, whose registries alone are asked; None = no node was asked, so all of them are.
    """
    found: dict[str, list[str]] = {}
    billed, wei = _billed(price, price.wei(eth_usd))
    if price.per_unit == 0:
        found[Doubt.FREE] = ["the price is 0 (free)"]
    elif wei is not None and wei < 1:
        found[Doubt.BELOW_ONE_WEI] = [f"the price is less than 1 wei per {billed}"]
    if previous and _tenfold(previous, price, eth_usd):
        found[Doubt.CHANGED_TENFOLD] = ["the price has changed more than ten times: is it meant?"]
    for name in registries.names() if node is None else node.registries:
        for code, text in registries.module(name, "prices").remarks(price, eth_usd, node).items():
            found.setdefault(code, []).append(text)
    return tuple(PriceWarning(code, "; ".join(texts)) for code, texts in found.items())


def below_one_wei(price: Price, eth_usd: Fraction | None) -> bool:
    """Return whether less than one wei, but not nothing, is asked for one of what is billed."""
    _, wei = _billed(price, price.wei(eth_usd))
    return wei is not None and 0 < wei < 1


def _billed(price: Price, per_unit: Fraction | None) -> tuple[str, Fraction | None]:
    """Return what the price is counted by in the end, and the amount for one of it."""
    billed = BILLED[price.unit]
    return billed.words, per_unit and per_unit / billed.in_unit


def _tenfold(before: Price, after: Price, eth_usd: Fraction | None) -> bool:
    """Return whether one is more than ten times the other; 0 and anything else are."""
    for one, other in ((before.wei(eth_usd), after.wei(eth_usd)), (before.usd(eth_usd), after.usd(eth_usd))):
        (what, old), (as_well, new) = _billed(before, one), _billed(after, other)
        if what == as_well and old is not None and new is not None:
            return old > 10 * new or new > 10 * old
    return False

"""Which prices directories may carry, and which of them a new session gets. Pure.

A client pays what its directory says, and 1.2 % more at most: its signer refuses dearer terms, and the client goes
elsewhere. Directories are up to 25 minutes old, so after a raise the former price is honoured until none can carry it
any more. A lower price holds at once. Source: docs/protocol/paid-live-runner.md, 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from orchd.domain.ids import ModelKey
from orchd.tickets.prices import WorkPrice

_MORE_PER_1000 = 1012


class ListedPrice(NamedTuple):
    """A price that is listed, or was.

    Attributes:
        until: since when it is not listed any more, in seconds of the clock in use; None = it is listed.
    """

    key: ModelKey
    price: WorkPrice
    until: float | None


class ListedPrices:
    """The prices of all models. All times are in seconds of one monotonic clock.

    Args:
        honour_s: seconds for which directories may carry a price that is not listed any more.
        kept: what an earlier one knew.
    """

    def __init__(self, honour_s: float, kept: Iterable[ListedPrice] = ()) -> None:
        self._honour_s = honour_s
        self._untils: dict[ModelKey, dict[WorkPrice, float | None]] = {}
        for key, price, until in kept:
            self._untils.setdefault(key, {})[price] = until

    def list_only(self, prices: Mapping[ModelKey, WorkPrice], now: float) -> None:
        """Note that from now on these are listed, and no others."""
        for key in {**self._untils, **prices}:
            self._replace(key, prices.get(key), now)

    def replace(self, key: ModelKey, price: WorkPrice, now: float) -> bool:
        """Note that the price of a model has changed, if it is listed; return whether that is so."""
        if self._listed(key) in (None, price):
            return False
        self._replace(key, price, now)
        return True

    def honoured(self, key: ModelKey, price: WorkPrice, now: float) -> WorkPrice:
        """Return what a new session costs where it should cost `price`: that, or the highest of the listed prices that
        clients of all directories pay."""
        carried = [wei for wei, fixed in self._carried(key, now) if wei and fixed == price.fixed]
        least = min(carried, default=price.wei)
        if is_paid(price.wei, least):
            return price
        return WorkPrice(max(wei for wei in carried if is_paid(wei, least)), price.fixed)

    def all(self, now: float) -> Iterator[ListedPrice]:
        """Yield those that directories may carry, and forget the others."""
        for key in list(self._untils):
            carried = self._carried(key, now)
            self._untils[key] = {price: self._untils[key][price] for price in carried}
            if not carried:
                del self._untils[key]
            yield from (ListedPrice(key, price, self._untils[key][price]) for price in carried)

    def _listed(self, key: ModelKey) -> WorkPrice | None:
        return next((price for price, until in self._untils.get(key, {}).items() if until is None), None)

    def _replace(self, key: ModelKey, price: WorkPrice | None, now: float) -> None:
        listed, untils = self._listed(key), self._untils.setdefault(key, {})
        if listed is not None:
            untils[listed] = now
        if price is not None:
            untils[price] = None

    def _carried(self, key: ModelKey, now: float) -> list[WorkPrice]:
        untils = self._untils.get(key, {})
        return [price for price, until in untils.items() if until is None or now < until + self._honour_s]


def is_paid(wei: int, listed: int) -> bool:
    """Return whether a client pays this whose directory says `listed`: it computes with floats, so not at the edge."""
    return wei <= listed or wei * 1000 < listed * _MORE_PER_1000

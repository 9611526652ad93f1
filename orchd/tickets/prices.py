"""What a model's price comes to where it is paid with tickets: whole wei. Pure.

go-livepeer quotes more than an entry says: it adds its cost of redeeming, 1 % at least, and drops fractions of a wei,
which makes work free that costs less than one (docs/protocol/payments.md, 9.3, and quirk 10 of 16). orchd quotes what
the entry or a hook says, rounded up to a whole wei.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from orchd.domain.money import PriceUnit
from orchd.hooks.terms import Terms
from orchd.tickets.validation.faults import Fault, PaymentRefused

SECONDS = {PriceUnit.SECOND: 1, PriceUnit.HOUR: 3600}
MAX_WEI = 2**63 - 1
"""The most that fits into `expected_price` of a payment."""


class WorkPrice(NamedTuple):
    """What work costs.

    Attributes:
        wei: per second, or with `fixed` per job; 0 = it is free.
        fixed: it costs that once, however long it takes.
    """

    wei: int
    fixed: bool = False


def quote(terms: Terms) -> WorkPrice:
    """Return the price of a model, rounded up.

    Raises:
        PaymentRefused: PRICE_UNKNOWN, PRICE_UNSAYABLE.
    """
    if terms.price is None:
        raise PaymentRefused(
            Fault.PRICE_UNKNOWN,
            f"cannot sell {terms.capability}: its price is not known; it has no price_per_unit, or one in USD while "
            "the rate of ETH is not known",
        )
    fixed = terms.unit is PriceUnit.FIXED
    seconds = 1 if fixed or not terms.price else SECONDS.get(terms.unit)
    wei = MAX_WEI + 1 if seconds is None else ceil(terms.price / seconds)
    if wei > MAX_WEI:
        raise PaymentRefused(
            Fault.PRICE_UNSAYABLE,
            f"cannot sell {terms.capability}: its price can't be said in wei per second, of which there are at most "
            f"{MAX_WEI}; price_unit must be second, hour or fixed",
        )
    return WorkPrice(wei, fixed)

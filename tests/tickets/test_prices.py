"""What a price comes to in whole wei."""

from __future__ import annotations

from fractions import Fraction

import pytest

from orchd.domain.money import PriceUnit
from orchd.hooks.terms import Terms
from orchd.tickets.prices import MAX_WEI, WorkPrice, quote
from orchd.tickets.validation.faults import Fault, PaymentRefused


@pytest.mark.parametrize(
    ("price", "unit", "expected"),
    [
        (Fraction(2_500_000), PriceUnit.SECOND, WorkPrice(2_500_000)),
        (Fraction(1, 3), PriceUnit.SECOND, WorkPrice(1)),
        (Fraction(100, 3), PriceUnit.SECOND, WorkPrice(34)),
        (Fraction(3600), PriceUnit.HOUR, WorkPrice(1)),
        (Fraction(3601), PriceUnit.HOUR, WorkPrice(2)),
        (Fraction(7, 2), PriceUnit.FIXED, WorkPrice(4, fixed=True)),
        (Fraction(0), PriceUnit.VIDEO_720P, WorkPrice(0)),
        (Fraction(MAX_WEI), PriceUnit.SECOND, WorkPrice(MAX_WEI)),
    ],
)
def test_a_price_is_rounded_up_to_whole_wei_a_second(price: Fraction, unit: PriceUnit, expected: WorkPrice) -> None:
    assert quote(Terms("image/xl", price, unit)) == expected


@pytest.mark.parametrize(
    ("price", "unit", "fault"),
    [
        (None, PriceUnit.SECOND, Fault.PRICE_UNKNOWN),
        (Fraction(1), PriceUnit.VIDEO_720P, Fault.PRICE_UNSAYABLE),
        (Fraction(MAX_WEI) + 1, PriceUnit.SECOND, Fault.PRICE_UNSAYABLE),
    ],
)
def test_what_no_payer_could_be_told_is_not_sold(price: Fraction | None, unit: PriceUnit, fault: Fault) -> None:
    with pytest.raises(PaymentRefused, match="cannot sell image/xl") as caught:
        quote(Terms("image/xl", price, unit))
    assert caught.value.fault is fault

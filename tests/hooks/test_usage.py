"""What is settled for a session, in the units of its price."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from orchd.domain.money import PriceUnit
from orchd.hooks.usage import Measured, usage_of
from tests.hooks.test_account import ACCOUNT


@pytest.mark.parametrize(
    ("unit", "units"),
    [
        (PriceUnit.SECOND, Fraction(5, 2)),
        (PriceUnit.HOUR, Fraction(5, 7200)),
        (PriceUnit.VIDEO_720P, Fraction(5, 7200)),
        (PriceUnit.FIXED, Fraction(1)),
    ],
)
def test_units_are_those_of_the_price_and_exact(unit: PriceUnit, units: Fraction) -> None:
    usage = usage_of(replace(ACCOUNT, unit=unit), Measured(2.5, 0.1, 200, 3.0))
    assert (usage.units, usage.seconds, usage.first_byte_s, usage.status, usage.held_s) == (units, 2.5, 0.1, 200, 3.0)


def test_every_unit_of_a_price_can_be_settled() -> None:
    assert all(usage_of(replace(ACCOUNT, unit=unit), Measured(3600.0)).units >= 1 for unit in PriceUnit)


@pytest.mark.parametrize("unit", PriceUnit)
def test_a_job_that_was_not_admitted_has_used_nothing(unit: PriceUnit) -> None:
    usage = usage_of(replace(ACCOUNT, unit=unit, admitted=False), Measured(2.5, None, 0, 1.0))
    assert (usage.seconds, usage.units, usage.held_s) == (0.0, Fraction(0), 1.0)

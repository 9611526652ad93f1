"""Amounts for people."""

from __future__ import annotations

from fractions import Fraction

import pytest

from orchd.domain.money import in_eth


@pytest.mark.parametrize(
    ("wei", "shown"),
    [
        (0, "0 ETH"),
        (1, "1 wei"),
        (Fraction(1, 3), "0.333 wei"),
        (999_999, "999999 wei"),
        (10**6, "0.001 gwei"),
        (12_340_000_000, "12.3 gwei"),
        (10**13, "0.00001 ETH"),
        (123 * 10**14, "0.0123 ETH"),
        (-5 * 10**15, "-0.005 ETH"),
        (Fraction(2 * 10**18, 3), "0.667 ETH"),
        (9_999_999 * 10**9, "0.01 ETH"),
        (1200 * 10**18, "1200 ETH"),
        (123_456_789 * 10**16, "1234568 ETH"),
    ],
)
def test_an_amount_has_the_unit_that_suits_it_and_three_digits(wei: int | Fraction, shown: str) -> None:
    assert in_eth(wei) == shown

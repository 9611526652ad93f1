"""Prices: exact, never float."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction


class Currency(StrEnum):
    WEI = "wei"
    ETH = "eth"
    USD = "USD"


@dataclass(frozen=True, slots=True)
class Price:
    """What an entry asks for: `per_unit / pixels_per_unit` of `currency` per compute unit.

    Attributes:
        per_unit: >= 0; 0 is free.
        pixels_per_unit: >= 1.
    """

    per_unit: Fraction
    pixels_per_unit: int = 1
    currency: Currency = Currency.WEI

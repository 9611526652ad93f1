"""Prices: exact, never float."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal
from enum import StrEnum
from fractions import Fraction

WEI_PER_ETH = 10**18


class Currency(StrEnum):
    WEI = "wei"
    ETH = "eth"
    USD = "USD"


class PriceUnit(StrEnum):
    """What a price is for: a second or an hour of compute, an hour of 1280x720 video at 30 fps, a job or session."""

    SECOND = "second"
    HOUR = "hour"
    VIDEO_720P = "720p"
    FIXED = "fixed"


@dataclass(frozen=True, slots=True)
class Price:
    """What an entry asks for: `per_unit / pixels_per_unit` of `currency` per `unit`.

    Attributes:
        per_unit: >= 0; 0 is free.
        pixels_per_unit: >= 1.
    """

    per_unit: Fraction
    pixels_per_unit: int = 1
    currency: Currency = Currency.WEI
    unit: PriceUnit = PriceUnit.SECOND

    def wei(self, eth_usd: Fraction | None) -> Fraction | None:
        """Return wei per `unit`; None for a price in USD while `eth_usd`, the USD that an ETH costs, is not known."""
        amount = self.per_unit / self.pixels_per_unit
        if not amount:
            return amount  # free in every currency
        match self.currency:
            case Currency.WEI:
                return amount
            case Currency.ETH:
                return amount * WEI_PER_ETH
            case Currency.USD:
                return None if eth_usd is None else amount * WEI_PER_ETH / eth_usd

    def usd(self, eth_usd: Fraction | None) -> Fraction | None:
        """Return USD per `unit`; None for a price in wei or ETH while `eth_usd` is not known."""
        if self.currency is Currency.USD or not self.per_unit:
            return self.per_unit / self.pixels_per_unit
        wei = self.wei(eth_usd)
        return None if wei is None or eth_usd is None else wei * eth_usd / WEI_PER_ETH


def in_eth(amount: Fraction | int) -> str:
    """Return wei for a person, in the unit that suits the amount: `0.0123 ETH`, `12.3 gwei`, `350 wei`."""
    wei = Fraction(amount)
    for unit, size, least in (("ETH", WEI_PER_ETH, 10**13), ("gwei", 10**9, 10**6)):
        if abs(wei) >= least or not wei:
            return f"{plain(wei / size)} {unit}"
    return f"{plain(wei)} wei"


def plain(amount: Fraction) -> str:
    """Return a number for a person: to three digits, and to the point at least; without zeros at its end."""
    digits = Context(prec=28).divide(Decimal(amount.numerator), Decimal(amount.denominator))
    places = max(0, 2 - digits.adjusted()) if digits else 0
    shown = f"{digits:.{places}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown

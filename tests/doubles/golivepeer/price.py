"""The base (transcoding) prices per gateway: of no use to BYOC, but the restart sentinel lives here.

Source: go-livepeer-cli.md 3.2; cli.json.
"""

from __future__ import annotations

import re
from fractions import Fraction

from tests.doubles.golivepeer.byoc_register import wei
from tests.doubles.golivepeer.chain import Chain
from tests.doubles.shared.go_http import Dropped

_ADDRESS = re.compile(r"^0x[0-9a-fA-F]{40}|default$")


class BadPrice(Exception):
    """The text is the node's."""


class BasePrices:
    """Wei per pixel by lower-case address or `default`. Forgotten at a restart, but for the default of the flags."""

    def __init__(self, chain: Chain | None) -> None:
        self.prices: dict[str, Fraction] = {}
        if chain is not None and chain.base_price is not None:
            self.prices["default"] = chain.base_price

    def set(self, address: str, per_unit: str, units: str, currency: str, chain: Chain | None) -> None:
        """Set the price of one gateway. Raises BadPrice."""
        if not _ADDRESS.search(address):
            raise BadPrice("broadcasterEthAddr is not a valid eth address")
        self.prices[address.lower()] = base_price(per_unit, units, currency, chain)

    def shown(self) -> dict[str, str]:
        """As in `/status`."""
        return {address: str(self.prices[address]) for address in sorted(self.prices)}


def base_price(per_unit: str, units: str, currency: str, chain: Chain | None) -> Fraction:
    """Return the wei per pixel of what an operator typed. Raises BadPrice."""
    amount, pixels = rational(per_unit, "pricePerUnit"), rational(units, "pixelsPerUnit")
    if pixels <= 0:
        raise BadPrice(f"pixels per unit must be greater than 0, provided {units}")
    if amount < 0:
        raise BadPrice(f"price unit must be greater than or equal to 0, provided {per_unit}")
    try:
        return wei(amount, currency, chain) / pixels
    except Dropped as error:
        raise BadPrice(f"unknown currency {currency}") from error


def rational(text: str, name: str) -> Fraction:
    """Return what Go's big.Rat reads: `5`, `1/3`, `0.25`. Raises BadPrice."""
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise BadPrice(f"Error converting {name} string to rational: {text}") from error

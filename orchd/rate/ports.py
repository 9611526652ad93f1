"""What the rate part offers to those above it."""

from __future__ import annotations

from fractions import Fraction
from typing import Protocol

from orchd.domain.signal import Signal


class ExchangeRate(Protocol):
    """The rate between USD and ETH, from `open` on."""

    @property
    def eth_usd(self) -> Fraction | None:
        """USD that an ETH costs, as it was read last; None = not known."""
        ...

    @property
    def changed(self) -> Signal[()]:
        """Emitted when it is another one."""
        ...

    async def tried(self) -> None:
        """Return once it was read for the first time, or could not be."""
        ...

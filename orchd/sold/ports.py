"""What the part `sold` offers the parts above it."""

from __future__ import annotations

from typing import Protocol

from orchd.sold.keeper import SoldKeeper


class HasSold(Protocol):
    """The sessions that orchd sells itself.

    Attributes:
        sold: begins and ends them; from `open` on.
    """

    @property
    def sold(self) -> SoldKeeper: ...

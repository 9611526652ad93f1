"""What the part `sold` offers the parts above it."""

from __future__ import annotations

from typing import Protocol

from orchd.sold.keeper import SoldKeeper
from orchd.sold.runner_side.runner_side import RunnerSide
from orchd.sold.runner_side.urls import RunnerUrls


class HasSold(Protocol):
    """The sessions that orchd sells itself.

    Attributes: from `open` on.
        sold: begins and ends them.
        urls: where they and what they make are reached.
        runner_side: what their containers have made for them.
    """

    @property
    def sold(self) -> SoldKeeper: ...
    @property
    def urls(self) -> RunnerUrls: ...
    @property
    def runner_side(self) -> RunnerSide: ...

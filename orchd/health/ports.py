"""What the part `health` offers the parts above it."""

from __future__ import annotations

from typing import Protocol

from orchd.domain.ports import Prober


class Probes(Protocol):
    @property
    def prober(self) -> Prober: ...

"""What the part `health` offers the parts above it."""

from __future__ import annotations

from typing import Protocol

from orchd.domain.ports import Prober
from orchd.health.metrics import HealthCollector


class Probes(Protocol):
    """Probes of runners.

    Attributes:
        collector: what is told of each probe.
    """

    @property
    def prober(self) -> Prober: ...

    @property
    def collector(self) -> HealthCollector: ...

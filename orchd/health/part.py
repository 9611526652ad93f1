"""Probes, as a part. When to ask whom is decided by the poller, which the loop of `reconcile` drives."""

from __future__ import annotations

from orchd.health.metrics import HealthCollector
from orchd.health.probe import HttpProber
from orchd.part import Context, Part


class HealthPart(Part):
    """After `ports.Probes`."""

    name = "health"
    prober: HttpProber
    collector: HealthCollector

    def __init__(self, context: Context) -> None:
        self._context = context
        self._opened: HttpProber | None = None

    async def open(self) -> None:
        self.collector = HealthCollector(self._context.metrics)
        self.prober = self._opened = HttpProber(self._context.names, self._context.lag)

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

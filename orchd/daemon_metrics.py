"""The daemon itself: its build, its process, its garbage collector, and how late its event loop is."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from orchd.exposition import MetricsRegistry
from orchd.metric_lines import WHOLE, Family, Histogram, HistogramLines, Page, sample

LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

BUILD = Family(
    "orchd_build_info",
    "gauge",
    "What runs; always 1.",
    labels=("version", "python"),
    unit="-",
    good_for="which version runs where, also as labels of other series by `* on (instance) group_left (version)`",
)
LAG = Family(
    "orchd_loop_lag_seconds",
    "histogram",
    "How late the event loop came to a timer, ten times a second.",
    unit="seconds",
    good_for="is orchd itself short of CPU? Then its own lateness is in all its other times",
)


class DaemonCollector:
    """`exposition.Collector` of the process. Its standard families are prometheus-client's, about 100 us each."""

    families = (WHOLE, BUILD, LAG)

    def __init__(self, registry: MetricsRegistry, version: str) -> None:
        # One more series per counter, that nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._library = [CollectorRegistry() for _ in range(3)]
        for collector, own in zip((ProcessCollector, PlatformCollector, GCCollector), self._library, strict=True):
            collector(registry=own)
        self._build = sample(BUILD.name, 1, version=version, python=platform.python_version())
        self._lag = Histogram(LAG_BUCKETS)
        self._lag_lines = HistogramLines(LAG.name, {}, self._lag, emerging=False)
        self.loop_lag = self._lag.observe
        registry.register(self)

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        for library in self._library:
            yield generate_latest(library).decode(), "", ""
        yield "", self._build, self._lag_lines.text(page)

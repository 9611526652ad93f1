"""What health probes said, and how long they took.

Most probes take milliseconds, so those of most models say nothing by themselves: the durations of all models whose
probes were always quick are counted together, under empty labels. From its first slow probe on, a model has a histogram
of its own. Each probe is in one of them, so a sum over all models is a sum over all probes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchd.domain.ids import ModelKey
from orchd.domain.ports import ProbeWord
from orchd.exposition import MetricsRegistry
from orchd.metric_lines import MODEL_LABELS, EmergingCounters, Family, Histogram, HistogramLines, Page, model_labels

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
SLOW_S = 1.0
"""A probe that takes this long is slow. A runner on the same host answers within some milliseconds."""

PROBES = Family(
    "orchd_probes_total",
    "counter",
    "Health probes by what they said.",
    labels=(*MODEL_LABELS, "result"),
    unit="probes",
    good_for="what a model says of itself while it can't serve",
)
SECONDS = Family(
    "orchd_probe_seconds",
    "histogram",
    "Duration of health probes; under empty labels, of all models none of whose probes was slow.",
    labels=MODEL_LABELS,
    unit="seconds",
    good_for="which model answers its health route late",
)


class HealthCollector:
    """`exposition.Collector` of health probes; also what the poller tells."""

    families = (PROBES, SECONDS)

    def __init__(self, registry: MetricsRegistry) -> None:
        self._series = registry.per_model(_ProbeSeries)
        self._quick = Histogram(BUCKETS)
        self._quick_lines = HistogramLines(SECONDS.name, model_labels(None), self._quick, emerging=False)
        registry.register(self)

    def probed(self, key: ModelKey, word: str, duration_s: float) -> None:
        """Count one probe. `word`: a `ProbeWord`."""
        if series := self._series.get(key):
            series.words[word] += 1
            if series.seconds is None and (duration_s < SLOW_S or word == ProbeWord.VOID):  # void: our own slowness
                self._quick.observe(duration_s)
            else:
                series.own_seconds().observe(duration_s)

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        yield "", self._quick_lines.text(page)
        for _, series in self._series.now():
            yield series.lines(page)


class _ProbeSeries:
    __slots__ = ("_key", "_probes", "_seconds_lines", "seconds", "words")

    def __init__(self, key: ModelKey) -> None:
        self._key = key
        self.words: dict[str, int] = dict.fromkeys(ProbeWord, 0)
        self.seconds: Histogram | None = None
        self._seconds_lines: HistogramLines | None = None
        self._probes = EmergingCounters(PROBES.name, model_labels(key), "result")

    def own_seconds(self) -> Histogram:
        if self.seconds is None:
            self.seconds = Histogram(BUCKETS)
            self._seconds_lines = HistogramLines(SECONDS.name, model_labels(self._key), self.seconds)
        return self.seconds

    def lines(self, page: Page) -> Sequence[str]:
        seconds = self._seconds_lines.text(page) if self._seconds_lines is not None else ""
        return self._probes.text(page, self.words), seconds

"""Realtime sessions, counted where they are kept when a page is rendered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from orchd.domain.ids import ModelKey
from orchd.exposition import MetricsRegistry
from orchd.metric_lines import MODEL_LABELS, Family, Lines, Page, model_labels

PHASES = ("held", "starting", "running", "ending")
"""The words of `domain.phases.StreamPhase`, but for `ended`; a test keeps them the same."""

STREAMS = Family(
    "orchd_streams",
    "gauge",
    "Realtime sessions now, by phase.",
    labels=(*MODEL_LABELS, "phase"),
    unit="sessions",
    good_for="how many callers are in realtime sessions, and how far these are",
)


class StreamCollector:
    """`exposition.Collector` of realtime sessions.

    Args:
        streams: returns their numbers by model and phase.
        carries: tells whether a model is made for them; one that is not is left out until it has some.
    """

    families = (STREAMS,)

    def __init__(
        self,
        registry: MetricsRegistry,
        streams: Callable[[], Mapping[ModelKey, Mapping[str, int]]],
        carries: Callable[[ModelKey], bool] = lambda key: True,
    ) -> None:
        self._models = registry.per_model(_lines)
        self._streams = streams
        self._carries = carries
        registry.register(self)

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        counts = self._streams()
        defined = self._models.now()
        for key, lines in defined:
            of_key = counts.get(key)
            if of_key or lines.shown or self._carries(key):
                yield (lines.text(*((of_key or {}).get(phase, 0) for phase in PHASES)),)
        for key in counts.keys() - {key for key, _ in defined}:
            yield (_lines(key).text(*(counts[key].get(phase, 0) for phase in PHASES)),)


def _lines(key: ModelKey) -> Lines:
    return Lines.of(STREAMS.name, model_labels(key), "phase", PHASES)

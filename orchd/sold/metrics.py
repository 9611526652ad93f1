"""Sold sessions, counted where they are kept when a page is rendered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from orchd.domain.ids import ModelKey
from orchd.exposition import MetricsRegistry
from orchd.metric_lines import MODEL_LABELS, Family, Lines, Page, model_labels
from orchd.sold.live import STATES

SESSIONS = Family(
    "orchd_sold_sessions",
    "gauge",
    "Sessions that clients have reserved or begun at orchd itself, by state: pending = being paid for.",
    (*MODEL_LABELS, "state"),
    unit="sessions",
    good_for="how many clients are served without a node?",
)


class SoldCollector:
    """`exposition.Collector` of sold sessions.

    Args:
        counts: returns their numbers by model and state.
    """

    families = (SESSIONS,)

    def __init__(self, registry: MetricsRegistry, counts: Callable[[], Mapping[ModelKey, Mapping[str, int]]]) -> None:
        self._models = registry.per_model(_lines)
        self._counts = counts
        registry.register(self)

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        counts = self._counts()
        defined = dict(self._models.now())
        for key in defined | dict.fromkeys(counts):
            of_key = counts.get(key, {})
            lines = defined.get(key) or _lines(key)
            yield (lines.text(*(of_key.get(state, 0) for state in STATES)),)


def _lines(key: ModelKey) -> Lines:
    return Lines.of(SESSIONS.name, model_labels(key), "state", STATES)

"""Sold sessions, counted where they are kept when a page is rendered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from orchd.domain.ids import ModelKey
from orchd.exposition import MetricsRegistry
from orchd.metric_lines import MODEL_LABELS, Family, Lines, Page, model_labels
from orchd.sold.keeper import SoldKeeper
from orchd.sold.live import LiveSession

STATES = ("pending", "active", "ending")

SESSIONS = Family(
    "orchd_sold_sessions",
    "gauge",
    "Sessions that clients have reserved or begun at orchd itself, by state: pending = being paid for.",
    (*MODEL_LABELS, "state"),
    unit="sessions",
    good_for="how many clients are served without a node?",
)


class SoldCollector:
    """`exposition.Collector` of sold sessions."""

    families = (SESSIONS,)

    def __init__(self, registry: MetricsRegistry, sold: SoldKeeper) -> None:
        self._models = registry.per_model(_lines)
        self._sold = sold
        registry.register(self)

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        counts = Counter((each.key, state_of(each)) for each in self._sold.all())
        defined = dict(self._models.now())
        for key in {**defined, **{key: None for key, _ in counts}}:
            lines = defined.get(key) or _lines(key)
            yield (lines.text(*(counts[key, state] for state in STATES)),)


def state_of(session: LiveSession) -> str:
    """Return which of `STATES` it is in."""
    return "ending" if session.ending else "pending" if session.pending else "active"


def _lines(key: ModelKey) -> Lines:
    return Lines.of(SESSIONS.name, model_labels(key), "state", STATES)

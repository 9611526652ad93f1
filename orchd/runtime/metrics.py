"""What runtimes report about our runners, and whether they can be reached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchd.domain.model import RunnerKind
from orchd.exposition import MetricsRegistry
from orchd.metric_lines import Family, Page, sample

OTHER = "other"
RUNTIME_EVENTS = (
    *("create", "start", "restart", "die", "oom", "kill", "stop", "pause", "unpause", "destroy", "stream_lost"),
    OTHER,
)

EVENTS = Family(
    "orchd_runtime_events_total",
    "counter",
    "What runtimes reported about our runners.",
    labels=("runtime", "event"),
    unit="events",
    good_for="did the engine or somebody else stop a runner, or did orchd?",
)
UP = Family(
    "orchd_runtime_up",
    "gauge",
    "1 = the runtime can be reached. One that is down is left out while no model needs it.",
    labels=("runtime",),
    unit="0 or 1",
    good_for="can orchd start and heal anything at all?",
)


class RuntimeCollector:
    """`exposition.Collector` of the runtimes; also what they tell."""

    families = (EVENTS, UP)

    def __init__(self, registry: MetricsRegistry) -> None:
        kinds = [kind for kind in RunnerKind if kind.launched]
        self._events = {(str(kind), event): 0 for kind in kinds for event in RUNTIME_EVENTS}
        self._up: dict[str, bool] = {}
        registry.register(self)

    def runtime_event(self, kind: str, event: str) -> None:
        """Count it; one that is none of `RUNTIME_EVENTS` is `other`."""
        self._events[kind, event if event in RUNTIME_EVENTS else OTHER] += 1

    def runtime_up(self, kind: str, up: bool, needed: bool) -> None:
        """Set whether it can be reached. `needed`: a model is of this kind."""
        if up or needed:
            self._up[kind] = up
        else:
            self._up.pop(kind, None)

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        yield (
            "".join(sample(EVENTS.name, n, runtime=kind, event=event) for (kind, event), n in self._events.items()),
            "".join(sample(UP.name, int(up), runtime=kind) for kind, up in self._up.items()),
        )

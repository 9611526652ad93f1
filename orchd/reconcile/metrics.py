"""How each model stands: its runners by state, whether it can serve, and what was restarted why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from orchd.domain.ids import ModelKey
from orchd.domain.lifecycle import RunnerState
from orchd.exposition import EmergingCounters, Family, Lines, Page, Registry, model_labels

OTHER = "other"
RESTART_REASONS = (
    *("exited", "out_of_memory", "unhealthy", "error", "loading_timeout", "launch_failed", "operator"),
    OTHER,
)

SESSIONS_MAX = Family("orchd_sessions_max", "gauge", "Most sessions at once.")
RUNNERS = Family("orchd_runners", "gauge", "Runners by state.")
READY = Family("orchd_model_ready", "gauge", "1 = a session can begin if a slot is free.")
STARTABLE = Family("orchd_model_startable", "gauge", "1 = cold, and its first job would start it.")
RESTARTS = Family("orchd_runner_restarts_total", "counter", "Runners started again, by reason.")


class ReconcileCollector:
    """`exposition.Collector` of the models' standing; also what the loop tells, of what it drives too.

    Args:
        probed: as `HealthCollector.probed`.
        runtime_up: as `RuntimeCollector.runtime_up`.
    """

    families = (SESSIONS_MAX, RUNNERS, READY, STARTABLE, RESTARTS)

    def __init__(
        self,
        registry: Registry,
        probed: Callable[[ModelKey, str, float], None] = lambda key, word, duration_s: None,
        runtime_up: Callable[[str, bool, bool], None] = lambda kind, up, needed: None,
    ) -> None:
        self._registry = registry
        self.probed = probed
        self.runtime_up = runtime_up
        self._series = registry.per_model(_ModelSeries)
        registry.register(self)

    def define(self, key: ModelKey, max_sessions: int) -> None:
        """Make the series of a model, in all collectors; for one that has them, set only its limit."""
        self._registry.define(key)
        if series := self._series.get(key):
            series.max_sessions = max_sessions

    def forget(self, key: ModelKey) -> None:
        """Drop the series of a model, in all collectors."""
        self._registry.forget(key)

    def state(self, key: ModelKey, counts: Mapping[str, int], ready: bool, startable: bool) -> None:
        """Set how many runners are in which `RunnerState`; states that `counts` lacks have none."""
        if series := self._series.get(key):
            series.runners = tuple(counts.get(state, 0) for state in RunnerState)
            series.ready, series.startable = ready, startable

    def restarted(self, key: ModelKey, reason: str) -> None:
        """Count a runner that was started again; a reason that is none of `RESTART_REASONS` is `other`."""
        if series := self._series.get(key):
            series.restarts[reason if reason in series.restarts else OTHER] += 1

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        for _, series in self._series.now():
            yield series.lines(page)


class _ModelSeries:
    __slots__ = ("_lines", "_restarts", "_runners", "max_sessions", "ready", "restarts", "runners", "startable")

    def __init__(self, key: ModelKey) -> None:
        labels = model_labels(key)
        self.max_sessions = 0
        self.runners: tuple[int, ...] = (0,) * len(RunnerState)
        self.ready = self.startable = False
        self.restarts = dict.fromkeys(RESTART_REASONS, 0)
        self._lines = tuple(Lines.of(family.name, labels) for family in (SESSIONS_MAX, READY, STARTABLE))
        self._runners = Lines.of(RUNNERS.name, labels, "state", RunnerState)
        self._restarts = EmergingCounters(RESTARTS.name, labels, "reason")

    def lines(self, page: Page) -> Sequence[str]:
        most, ready, startable = self._lines
        return (
            most.text(self.max_sessions),
            self._runners.text(*self.runners),
            ready.text(int(self.ready)),
            startable.text(int(self.startable)),
            self._restarts.text(page, self.restarts),
        )

"""How each model stands: its runners by state, whether it can serve, and what was restarted why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from orchd.domain.ids import ModelKey
from orchd.domain.lifecycle import RunnerState
from orchd.exposition import MetricsRegistry
from orchd.metric_lines import EmergingCounters, Family, Lines, Page, model_labels

OTHER = "other"
RESTART_REASONS = (
    *("exited", "out_of_memory", "unhealthy", "error", "loading_timeout", "launch_failed", "operator"),
    OTHER,
)

LAUNCHES = (
    *(RunnerState.PULLING, RunnerState.PREPARED, RunnerState.STARTING, RunnerState.STOPPING),
    *(RunnerState.BACKOFF, RunnerState.FAILED),
)
"""States on the way of a runner that orchd launches and ends. A `url` entry's runner is in none of them for longer than
a step of the loop."""
ALL = tuple(RunnerState)
OTHERS = tuple(state for state in ALL if state not in LAUNCHES)

SESSIONS_MAX = Family("orchd_sessions_max", "gauge", "Most sessions at once.")
RUNNERS = Family("orchd_runners", "gauge", "Runners by state.")
READY = Family("orchd_model_ready", "gauge", "1 = a session can begin if a slot is free; absent while stopped.")
STARTABLE = Family(
    "orchd_model_startable", "gauge", "1 = cold, and its first job would start it; absent while stopped."
)
STOPPED = Family("orchd_model_stopped", "gauge", "1 = an operator has stopped it (`orchd stop`); absent else.")
RESTARTS = Family("orchd_runner_restarts_total", "counter", "Runners started again, by reason.")


class ReconcileCollector:
    """`exposition.Collector` of the models' standing; also what the loop tells, of what it drives too.

    Args:
        probed: as `HealthCollector.probed`.
        runtime_up: as `RuntimeCollector.runtime_up`.
    """

    families = (SESSIONS_MAX, RUNNERS, READY, STARTABLE, STOPPED, RESTARTS)

    def __init__(
        self,
        registry: MetricsRegistry,
        probed: Callable[[ModelKey, str, float], None] = lambda key, word, duration_s: None,
        runtime_up: Callable[[str, bool, bool], None] = lambda kind, up, needed: None,
    ) -> None:
        self._registry = registry
        self.probed = probed
        self.runtime_up = runtime_up
        self._series = registry.per_model(_RunnerSeries)
        registry.register(self)

    def define(self, key: ModelKey, max_sessions: int, *, managed: bool = True) -> None:
        """Make the series of a model, in all collectors; for one that has them, set only what is given here.

        Args:
            managed: orchd launches its runners. Of others, `LAUNCHES` are left out unless a runner was in one of them.
        """
        self._registry.define(key)
        if series := self._series.get(key):
            series.max_sessions = max_sessions
            series.managed = series.managed or managed

    def forget(self, key: ModelKey) -> None:
        """Drop the series of a model, in all collectors."""
        self._registry.forget(key)

    def state(
        self, key: ModelKey, counts: Mapping[str, int], ready: bool, startable: bool, *, stopped: bool = False
    ) -> None:
        """Set how many runners are in which `RunnerState`; states that `counts` lacks have none."""
        if series := self._series.get(key):
            series.runners = counts
            series.managed = series.managed or any(map(counts.get, LAUNCHES))
            series.ready, series.startable, series.stopped = ready, startable, stopped

    def restarted(self, key: ModelKey, reason: str) -> None:
        """Count a runner that was started again; a reason that is none of `RESTART_REASONS` is `other`."""
        if series := self._series.get(key):
            series.restarts[reason if reason in series.restarts else OTHER] += 1

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        for _, series in self._series.now():
            yield series.lines(page)


class _RunnerSeries:
    __slots__ = (
        *("_labels", "_lines", "_restarts", "_runners", "_states"),
        *("managed", "max_sessions", "ready", "restarts", "runners", "startable", "stopped"),
    )

    def __init__(self, key: ModelKey) -> None:
        labels = self._labels = model_labels(key)
        self.max_sessions = 0
        self.runners: Mapping[str, int] = {}
        self.ready = self.startable = self.stopped = False
        self.restarts = dict.fromkeys(RESTART_REASONS, 0)
        self._lines = tuple(Lines.of(family.name, labels) for family in (SESSIONS_MAX, READY, STARTABLE, STOPPED))
        self.managed = False
        self._states: tuple[RunnerState, ...] = ()
        self._runners = Lines(tuple)  # None yet.
        self._restarts = EmergingCounters(RESTARTS.name, labels, "reason")

    def lines(self, page: Page) -> Sequence[str]:
        most, ready, startable, stopped = self._lines
        states = ALL if self.managed else OTHERS
        if states is not self._states:
            self._states = states
            self._runners = Lines.of(RUNNERS.name, self._labels, "state", states)
        return (
            most.text(self.max_sessions),
            self._runners.text(*(self.runners.get(state, 0) for state in self._states)),
            # What is stopped is not wanted: no alert is to say that it is not ready.
            "" if self.stopped else ready.text(int(self.ready)),
            "" if self.stopped else startable.text(int(self.startable)),
            stopped.text(1) if self.stopped else "",
            self._restarts.text(page, self.restarts),
        )

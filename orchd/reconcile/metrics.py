"""How each model stands: its runners by state, whether it can serve, and what was restarted why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from orchd.domain.ids import ModelKey
from orchd.domain.lifecycle import RunnerState
from orchd.exposition import MetricsRegistry
from orchd.metric_lines import MODEL_LABELS, EmergingCounters, Family, Lines, Page, model_labels, sample

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

SESSIONS_MAX = Family(
    "orchd_sessions_max",
    "gauge",
    "Most sessions at once.",
    labels=MODEL_LABELS,
    unit="sessions",
    good_for="what the slots that are taken are to be divided by",
)
RUNNERS = Family(
    "orchd_runners",
    "gauge",
    "Runners by state.",
    labels=(*MODEL_LABELS, "state"),
    unit="runners",
    good_for="how many replicas serve, come, or failed",
)
READY = Family(
    "orchd_model_ready",
    "gauge",
    "1 = a session can begin if a slot is free; absent while stopped.",
    labels=MODEL_LABELS,
    unit="0 or 1",
    good_for="can jobs be served now?",
)
STARTABLE = Family(
    "orchd_model_startable",
    "gauge",
    "1 = cold, and its first job would start it; absent while stopped.",
    labels=MODEL_LABELS,
    unit="0 or 1",
    good_for="a model that is down on purpose, and fine",
)
STOPPED = Family(
    "orchd_model_stopped",
    "gauge",
    "1 = an operator has stopped it (`orchd stop`); absent else.",
    labels=MODEL_LABELS,
    unit="1",
    good_for="which models are to be started again one day",
)
RESTARTS = Family(
    "orchd_runner_restarts_total",
    "counter",
    "Runners started again, by reason.",
    labels=(*MODEL_LABELS, "reason"),
    unit="restarts",
    good_for="what keeps a model from staying up",
)

HELD_OVER = Family(
    "orchd_model_held_over",
    "gauge",
    "1 = goes by its last good definition, since its entry, or the whole file, has an error; absent = it does not.",
    labels=MODEL_LABELS,
    unit="1",
    good_for="which models serve something else than the file asks for",
)
LEAVING = Family(
    "orchd_model_leaving",
    "gauge",
    "1 = no longer in the models file, and its sessions end; absent = it is in the file.",
    labels=MODEL_LABELS,
    unit="1",
    good_for="a model that is not ready on purpose",
)
CONVERGED = Family(
    "orchd_converged",
    "gauge",
    "1 = what runs is what the models file asks for, and nothing is under way.",
    unit="0 or 1",
    good_for="has the last edit been carried out, and does nothing start again and again?",
)


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
        self._lines: tuple[Lines, ...] = ()  # Made for the first page.
        self.managed = False
        self._states: tuple[RunnerState, ...] = ()
        self._runners = Lines(tuple)  # None yet.
        self._restarts = EmergingCounters(RESTARTS.name, labels, "reason")

    def lines(self, page: Page) -> Sequence[str]:
        if not self._lines:
            gauges = (SESSIONS_MAX, READY, STARTABLE, STOPPED)
            self._lines = tuple(Lines.of(family.name, self._labels) for family in gauges)
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


class StandingCollector:
    """`exposition.Collector` of what few models are, read where it is kept when a page is rendered.

    Args:
        held_over, leaving: return the models that are so now.
        converged: returns whether nothing is under way.
    """

    families = (HELD_OVER, LEAVING, CONVERGED)

    def __init__(
        self,
        registry: MetricsRegistry,
        *,
        held_over: Callable[[], Iterable[ModelKey]],
        leaving: Callable[[], Iterable[ModelKey]],
        converged: Callable[[], bool],
    ) -> None:
        self._held_over, self._leaving, self._converged = held_over, leaving, converged
        registry.register(self)

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        yield "", "", sample(CONVERGED.name, int(self._converged()))
        for key in tuple(self._held_over()):
            yield sample(HELD_OVER.name, 1, **model_labels(key)), "", ""
        for key in tuple(self._leaving()):
            yield "", sample(LEAVING.name, 1, **model_labels(key)), ""

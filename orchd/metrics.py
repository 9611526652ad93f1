"""Every metric of orchd. Names and labels are an interface: a change goes into the release notes.

Labels are `pipeline`, `model_id` and words from closed lists; any other word is counted as `other`. A model's series
appear, at zero, when it is defined, and go with it. What concerns a model that is not defined (a job that named an
unknown one) is counted under empty labels, so that callers can't make series.

The three `byoc_` metrics are those that the public documents prescribe for containers, as orchd measures them from
outside (`source="orchd"`).
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics import MetricWrapperBase

from orchd.domain.changes import Changes
from orchd.domain.ids import ModelKey
from orchd.domain.lifecycle import RunnerState
from orchd.domain.model import RunnerKind
from orchd.domain.offer import NodeStatus, Published
from orchd.domain.ports import ProbeWord
from orchd.domain.state import ModelStatus, RunnerErrors, Severity
from orchd.errors import Code
from orchd.job_metrics import RUNNER_ERROR, JobCollector, JobSeries
from orchd.node_metrics import OTHER, NodeCollector

RESTART_REASONS = (
    *("exited", "out_of_memory", "unhealthy", "error", "loading_timeout", "launch_failed", "operator"),
    OTHER,
)
RUNTIME_EVENTS = (
    *("create", "start", "restart", "die", "oom", "kill", "stop", "pause", "unpause", "destroy", "stream_lost"),
    OTHER,
)
SIDES = ("caller", "runner")
CLOSED = ("idle", "header_timeout")
MODEL = ("pipeline", "model_id")
LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
PROBE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

Family = TypeVar("Family", bound=MetricWrapperBase)


class Metrics:
    """All collectors, on a registry that is passed in.

    Attributes:
        changes: models whose runners have answered a job with 500 to 599.
    """

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, registry: CollectorRegistry, version: str) -> None:
        # One more series per counter, that nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry
        self.changes: Changes[ModelKey] = Changes()
        self._models: dict[ModelKey, _ModelSeries] = {}
        self._active: Callable[[ModelKey], int] = lambda key: 0
        self._letting_go: Callable[[ModelKey], int] = lambda key: 0
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(name, text, labels, buckets=buckets, registry=registry)

        self.sessions_max = gauge("orchd_sessions_max", "Most sessions at once.", *MODEL)
        self.runners = gauge("orchd_runners", "Runners by state.", *MODEL, "state")
        self.model_ready = gauge("orchd_model_ready", "1 = a session can begin if a slot is free.", *MODEL)
        self.model_startable = gauge("orchd_model_startable", "1 = cold, and its first job would start it.", *MODEL)
        self.restarts = counter("orchd_runner_restarts_total", "Runners started anew, by reason.", *MODEL, "reason")
        self.probes = counter("orchd_probes_total", "Health probes by what they said.", *MODEL, "result")
        self.probe_seconds = histogram("orchd_probe_seconds", "Duration of health probes.", PROBE_BUCKETS, *MODEL)
        self._no_model = JobSeries()
        registry.register(JobCollector(self._job_series, lambda key: (self._active(key), self._letting_go(key))))
        self._node = NodeCollector(lambda: self._models)
        registry.register(self._node)
        self._reload_success = gauge("orchd_reload_success", "1 = the newest reading of the models file applied.")
        self._reload_timestamp = gauge("orchd_reload_timestamp_seconds", "Unix time of the last reading that applied.")
        self._reload_hash = gauge("orchd_reload_hash", "First 48 bits of the SHA-256 of the file that applied last.")
        self._file_problems = gauge("orchd_file_problems", "Problems of the models file.", "severity")
        self._runtime_events = counter(
            "orchd_runtime_events_total", "What runtimes reported about our runners.", "runtime", "event"
        )
        self._runtime_up = gauge(
            "orchd_runtime_up",
            "1 = the runtime can be reached. One that is down is left out while no model needs it.",
            "runtime",
        )
        self._connections = gauge("orchd_connections", "Connections for jobs that are open now.", "side")
        closed = counter("orchd_connections_closed_total", "Callers' connections that orchd closed.", "reason")
        self._closed = {reason: closed.labels(reason) for reason in CLOSED}
        self.loop_lag = histogram(
            "orchd_loop_lag_seconds", "How late the event loop came to a timer, ten times a second.", LAG_BUCKETS
        ).observe
        gauge("orchd_build_info", "What runs; always 1.", "version", "python").labels(
            version, platform.python_version()
        ).set(1)
        for severity in Severity:
            self._file_problems.labels(severity)
        for kind in (RunnerKind.CONTAINER, RunnerKind.PROCESS):
            for event in RUNTIME_EVENTS:
                self._runtime_events.labels(kind, event)

    def define(self, key: ModelKey, max_sessions: int) -> None:
        """Make the series of a model, at zero; for one that has them, set only its limit."""
        if key not in self._models:
            self._models[key] = _ModelSeries(self, key.pipeline, key.model_id)
        self._models[key].sessions_max.set(max_sessions)

    def forget(self, key: ModelKey) -> None:
        """Drop the series of a model; what is told of it afterwards, save of its jobs, is dropped too."""
        if series := self._models.pop(key, None):
            series.remove()

    def job_finished(
        self,
        key: ModelKey | None,
        outcome: str,
        code: str,
        total_s: float,
        first_byte_s: float | None,
        held_s: float,
        status: int = 0,
    ) -> None:
        """Count one job.

        Args:
            outcome: one of `OUTCOMES`.
            code: one of `JOB_ANSWERS`, or empty.
            total_s: from its arrival to its end, `held_s` included.
            first_byte_s: from its arrival to the runner's first byte; None = there was none.
            held_s: waiting for a cold model; 0 = it did not wait.
            status: of the runner's answer; 0 = there was none.
        """
        series = self._models.get(key) if key is not None else None
        jobs = self._no_model if series is None else series.jobs
        jobs.finished(outcome, code, total_s, first_byte_s, held_s, status)
        if outcome == RUNNER_ERROR and key is not None:
            self.changes.touch(key)

    def runner_errors(self, key: ModelKey) -> RunnerErrors | None:
        """Return how often a model's runners have answered a job with 500 to 599; None = never."""
        series = self._models.get(key)
        if series is None or not (count := series.jobs.outcomes[RUNNER_ERROR]):
            return None
        return RunnerErrors(count, series.jobs.failed_at, series.jobs.failed_status)

    def add_to(self, status: ModelStatus) -> ModelStatus:
        """Return the status with how often the model's runners have failed jobs."""
        errors = self.runner_errors(status.model.key)
        return status if errors is None else replace(status, runner_errors=errors)

    def request_refused(self, code: Code) -> None:
        """Count what was refused before it was a job: it names no model."""
        self._no_model.codes[code] += 1

    def connection_closed(self, reason: str) -> None:
        """Count a caller's connection that we closed: one of `CLOSED`."""
        self._closed[reason].inc()

    def connections_from(self, read: Callable[[], Mapping[str, int]]) -> None:
        """Take the numbers of open connections from there, when they are asked for."""
        for side in SIDES:
            self._connections.labels(side).set_function(partial(_number, read, side))

    def sessions_from(self, active: Callable[[ModelKey], int], letting_go: Callable[[ModelKey], int]) -> None:
        """Take the numbers of slots that are taken, and of those that are letting go, from there when asked for."""
        self._active, self._letting_go = active, letting_go

    def node_from(self, read: Callable[[], NodeStatus | None]) -> None:
        """Take how the go-livepeer node stands from there, when it is asked for."""
        self._node.node = read

    def registries_from(self, read: Callable[[], Mapping[str, Mapping[ModelKey, Published]]]) -> None:
        """Take how each model stands in each registry from there, when it is asked for."""
        self._node.registries = read

    def streams_from(self, read: Callable[[], Mapping[ModelKey, Mapping[str, int]]]) -> None:
        """Take the numbers of streams, by model and phase, from there, when they are asked for."""
        self._node.streams = read

    def registry_error(self, registry: str, code: str) -> None:
        """Count a call to a registry that failed."""
        self._node.failed(registry, code)

    def _job_series(self) -> Iterator[tuple[ModelKey | None, JobSeries]]:
        yield None, self._no_model
        for key, series in self._models.items():
            yield key, series.jobs

    def state(self, key: ModelKey, counts: Mapping[str, int], ready: bool, startable: bool) -> None:
        """Set how many runners are in which `RunnerState`; states that `counts` lacks have none."""
        if series := self._models.get(key):
            for state, gauge in series.runners.items():
                gauge.set(counts.get(state, 0))
            series.model_ready.set(ready)
            series.model_startable.set(startable)

    def restarted(self, key: ModelKey, reason: str) -> None:
        if series := self._models.get(key):
            series.restarts[reason if reason in series.restarts else OTHER].inc()

    def probed(self, key: ModelKey, word: str, duration_s: float) -> None:
        if series := self._models.get(key):
            series.probes[word].inc()
            series.probe_seconds.observe(duration_s)

    def reloaded(self, ok: bool, at: float, file_hash: str, errors: int, warnings: int) -> None:
        """Tell of one reading of the models file.

        Args:
            ok: it applied (bad entries left aside).
            at: Unix time, seconds.
            file_hash: 12 hex digits of the last file that applied; empty = none yet.
        """
        self._reload_success.set(ok)
        if ok:
            self._reload_timestamp.set(at)
        self._reload_hash.set(int(file_hash or "0", 16))
        self._file_problems.labels(Severity.ERROR).set(errors)
        self._file_problems.labels(Severity.WARNING).set(warnings)

    def runtime_event(self, kind: str, event: str) -> None:
        self._runtime_events.labels(kind, event if event in RUNTIME_EVENTS else OTHER).inc()

    def runtime_up(self, kind: str, up: bool, needed: bool) -> None:
        if up or needed:
            self._runtime_up.labels(kind).set(up)
        else:
            with contextlib.suppress(KeyError):  # it has not been there
                self._runtime_up.remove(kind)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format, of `content_type`."""
        return generate_latest(self._registry)


def _number(read: Callable[[], Mapping[str, int]], side: str) -> float:
    return read()[side]


class _ModelSeries:
    """The series of one model, looked up once."""

    def __init__(self, metrics: Metrics, *model: str) -> None:
        self._made: list[tuple[MetricWrapperBase, tuple[str, ...]]] = []
        one = self._one
        self.jobs = JobSeries()
        self.sessions_max = one(metrics.sessions_max, *model)
        self.runners: dict[str, Gauge] = {state: one(metrics.runners, *model, state) for state in RunnerState}
        self.model_ready = one(metrics.model_ready, *model)
        self.model_startable = one(metrics.model_startable, *model)
        self.restarts = {reason: one(metrics.restarts, *model, reason) for reason in RESTART_REASONS}
        self.probes: dict[str, Counter] = {word: one(metrics.probes, *model, word) for word in ProbeWord}
        self.probe_seconds = one(metrics.probe_seconds, *model)

    def _one(self, family: Family, *labels: str) -> Family:
        self._made.append((family, labels))
        return family.labels(*labels)

    def remove(self) -> None:
        for family, labels in self._made:
            family.remove(*labels)

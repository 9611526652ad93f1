"""Every metric of orchd. Names and labels are an interface: a change goes into the release notes.

Labels are `pipeline`, `model_id` and words from closed lists; any other word is counted as `other`. A model's series
appear, at zero, when it is defined, and go with it. What concerns a model that is not defined (a job that named an
unknown one) is counted under empty labels, so that callers can't make series.

The three `byoc_` metrics are those that the public documents prescribe for containers, as orchd measures them from
outside (`source="orchd"`).
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
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

from orchd.domain.ids import ModelKey
from orchd.domain.lifecycle import RunnerState
from orchd.domain.model import RunnerKind
from orchd.domain.ports import ProbeWord
from orchd.domain.state import Severity
from orchd.errors import JOB_ANSWERS, Code

OTHER = "other"
OUTCOMES = ("ok", "refused", "client_gone", "backend_failed", "timeout", "aborted", "error")
"""The words of `sessions.Outcome`, which this module may not import; a test keeps the two the same."""
RESTART_REASONS = (
    *("exited", "out_of_memory", "unhealthy", "error", "loading_timeout", "launch_failed", "operator"),
    OTHER,
)
RUNTIME_EVENTS = (
    *("create", "start", "restart", "die", "oom", "kill", "stop", "pause", "unpause", "destroy", "stream_lost"),
    OTHER,
)
PROCESSING_ERRORS = (Code.BACKEND_UNAVAILABLE, Code.BACKEND_BROKE, Code.BACKEND_TIMEOUT, Code.INTERNAL)
"""Codes that mean that the model did not do its work: the `type` of `byoc_errors_total`."""

MODEL = ("pipeline", "model_id")
JOB_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
PROBE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

Family = TypeVar("Family", bound=MetricWrapperBase)


class Metrics:
    """All collectors, on a registry that is passed in."""

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, registry: CollectorRegistry, version: str) -> None:
        # One more series per counter, that nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry
        self._models: dict[ModelKey, _ModelSeries] = {}
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(name, text, labels, buckets=buckets, registry=registry)

        self.jobs = counter("orchd_jobs_total", "Jobs by how they ended.", *MODEL, "outcome")
        self.job_errors = counter(
            "orchd_job_errors_total", "Jobs that failed or were refused, by code.", *MODEL, "code"
        )
        self.job_seconds = histogram(
            "orchd_job_seconds", "From a job's arrival to its end, waiting included.", JOB_BUCKETS, *MODEL
        )
        self.first_byte_seconds = histogram(
            "orchd_job_first_byte_seconds", "From a job's arrival to the runner's first byte.", JOB_BUCKETS, *MODEL
        )
        self.hold_seconds = histogram(
            "orchd_job_hold_seconds", "How long jobs that waited for a cold model did so.", JOB_BUCKETS, *MODEL
        )
        self.sessions_active = gauge("orchd_sessions_active", "Sessions now.", *MODEL)
        self.sessions_max = gauge("orchd_sessions_max", "Most sessions at once.", *MODEL)
        self.runners = gauge("orchd_runners", "Runners by state.", *MODEL, "state")
        self.model_ready = gauge("orchd_model_ready", "1 = a session can begin if a slot is free.", *MODEL)
        self.model_startable = gauge("orchd_model_startable", "1 = cold, and its first job would start it.", *MODEL)
        self.restarts = counter("orchd_runner_restarts_total", "Runners started anew, by reason.", *MODEL, "reason")
        self.probes = counter("orchd_probes_total", "Health probes by what they said.", *MODEL, "result")
        self.probe_seconds = histogram("orchd_probe_seconds", "Duration of health probes.", PROBE_BUCKETS, *MODEL)
        self.byoc_sessions = gauge("byoc_sessions_active", "Sessions now, as orchd counts them.", "source", *MODEL)
        self.byoc_latency = histogram(
            "byoc_frame_latency_ms",
            "Milliseconds from forwarding a job that succeeded to its end, as orchd measures them.",
            tuple(seconds * 1000 for seconds in JOB_BUCKETS),
            *("source", *MODEL),
        )
        self.byoc_errors = counter(
            "byoc_errors_total", "Jobs that the model failed, as orchd sees them, by type.", "source", *MODEL, "type"
        )
        self._reload_success = gauge("orchd_reload_success", "1 = the newest reading of the models file applied.")
        self._reload_timestamp = gauge("orchd_reload_timestamp_seconds", "Unix time of the last reading that applied.")
        self._reload_hash = gauge("orchd_reload_hash", "First 48 bits of the SHA-256 of the file that applied last.")
        self._file_problems = gauge("orchd_file_problems", "Problems of the models file.", "severity")
        self._runtime_events = counter(
            "orchd_runtime_events_total", "What runtimes reported about our runners.", "runtime", "event"
        )
        self._runtime_up = gauge("orchd_runtime_up", "1 = the runtime can be reached.", "runtime")
        gauge("orchd_build_info", "What runs; always 1.", "version", "python").labels(
            version, platform.python_version()
        ).set(1)
        for severity in Severity:
            self._file_problems.labels(severity)
        for kind in (RunnerKind.CONTAINER, RunnerKind.PROCESS):
            for event in RUNTIME_EVENTS:
                self._runtime_events.labels(kind, event)
        self._unknown = _JobSeries(self, "", "")

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
        *,
        total_s: float,
        first_byte_s: float | None,
        held_s: float,
    ) -> None:
        """Count one job.

        Args:
            outcome: one of `OUTCOMES`.
            code: one of `JOB_ANSWERS`, or empty.
            total_s: from its arrival to its end, `held_s` included.
            first_byte_s: from its arrival to the runner's first byte; None = there was none.
            held_s: waiting for a cold model; 0 = it did not wait.
        """
        series = (self._models.get(key) if key else None) or self._unknown
        series.jobs[outcome].inc()
        series.job_seconds.observe(total_s)
        if code:
            series.job_errors[code].inc()
        if first_byte_s is not None:
            series.first_byte_seconds.observe(first_byte_s)
        if held_s > 0:
            series.hold_seconds.observe(held_s)
        if outcome == "ok":
            series.byoc_latency.observe((total_s - held_s) * 1000)
        if code in series.byoc_errors:
            series.byoc_errors[code].inc()

    def sessions(self, key: ModelKey, active: int) -> None:
        if series := self._models.get(key):
            series.sessions_active.set(active)
            series.byoc_sessions.set(active)

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

    def runtime_up(self, kind: str, up: bool) -> None:
        self._runtime_up.labels(kind).set(up)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format, of `content_type`."""
        return generate_latest(self._registry)


class _JobSeries:
    """The series that a job counts in, looked up once."""

    def __init__(self, metrics: Metrics, *model: str) -> None:
        self._made: list[tuple[MetricWrapperBase, tuple[str, ...]]] = []
        one = self._one
        self.jobs = {word: one(metrics.jobs, *model, word) for word in OUTCOMES}
        self.job_errors: dict[str, Counter] = {code: one(metrics.job_errors, *model, code) for code in JOB_ANSWERS}
        self.job_seconds = one(metrics.job_seconds, *model)
        self.first_byte_seconds = one(metrics.first_byte_seconds, *model)
        self.hold_seconds = one(metrics.hold_seconds, *model)
        self.byoc_latency = one(metrics.byoc_latency, "orchd", *model)
        self.byoc_errors: dict[str, Counter] = {
            code: one(metrics.byoc_errors, "orchd", *model, code) for code in PROCESSING_ERRORS
        }

    def _one(self, family: Family, *labels: str) -> Family:
        self._made.append((family, labels))
        return family.labels(*labels)

    def remove(self) -> None:
        for family, labels in self._made:
            family.remove(*labels)


class _ModelSeries(_JobSeries):
    """All series of one model."""

    def __init__(self, metrics: Metrics, *model: str) -> None:
        super().__init__(metrics, *model)
        one = self._one
        self.sessions_active = one(metrics.sessions_active, *model)
        self.sessions_max = one(metrics.sessions_max, *model)
        self.runners: dict[str, Gauge] = {state: one(metrics.runners, *model, state) for state in RunnerState}
        self.model_ready = one(metrics.model_ready, *model)
        self.model_startable = one(metrics.model_startable, *model)
        self.restarts = {reason: one(metrics.restarts, *model, reason) for reason in RESTART_REASONS}
        self.probes: dict[str, Counter] = {word: one(metrics.probes, *model, word) for word in ProbeWord}
        self.probe_seconds = one(metrics.probe_seconds, *model)
        self.byoc_sessions = one(metrics.byoc_sessions, "orchd", *model)

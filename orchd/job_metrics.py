"""The numbers that every job changes: plain ones, made into Prometheus' families only when they are asked for.

A job counts in up to five families; prometheus-client's own collectors would take more time for that than the rest of
the job path together, for locks that a program of one thread does not need.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from orchd.domain.ids import ModelKey
from orchd.errors import JOB_ANSWERS, Code

OUTCOMES = ("ok", "runner_error", "refused", "client_gone", "backend_failed", "timeout", "aborted", "error")
"""The words of `sessions.Outcome`, which this module may not import; a test keeps the two the same."""
PROCESSING_ERRORS = (
    *(Code.BACKEND_UNAVAILABLE, Code.BACKEND_CONNECT_TIMEOUT, Code.BACKEND_BROKE),
    *(Code.BACKEND_TIMEOUT, Code.BACKEND_STALLED, Code.INTERNAL),
)
"""Codes that mean that the model did not do its work: with `RUNNER_ERROR`, the `type` of `byoc_errors_total`."""
RUNNER_ERROR = "runner_error"
"""The outcome of a job that its runner answered with 500 to 599."""
STATUS_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
JOB_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
SOURCE = "orchd"


class Histogram:
    """Observations by bucket, in seconds."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(JOB_BUCKETS) + 1)
        self.total = 0.0

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str], scale: float = 1) -> None:
        """Args:
        scale: of the family's unit, in a second.
        """
        buckets: list[tuple[str, float]] = []
        below = 0
        for bound, count in zip((*JOB_BUCKETS, float("inf")), self.counts, strict=True):
            below += count
            buckets.append(("+Inf" if bound == float("inf") else str(float(bound * scale)), below))
        family.add_metric(labels, buckets, self.total * scale)


class JobSeries:
    """What one model's jobs count in.

    Attributes:
        answers: by the first digit of their status; the first one counts jobs without an answer.
        failed_at, failed_status: of the last answer with 500 to 599 (Unix time).
    """

    __slots__ = ("answers", "codes", "failed_at", "failed_status", "first_byte", "held", "outcomes", "seconds", "work")

    def __init__(self) -> None:
        self.answers = [0] * 10
        self.failed_at = 0.0
        self.failed_status = 0
        self.outcomes: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
        self.codes: dict[str, int] = dict.fromkeys(JOB_ANSWERS, 0)
        self.seconds = Histogram()
        self.first_byte = Histogram()
        self.held = Histogram()
        self.work = Histogram()

    def finished(
        self, outcome: str, code: str, total_s: float, first_byte_s: float | None, held_s: float, status: int
    ) -> None:
        """As `Metrics.job_finished`."""
        # Written out, as each call would cost about as much as all of what it does.
        self.outcomes[outcome] += 1
        self.answers[status // 100] += 1
        if outcome == RUNNER_ERROR:
            self.failed_at, self.failed_status = time.time(), status
        bucket = bisect_left(JOB_BUCKETS, total_s)
        family = self.seconds
        family.counts[bucket] += 1
        family.total += total_s
        if code:
            self.codes[code] += 1
        if first_byte_s is not None:
            family = self.first_byte
            family.counts[bisect_left(JOB_BUCKETS, first_byte_s)] += 1
            family.total += first_byte_s
        if held_s > 0:
            self.held.counts[bisect_left(JOB_BUCKETS, held_s)] += 1
            self.held.total += held_s
            total_s -= held_s
            bucket = bisect_left(JOB_BUCKETS, total_s)
        if outcome == "ok":
            family = self.work
            family.counts[bucket] += 1
            family.total += total_s


class JobCollector(Collector):
    """Args:
    series: by model, now; an empty key holds what concerns no model.
    slots: of a model, now: those that are taken, and how many of them are letting go.
    """

    def __init__(
        self,
        series: Callable[[], Iterable[tuple[ModelKey | None, JobSeries]]],
        slots: Callable[[ModelKey], tuple[int, int]],
    ) -> None:
        self._series = series
        self._slots = slots

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        model = ("pipeline", "model_id")
        jobs = CounterMetricFamily("orchd_jobs", "Jobs by how they ended.", labels=(*model, "outcome"))
        errors = CounterMetricFamily(
            "orchd_job_errors", "Jobs that failed or were refused, by code.", labels=(*model, "code")
        )
        seconds = HistogramMetricFamily(
            "orchd_job_seconds", "From a job's arrival to its end, waiting included.", labels=model
        )
        first_byte = HistogramMetricFamily(
            "orchd_job_first_byte_seconds", "From a job's arrival to the runner's first byte.", labels=model
        )
        held = HistogramMetricFamily(
            "orchd_job_hold_seconds", "How long jobs that waited for a cold model did so.", labels=model
        )
        sessions = GaugeMetricFamily(
            "orchd_sessions_active", "Slots that are taken now, those that are letting go included.", labels=model
        )
        letting_go = GaugeMetricFamily(
            "orchd_sessions_letting_go", "Slots whose caller has left while the runner still works.", labels=model
        )
        byoc = ("source", *model)
        byoc_sessions = GaugeMetricFamily("byoc_sessions_active", "Sessions now, as orchd counts them.", labels=byoc)
        work = HistogramMetricFamily(
            "byoc_frame_latency_ms",
            "Milliseconds from forwarding a job that succeeded to its end, as orchd measures them.",
            labels=byoc,
        )
        failed = CounterMetricFamily(
            "byoc_errors", "Jobs that the model failed, as orchd sees them, by type.", labels=(*byoc, "type")
        )
        answers = CounterMetricFamily(
            "orchd_runner_answers",
            "Answers of runners to jobs, by the class of their status.",
            labels=(*model, "class"),
        )
        for key, one in self._series():
            names = (key.pipeline, key.model_id) if key else ("", "")
            for outcome, count in one.outcomes.items():
                jobs.add_metric((*names, outcome), count)
            for code, count in one.codes.items():
                errors.add_metric((*names, code), count)
            for name, count in zip(STATUS_CLASSES, (*one.answers[1:6], sum(one.answers[6:])), strict=True):
                answers.add_metric((*names, name), count)
            one.seconds.add_to(seconds, names)
            one.first_byte.add_to(first_byte, names)
            one.held.add_to(held, names)
            one.work.add_to(work, (SOURCE, *names), scale=1000)
            for code in PROCESSING_ERRORS:
                failed.add_metric((SOURCE, *names, code), one.codes[code])
            failed.add_metric((SOURCE, *names, RUNNER_ERROR), one.outcomes[RUNNER_ERROR])
            if key is not None:
                active, going = self._slots(key)
                sessions.add_metric(names, active)
                letting_go.add_metric(names, going)
                byoc_sessions.add_metric((SOURCE, *names), active)
        yield from (jobs, answers, errors, seconds, first_byte, held)
        yield from (sessions, letting_go, byoc_sessions, work, failed)

"""What jobs are counted in: by outcome, code, answer and time, for each model, and the connections that carry them.

Each job counts in up to five families, so the numbers are plain ones: prometheus-client's own would take more time for
that than the rest of the job path together, for locks that a program of one thread does not need.

What concerns a model that is not defined (a job that named an unknown one) is counted under empty labels, so that
callers can't make series.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from orchd.domain.changes import Changes
from orchd.domain.ids import ModelKey
from orchd.domain.outcomes import Outcome
from orchd.domain.state import NO_JOBS, JobCounts, ModelStatus, RunnerErrors
from orchd.errors import JOB_ANSWERS, Code
from orchd.exposition import MetricsRegistry
from orchd.jobs.families import (
    ACTIVE,
    ANSWERS,
    BYOC_ACTIVE,
    BYOC_ERRORS,
    BYOC_WORK,
    CONNECTIONS,
    CONNECTIONS_CLOSED,
    ERRORS,
    FAILED_SECONDS,
    FIRST_BYTE,
    HELD,
    JOBS,
    LETTING_GO,
    PENDING,
    SECONDS,
)
from orchd.metric_lines import (
    EmergingCounters,
    Histogram,
    HistogramLines,
    Lines,
    Page,
    model_labels,
    sample,
)

OUTCOMES = tuple(Outcome)
PROCESSING_ERRORS = (
    *(Code.BACKEND_UNAVAILABLE, Code.BACKEND_CONNECT_TIMEOUT, Code.BACKEND_BROKE),
    *(Code.BACKEND_TIMEOUT, Code.BACKEND_STALLED, Code.EVENT_LINE_TOO_LONG, Code.INTERNAL),
)
"""Codes that mean that the model did not do its work: with `RUNNER_ERROR`, the `type` of `byoc_errors_total`."""
OK, RUNNER_ERROR = Outcome.OK, Outcome.RUNNER_ERROR
NOT_SERVED = frozenset({Outcome.REFUSED, Outcome.RUNNER_ERROR, Outcome.BACKEND_FAILED, Outcome.ERROR})
"""How jobs end that are counted in a histogram of their own: most of these end at once, and would make a broken model
look quick. Jobs that ended because they took long (timeouts, callers who left) stay with those that were served."""
STATUS_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
JOB_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
SOURCE = "orchd"
SIDES = ("caller", "runner", "public", "container")
CLOSED = ("idle", "header_timeout")


class JobCollector:
    """`exposition.Collector` of the job path; also what the job path counts with.

    The three `byoc_` families are those that the public documents prescribe for containers, as orchd measures them
    from outside (`source="orchd"`).

    It is also a `domain.snapshots.Contributor`: status shows how the jobs of a model have ended.

    Args:
        slots: returns how many slots of a model are taken, how many of these are letting go, and how many are kept
            for sessions that may begin.

    Attributes:
        changes: models of which a job was refused or has failed. One that went well had a slot, so the session table
            tells of its end.
    """

    families = (
        *(JOBS, ANSWERS, ERRORS, SECONDS, FAILED_SECONDS, FIRST_BYTE, HELD),
        *(ACTIVE, LETTING_GO, PENDING, BYOC_ACTIVE, BYOC_WORK, BYOC_ERRORS),
        CONNECTIONS_CLOSED,
    )

    def __init__(self, registry: MetricsRegistry, slots: Callable[[ModelKey], tuple[int, int, int]]) -> None:
        self._series = registry.per_model(JobSeries)
        self._no_model = JobSeries(None)
        self._outcomes: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
        self._codes: dict[str, int] = dict.fromkeys(JOB_ANSWERS, 0)
        self.changes: Changes[ModelKey] = Changes()
        self._closed = dict.fromkeys(CLOSED, 0)
        self._slots = slots
        registry.register(self)

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
        series = None if key is None else self._series.get(key)
        if series is None:
            series = self._no_model
        # Written out, as each call would cost about as much as all of what it does.
        series.outcomes[outcome] += 1
        series.answers[status // 100] += 1
        self._outcomes[outcome] += 1
        if outcome != OK:
            if outcome == RUNNER_ERROR:
                series.failed_at, series.failed_status = time.time(), status
            if key is not None:
                self.changes.touch(key)
        bucket = bisect_left(JOB_BUCKETS, total_s)
        family = series.failed_seconds if outcome in NOT_SERVED else series.seconds
        family.counts[bucket] += 1
        family.total += total_s
        if code:
            series.codes[code] += 1
            self._codes[code] += 1
        if first_byte_s is not None:
            family = series.first_byte
            family.counts[bisect_left(JOB_BUCKETS, first_byte_s)] += 1
            family.total += first_byte_s
        if held_s > 0:
            series.held.counts[bisect_left(JOB_BUCKETS, held_s)] += 1
            series.held.total += held_s
            total_s -= held_s
            bucket = bisect_left(JOB_BUCKETS, total_s)
        if outcome == "ok":
            family = series.work
            family.counts[bucket] += 1
            family.total += total_s

    def add_to(self, status: ModelStatus) -> ModelStatus:
        """Return the status with how the model's jobs have ended."""
        series = self._series.get(status.model.key)
        if series is None or (jobs := _counts(series.outcomes, series.codes)) == NO_JOBS:
            return status
        return replace(status, jobs=jobs, runner_errors=series.runner_errors())

    def in_all(self) -> JobCounts:
        """Return how the jobs of all models have ended, of those too that are no longer there."""
        return _counts(self._outcomes, self._codes)

    def runner_errors(self, key: ModelKey) -> RunnerErrors | None:
        """Return how often a model's runners have answered a job with 500 to 599; None = never."""
        series = self._series.get(key)
        return None if series is None else series.runner_errors()

    def request_refused(self, code: Code) -> None:
        """Count what was refused before it was a job: it names no model."""
        self._no_model.codes[code] += 1
        self._codes[code] += 1

    def connection_closed(self, reason: str) -> None:
        """Count a caller's connection that we closed: one of `CLOSED`."""
        self._closed[reason] += 1

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        closed = (sample(CONNECTIONS_CLOSED.name, count, reason=reason) for reason, count in self._closed.items())
        yield (*self._no_model.text(page, None), "".join(closed))
        for key, series in self._series.now():
            yield (*series.text(page, self._slots(key)), "")


def _counts(outcomes: Mapping[str, int], codes: Mapping[str, int]) -> JobCounts:
    return JobCounts(*({str(name): count for name, count in of.items() if count} for of in (outcomes, codes)))


class ConnectionCollector:
    """`exposition.Collector` of the connections for jobs.

    Args:
        connections: returns how many are open, by side.
    """

    families = (CONNECTIONS,)

    def __init__(self, registry: MetricsRegistry, connections: Callable[[], Mapping[str, int]]) -> None:
        self._connections = connections
        registry.register(self)

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        open_now = self._connections()
        yield ("".join(sample(CONNECTIONS.name, open_now[side], side=side) for side in SIDES if side in open_now),)


class JobSeries:
    """What one model's jobs count in.

    Attributes:
        answers: by the first digit of their status; the first one counts jobs without an answer.
        failed_at, failed_status: of the last answer with 500 to 599 (Unix time).
    """

    __slots__ = (
        *("_key", "_lines", "answers", "codes", "failed_at", "failed_seconds", "failed_status", "first_byte", "held"),
        *("outcomes", "seconds", "work"),
    )

    def __init__(self, key: ModelKey | None) -> None:
        self._key = key
        self._lines: _JobSeriesLines | None = None  # Made for the first page.
        self.answers = [0] * 10
        self.failed_at = 0.0
        self.failed_status = 0
        self.outcomes: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
        self.codes: dict[str, int] = dict.fromkeys(JOB_ANSWERS, 0)
        self.seconds = Histogram(JOB_BUCKETS)
        self.failed_seconds = Histogram(JOB_BUCKETS)
        self.first_byte = Histogram(JOB_BUCKETS)
        self.held = Histogram(JOB_BUCKETS)
        self.work = Histogram(JOB_BUCKETS)

    def text(self, page: Page, slots: tuple[int, int, int] | None) -> Sequence[str]:
        """Return the lines that show it; see `_JobSeriesLines.text`."""
        if self._lines is None:
            self._lines = _JobSeriesLines(self, model_labels(self._key), emerging=self._key is not None)
        return self._lines.text(page, self, slots)

    def runner_errors(self) -> RunnerErrors | None:
        """Return how many of them its runners answered with 500 to 599; None = none."""
        count = self.outcomes[RUNNER_ERROR]
        return RunnerErrors(count, self.failed_at, self.failed_status) if count else None


class _JobSeriesLines:
    """The lines that show the jobs of one model, or of none."""

    __slots__ = (
        *("_active", "_answers", "_byoc_active", "_byoc_errors", "_errors", "_histograms", "_jobs", "_letting_go"),
        *("_pending", "_work"),
    )

    def __init__(self, of: JobSeries, labels: dict[str, str], *, emerging: bool) -> None:
        byoc = {"source": SOURCE, **labels}
        self._jobs = Lines.of(JOBS.name, labels, "outcome", OUTCOMES)
        self._answers = EmergingCounters(ANSWERS.name, labels, "class", emerging=emerging)
        self._errors = EmergingCounters(ERRORS.name, labels, "code", emerging=emerging)
        self._histograms = tuple(
            HistogramLines(family.name, labels, histogram, emerging=emerging)
            for family, histogram in (
                (SECONDS, of.seconds),
                (FAILED_SECONDS, of.failed_seconds),
                (FIRST_BYTE, of.first_byte),
                (HELD, of.held),
            )
        )
        self._work = HistogramLines(BYOC_WORK.name, byoc, of.work, scale=1000, emerging=emerging)
        self._byoc_errors = EmergingCounters(BYOC_ERRORS.name, byoc, "type", emerging=emerging)
        self._active, self._letting_go, self._pending = (
            Lines.of(family.name, labels) for family in (ACTIVE, LETTING_GO, PENDING)
        )
        self._byoc_active = Lines.of(BYOC_ACTIVE.name, byoc)

    def text(self, page: Page, of: JobSeries, slots: tuple[int, int, int] | None) -> Sequence[str]:
        """Return the lines of `JobCollector.families`, but the last. `slots`: taken, letting go, and pending."""
        answers = (*of.answers[1:6], sum(of.answers[6:]))
        failed: dict[str, int] = {code: of.codes[code] for code in PROCESSING_ERRORS}
        failed[RUNNER_ERROR] = of.outcomes[RUNNER_ERROR]
        return (
            self._jobs.text(*of.outcomes.values()),
            self._answers.text(page, dict(zip(STATUS_CLASSES, answers, strict=True))),
            self._errors.text(page, of.codes),
            *(histogram.text(page) for histogram in self._histograms),
            *(("",) * 4 if slots is None else self._of_slots(*slots)),
            self._work.text(page),
            self._byoc_errors.text(page, failed),
        )

    def _of_slots(self, active: int, letting_go: int, pending: int) -> Sequence[str]:
        return (
            self._active.text(active),
            self._letting_go.text(letting_go),
            self._pending.text(pending) if pending or self._pending.shown else "",
            self._byoc_active.text(active),
        )

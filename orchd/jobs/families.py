"""Names, labels and units of what jobs are counted in."""

from __future__ import annotations

from orchd.metric_lines import MODEL_LABELS, Family

BYOC_LABELS = ("source", *MODEL_LABELS)

JOBS = Family(
    "orchd_jobs_total",
    "counter",
    "Jobs by how they ended.",
    labels=(*MODEL_LABELS, "outcome"),
    unit="jobs",
    good_for="traffic, and which share of it failed",
)
ANSWERS = Family(
    "orchd_runner_answers_total",
    "counter",
    "Answers of runners to jobs, by the class of their status.",
    labels=(*MODEL_LABELS, "class"),
    unit="answers",
    good_for="the model's own errors, apart from orchd's",
)
ERRORS = Family(
    "orchd_job_errors_total",
    "counter",
    "Jobs that failed or were refused, by code.",
    labels=(*MODEL_LABELS, "code"),
    unit="jobs",
    good_for="why jobs fail or are refused; each code has a line in the reference",
)
SECONDS = Family(
    "orchd_job_seconds",
    "histogram",
    "From a job's arrival to its end, waiting included; but for jobs that were refused or failed.",
    labels=MODEL_LABELS,
    unit="seconds",
    good_for="how long callers wait for a whole answer",
)
FAILED_SECONDS = Family(
    "orchd_job_failed_seconds",
    "histogram",
    "From the arrival of a job that was refused or failed to its end; timeouts are in orchd_job_seconds.",
    labels=MODEL_LABELS,
    unit="seconds",
    good_for="do failures come at once, or after long work?",
)
FIRST_BYTE = Family(
    "orchd_job_first_byte_seconds",
    "histogram",
    "From a job's arrival to the runner's first byte.",
    labels=MODEL_LABELS,
    unit="seconds",
    good_for="how long callers wait for the first byte",
)
HELD = Family(
    "orchd_job_hold_seconds",
    "histogram",
    "How long jobs that waited for a cold model did so.",
    labels=MODEL_LABELS,
    unit="seconds",
    good_for="what cold starts cost callers: keep the model warm?",
)
ACTIVE = Family(
    "orchd_sessions_active",
    "gauge",
    "Slots that are taken now, those that are letting go included.",
    labels=MODEL_LABELS,
    unit="slots",
    good_for="load; near `orchd_sessions_max` jobs are about to be refused",
)
LETTING_GO = Family(
    "orchd_sessions_letting_go",
    "gauge",
    "Slots whose caller has left while the runner still works.",
    labels=MODEL_LABELS,
    unit="slots",
    good_for="capacity that is lost to callers who left",
)
PENDING = Family(
    "orchd_sessions_pending",
    "gauge",
    "Slots that are kept for sessions that may begin; absent until a model has had one.",
    labels=MODEL_LABELS,
    unit="slots",
    good_for="capacity that callers have reserved at the node and do not use",
)
BYOC_ACTIVE = Family(
    "byoc_sessions_active",
    "gauge",
    "Sessions now, as orchd counts them.",
    labels=BYOC_LABELS,
    unit="sessions",
    good_for="dashboards made after the public documents",
)
BYOC_WORK = Family(
    "byoc_frame_latency_ms",
    "histogram",
    "Milliseconds from forwarding a job that succeeded to its end, as orchd measures them.",
    labels=BYOC_LABELS,
    unit="milliseconds",
    good_for="dashboards made after the public documents; the model's own time, without waiting",
)
BYOC_ERRORS = Family(
    "byoc_errors_total",
    "counter",
    "Jobs that the model failed, as orchd sees them, by type.",
    labels=(*BYOC_LABELS, "type"),
    unit="jobs",
    good_for="how often the model did not do its work",
)
CONNECTIONS = Family(
    "orchd_connections",
    "gauge",
    "Connections for jobs that are open now.",
    labels=("side",),
    unit="connections",
    good_for="how close `jobs.max_connections` is",
)
CONNECTIONS_CLOSED = Family(
    "orchd_connections_closed_total",
    "counter",
    "Callers' connections that orchd closed.",
    labels=("reason",),
    unit="connections",
    good_for="do callers keep connections longer than `jobs.keepalive_s`?",
)

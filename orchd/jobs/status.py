"""How jobs are shown by `/status` and `orchd status`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from orchd.domain.state import JobCounts, ModelStatus, Snapshot
from orchd.status_face import Json, Position, StatusFace
from orchd.text import TextStyle, ago, printable


def _whole(snapshot: Snapshot) -> Json:
    return {"jobs": {**_counts_json(snapshot.jobs), "listen": list(snapshot.jobs_listen)}}


def _of_model(status: ModelStatus) -> Json:
    errors = status.runner_errors
    return {"jobs": _counts_json(status.jobs), "runner_errors": asdict(errors) if errors else None}


def _counts_json(counts: JobCounts) -> Json:
    return {"outcomes": dict(counts.outcomes), "codes": dict(counts.codes)}


def _overview(status: Json, style: TextStyle) -> list[str]:
    return style.hang(printable(f"Jobs since then: {_told(status['jobs'])}"))


def _told(jobs: Json) -> str:
    """Return how jobs have ended: `120 ok, 3 refused; codes: 2 not_ready, 1 capacity_exhausted`."""
    codes, told = jobs["codes"], _listed(jobs["outcomes"]) or "none"
    return f"{told}; codes: {_listed(codes)}" if codes else told


def _listed(counts: Mapping[str, int]) -> str:
    """Return them in words, the most first."""
    ordered = sorted(counts.items(), key=lambda item: (item[0] != "ok", -item[1], item[0]))
    return ", ".join(f"{count} {name}" for name, count in ordered)


def _facts(model: Json, status: Json) -> dict[str, str]:
    jobs = model["jobs"]
    told = {"jobs": _told(jobs) if jobs["outcomes"] or jobs["codes"] else ""}
    errors = model["runner_errors"]
    if not errors:
        return told
    what = "job was" if errors["count"] == 1 else "jobs were"
    failed = (
        f"{errors['count']} {what} answered with HTTP 500 to 599 by a runner, "
        f"the last one {ago(status['at'] - errors['last_at'])} ago with {errors['last_status']}"
    )
    return {**told, "errors": failed}


FACE = StatusFace(whole=_whole, of_model=_of_model, overview={Position.JOBS: _overview}, facts=_facts)

"""The answer that a refused job gets."""

from __future__ import annotations

import structlog

from orchd.domain.redact import secrets_of
from orchd.errors import Code, JobRefused
from orchd.hooks.refusal import Refusal
from orchd.http1.names import Header
from orchd.jobs.run import Run

log = structlog.get_logger("orchd.jobs")


def crashed(run: Run, exc: Exception) -> JobRefused:
    """Log a fault of ours, and return what the caller is told."""
    log.error("job_crashed", request_id=run.request_id, exc_info=exc)
    return JobRefused(Code.INTERNAL, "cannot serve the job: a fault in orchd; its log says more")


def answer_to(run: Run, refusal: JobRefused) -> tuple[int, list[Header], bytes]:
    """Return status, headers and body of an answer of our own.

    A refusal that can't be rendered is a fault, but no reason to leave the caller without an answer.
    """
    try:
        return _rendered(run, refusal)
    except Exception as exc:  # noqa: BLE001 - hooks make refusals
        return _rendered(run, crashed(run, exc))


def _rendered(run: Run, refusal: JobRefused) -> tuple[int, list[Header], bytes]:
    """Render a refusal. A hook's must not show what came with the request, or what the runner gets."""
    secrets: set[str] = set()
    if isinstance(refusal, Refusal):
        secrets |= secrets_of(run.model) if run.model is not None else set()
        if (proof := run.proof) is not None:
            secrets |= {each.decode("latin-1") for each in (proof.token, proof.segment) if each}
    return run.door.refusal(refusal, run.request_id, secrets)

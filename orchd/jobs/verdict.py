"""What went wrong with a job, in words and as an outcome. Pure."""

from __future__ import annotations

from orchd.domain.outcomes import Outcome
from orchd.errors import Code, JobRefused
from orchd.jobs.run import Aborted, Run
from orchd.relay.ports import RunnerBroke, RunnerUnreachable, TooMuch

RUNNERS_FAULT = frozenset(
    {
        Code.BACKEND_UNAVAILABLE,
        Code.BACKEND_BROKE,
        Code.BACKEND_CONNECT_TIMEOUT,
        Code.BACKEND_TIMEOUT,
        Code.BACKEND_STALLED,
    }
)
_OUTCOMES = {
    Code.BACKEND_UNAVAILABLE: Outcome.BACKEND_FAILED,
    Code.BACKEND_BROKE: Outcome.BACKEND_FAILED,
    Code.BACKEND_CONNECT_TIMEOUT: Outcome.TIMEOUT,
    Code.BACKEND_TIMEOUT: Outcome.TIMEOUT,
    Code.BACKEND_STALLED: Outcome.TIMEOUT,
    Code.BODY_STALLED: Outcome.TIMEOUT,
    Code.BODY_TOO_SLOW: Outcome.TIMEOUT,
    Code.CALLER_STALLED: Outcome.TIMEOUT,
    Code.INTERNAL: Outcome.ERROR,
}


def judged(run: Run, exc: Exception) -> JobRefused | None:
    """Return what the caller is told; None = that should not have happened."""
    match exc:
        case JobRefused():
            return exc
        case RunnerUnreachable():
            return JobRefused(Code.BACKEND_UNAVAILABLE, f"cannot reach the runner of {run.key}: {exc}")
        case RunnerBroke():
            return JobRefused(Code.BACKEND_BROKE, f"cannot finish the job: the runner of {run.key} {exc}")
        case TooMuch():
            most = run.model.inference.max_body_mb if run.model else 0
            return JobRefused(Code.BODY_TOO_LARGE, f"cannot take the body: {run.key} takes at most {most} MiB")
    return None


def outcome_of(refusal: JobRefused) -> Outcome:
    """Return how a job ended that got this."""
    return Outcome.ABORTED if isinstance(refusal, Aborted) else _OUTCOMES.get(refusal.code, Outcome.REFUSED)


def explain_late(code: Code, run: Run) -> str:
    """Say what it means that the timeout with this code has run out."""
    seconds = run.patience_s[code]
    match code:
        case Code.BODY_STALLED:
            return f"cannot go on: the caller sent no byte of the body for {seconds:g} s"
        case Code.CALLER_STALLED:
            return f"cannot go on: the caller took no byte for {seconds:g} s"
        case Code.BACKEND_STALLED:
            return f"cannot go on: the runner moved no byte for {seconds:g} s"
    return f"cannot wait longer: the runner of {run.key} gave no answer for {seconds:g} s"

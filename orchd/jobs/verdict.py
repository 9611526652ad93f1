"""What went wrong with a job, in words and as an outcome. Pure."""

from __future__ import annotations

from orchd.domain.outcomes import Outcome
from orchd.doors.routes import ToRunner
from orchd.errors import Code, JobRefused
from orchd.jobs.run import Aborted, Run
from orchd.relay.event_stream import MOST_LINE_BYTES
from orchd.relay.ports import LineTooLong, RunnerBroke, RunnerUnreachable, TooMuch

NODE_GIVES_UP_S = 4.0
"""After `Run.begin_by`: then a caller that leaves is the node, whose own wait has ended (it is 5 s longer, about)."""

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
    Code.NODE_TIMEOUT: Outcome.TIMEOUT,
    Code.EVENT_LINE_TOO_LONG: Outcome.BACKEND_FAILED,
    Code.INTERNAL: Outcome.ERROR,
}


def judged(run: Run, exc: Exception) -> JobRefused | None:
    """Return what the caller is told; None = that should not have happened."""
    match exc:
        case JobRefused():
            return exc
        case RunnerUnreachable():
            return JobRefused(Code.BACKEND_UNAVAILABLE, f"cannot reach {_server(run)}: {exc}")
        case RunnerBroke():
            return JobRefused(Code.BACKEND_BROKE, f"cannot finish the job: {_server(run)} {exc}")
        case TooMuch():
            most = run.model.inference.max_body_mb if run.model else 0
            return JobRefused(Code.BODY_TOO_LARGE, f"cannot take the body: {run.key} takes at most {most} MiB")
        case LineTooLong():
            return JobRefused(
                Code.EVENT_LINE_TOO_LONG,
                f"cannot pass on the event stream of {_server(run)}: a line of it has "
                f"{MOST_LINE_BYTES // 1024} KiB or more, which go-livepeer's BYOC can't read",
            )
    return None


def node_gave_up(run: Run, now: float) -> JobRefused | None:
    """Return what it was, if the node stopped waiting for an answer to begin; None = its caller has left."""
    waited = now >= run.begin_by + NODE_GIVES_UP_S and run.caller.message.ended
    if run.door.public or run.caller.answered or not waited:
        return None
    seconds = now - run.began_at
    return JobRefused(
        Code.NODE_TIMEOUT,
        f"cannot answer any more: Livepeer Node stopped waiting for the first byte after {seconds:.0f} s",
    )


def outcome_of(refusal: JobRefused) -> Outcome:
    """Return how a job ended that got this."""
    return Outcome.ABORTED if isinstance(refusal, Aborted) else _OUTCOMES.get(refusal.code, Outcome.REFUSED)


def explain_first_byte(code: Code, run: Run) -> str:
    """As `explain_late`, where it is the caller that can't wait longer for an answer to begin."""
    if code is not Code.BACKEND_TIMEOUT:
        return explain_late(code, run)
    if run.door.public:
        return f"{explain_late(code, run)}, and its caller waits no longer for one to begin"
    return (
        f"{explain_late(code, run)}, and Livepeer Node waits 60 s at most for an answer to begin, all told: the "
        "entry's inference.early_head_s begins one sooner"
    )


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
    return f"cannot wait longer: {_server(run)} gave no answer for {round(seconds, 1):g} s"


def went_elsewhere(run: Run) -> bool:
    """Return whether it is no runner that has the job, but what a proxy leads to."""
    return isinstance(run.way, ToRunner) and run.way.elsewhere is not None


def _server(run: Run) -> str:
    return f"what a proxy of {run.key} leads to" if went_elsewhere(run) else f"the runner of {run.key}"

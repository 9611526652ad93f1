"""What a fault may look like to its caller, and how its job is to be settled. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tests.faults.samples import Sample


class Where(StrEnum):
    """Whose fault, and what the byte is counted in."""

    SENDING = "caller, sending"
    """The caller, behind byte n of its request."""
    TAKING = "caller, taking"
    """The caller, when the runner has answered n bytes and is to go on; or, if it stalls, when it has got n bytes."""
    HEARING = "runner, hearing"
    """The runner, behind byte n of the request as it gets it; all of it is on its way."""
    MIDWAY = "runner, midway"
    """The runner, behind byte n of what follows the head, before the caller has sent more."""
    ANSWERING = "runner, answering"
    """The runner, behind byte n of its answer."""


class How(StrEnum):
    CLOSE = "closes"
    RESET = "resets"
    STALL = "stalls"


@dataclass(frozen=True)
class Fault:
    """Attributes:
    inside: the head of that request or answer is whole by then; a runner that hears has read on, too.
    """

    where: Where
    n: int
    how: How
    inside: bool


# What a caller can see.
ANSWER = "answer"
"""The runner's whole answer, every byte as it is meant."""
NOTHING = "nothing"
"""The connection ended before an answer began."""
BROKEN = "broken"
"""The answer began as it is meant, and visibly broke off."""


def refusal(code: str) -> str:
    """One of orchd's own answers, whole, with this code."""
    return f"refusal {code}"


End = tuple[str, str]
"""Outcome and code in a job's line in the log."""

OK: End = ("ok", "")
LEFT: End = ("client_gone", "")
BROKE: End = ("backend_failed", "backend_broke")
NO_ANSWER: End = ("timeout", "backend_timeout")
STALLED: End = ("timeout", "backend_stalled")
NO_BODY: End = ("timeout", "body_stalled")
NOT_TAKEN: End = ("timeout", "caller_stalled")


@dataclass(frozen=True)
class Expected:
    """Attributes:
    seen: what the caller may see; empty = it has reset, and sees nothing more.
    ends: how the job may end; empty = there is no job, as its head never came.
    """

    seen: frozenset[str]
    ends: frozenset[End]


def _expected(seen: str | tuple[str, ...], *ends: End) -> Expected:
    return Expected(frozenset([seen] if isinstance(seen, str) else seen), frozenset(ends))


def expected(sample: Sample, fault: Fault) -> Expected:
    match fault.where:
        case Where.SENDING:
            return _of_sending(sample, fault)
        case Where.TAKING:
            return _of_taking(sample, fault)
        case Where.HEARING | Where.MIDWAY:
            return _of_hearing(sample, fault)
        case Where.ANSWERING:
            return _of_answering(sample, fault)


def _of_sending(sample: Sample, fault: Fault) -> Expected:
    if not fault.inside:
        if fault.how is How.STALL:
            # Who has not begun gets no answer that it could take for that of its first request.
            return _expected(NOTHING if not fault.n else refusal("header_timeout"))
        return _expected(NOTHING if fault.how is How.CLOSE else ())
    if sample.tunnel:
        # Each direction ends by itself: the runner is told, and ends its own.
        ends = {How.CLOSE: OK, How.RESET: LEFT, How.STALL: STALLED}
        return _expected(BROKEN if fault.how is not How.RESET else (), ends[fault.how])
    if fault.how is How.STALL:
        return _expected(refusal("body_stalled"), NO_BODY)
    return _expected(NOTHING if fault.how is How.CLOSE else (), LEFT)


def _of_taking(sample: Sample, fault: Fault) -> Expected:
    if fault.how is How.STALL:
        return _expected(BROKEN, NOT_TAKEN)
    if fault.how is How.RESET:
        return _expected((), LEFT)
    if sample.tunnel and fault.inside:
        return _expected(BROKEN, OK)
    return _expected(BROKEN if fault.inside else NOTHING, LEFT)


def _of_hearing(sample: Sample, fault: Fault) -> Expected:
    if sample.tunnel and fault.inside:
        # Closing with bytes unread resets, with none it ends the runner's direction.
        return _expected(BROKEN, *((STALLED,) if fault.how is How.STALL else (OK, BROKE)))
    if fault.how is How.STALL:
        return _expected(refusal("backend_timeout"), NO_ANSWER)
    return _expected(refusal("backend_broke"), BROKE)


def _of_answering(sample: Sample, fault: Fault) -> Expected:
    if not fault.inside:
        if fault.how is How.STALL:
            return _expected(refusal("backend_timeout"), NO_ANSWER)
        return _expected(refusal("backend_broke"), BROKE)
    if fault.how is How.STALL:
        return _expected(BROKEN, STALLED)
    if fault.how is How.CLOSE and sample.tunnel:
        return _expected(BROKEN, OK)
    if fault.how is How.CLOSE and sample.until_close:
        return _expected(ANSWER, OK)
    return _expected(BROKEN, BROKE)

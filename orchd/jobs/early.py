"""The head that a caller gets before its runner has sent one, and what may follow it. Pure.

Whoever passes an answer on may wait for its first byte for some time only (Livepeer Node: 60 s). An entry with
`inference.early_head_s` has a head sent before that: 200, for a body in chunks that comes later. What the runner then
says of itself (status, type, encoding) comes too late, so an answer that is no plain success is broken off.
"""

from __future__ import annotations

import re

from orchd.domain.ids import ModelKey
from orchd.errors import Code, JobRefused
from orchd.http1.names import LOWER, Header
from orchd.http1.rules import AnswerHead, RequestHead
from orchd.relay.ports import RunnerBroke

METHODS = frozenset({b"POST", b"PUT", b"PATCH"})
EVENT_STREAM = b"text/event-stream"
_TYPE = re.compile(rb"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+")
_JSON = re.compile(rb"application/(?:[a-z0-9.+-]+\+)?json", re.IGNORECASE)
_OTHER_MEANING = frozenset({205, 206})
"""Answers that are no success like others: what they mean for the body is in the status."""


def can_be_early(request: RequestHead) -> bool:
    """Return whether a request can be answered by such a head: nothing asks for another status, or for no body."""
    return request.modern and request.method in METHODS and not request.switches and request.value(b"range") is None


def early_answer(request: RequestHead) -> AnswerHead:
    """Return the answer whose head goes out early."""
    kind = accepted(request)
    headers: list[Header] = [] if not kind else [(b"Content-Type", kind)]
    return AnswerHead(200, b"", "1.1", headers, method=request.method)


def accepted(request: RequestHead) -> bytes:
    """Return the type of answer that a request seems to want; empty = it does not say.

    It is the one that the caller accepts, if that is just one; else who sends JSON is taken to want JSON.
    """
    accepts = [each.partition(b";")[0].strip(b" \t") for each in (request.value(b"accept") or b"").split(b",", 2)]
    if len(accepts) == 1 and _TYPE.fullmatch(accepts[0]):
        return accepts[0]
    sent = (request.value(b"content-type") or b"").partition(b";")[0].strip(b" \t")
    return b"application/json" if accepts[0] in (b"", b"*/*") and _JSON.fullmatch(sent) else b""


def check_late(answer: AnswerHead, key: ModelKey) -> None:
    """Check that what a runner answers after an early head can follow it.

    Raises:
        RunnerBroke: it has failed.
        JobRefused: BACKEND_UNUSABLE: the head that is out says something else.
    """
    status = answer.status
    if status >= 500:
        raise RunnerBroke(f"answered {status} when an early head had already said 200")
    what = "" if 200 <= status < 300 and status not in _OTHER_MEANING else f"it is {status}"
    if any(LOWER[name] == b"content-encoding" and value.strip() != b"identity" for name, value in answer.headers):
        what = what or "it is encoded"
    if what:
        raise JobRefused(
            Code.BACKEND_UNUSABLE,
            f"cannot pass on the answer of the runner of {key}: {what}, and an early head had already said 200",
        )

"""What of a runner's answer reaches a gateway at BYOC's public door, and in which shape. Pure.

What go-livepeer passes on are body, type and `X-Metadata` (docs/protocol/byoc.md, 5.4 and 5.5). The status is the
runner's own, except for those that lead gateways astray (`byoc.answers.check_status`).
"""

from __future__ import annotations

from fractions import Fraction

from orchd.domain.ids import ModelKey
from orchd.doors.base import AnswerShape
from orchd.doors.byoc.answers import EVENT_STREAM, check_status
from orchd.http1.names import LOWER
from orchd.http1.rules import AnswerHead, RequestHead, bodiless
from orchd.tickets.validation.credit import rounded

PASSING = frozenset({b"content-type", b"content-length", b"content-encoding", b"date", b"x-metadata"})
_NO_METADATA = b"X-Metadata: \r\n"
_UNCACHED = b"Cache-Control: no-cache\r\n"


def shape(answer: AnswerHead, request: RequestHead, key: ModelKey) -> AnswerShape:
    """Return how the answer to this request goes on.

    Raises:
        JobRefused: BACKEND_UNUSABLE.
    """
    check_status(answer.status, key)
    names = {LOWER[name] for name, _ in answer.headers}
    extra = b"" if b"x-metadata" in names else _NO_METADATA
    hidden = names - PASSING
    typed = next((value for name, value in answer.headers if LOWER[name] == b"content-type"), b"")
    if EVENT_STREAM not in typed.lower() or not request.modern or bodiless(request.method, answer.status):
        return AnswerShape(without=frozenset(hidden), extra=extra)
    if answer.status >= 400:  # Whatever is typed so is a success to a gateway.
        return AnswerShape(without=frozenset(hidden | {b"content-type"}), extra=extra + b"Content-Type: text/plain\r\n")
    return AnswerShape(events=True, without=frozenset(hidden | {b"content-length"}), extra=extra + _UNCACHED)


def balance_lines(wei: Fraction) -> bytes:
    """Return the lines that tell a payer what it has left, under both names that there are for that."""
    return b"Livepeer-Balance: %d\r\nLivepeer-Payment-Balance: %d\r\n" % (rounded(wei), rounded(wei))

"""What of a container's answer may reach go-livepeer over BYOC, and in which shape. Pure.

A 401 makes the node drop the model, a redirect is followed and turns a POST into a GET, and whatever is typed as an
event stream is a 200 to it (docs/protocol/byoc.md, 5.3, 5.5, 5.6).
"""

from __future__ import annotations

from orchd.domain.ids import ModelKey
from orchd.doors.base import AS_IT_IS, AnswerShape
from orchd.errors import Code, JobRefused
from orchd.http1.names import LOWER
from orchd.http1.rules import AnswerHead, RequestHead, bodiless

EVENT_STREAM = b"text/event-stream"
_EVENTS = AnswerShape(events=True, without=frozenset({b"content-length"}))
_ERROR = AnswerShape(without=frozenset({b"content-type"}), extra=b"Content-Type: text/plain\r\n")


def check_status(status: int, key: ModelKey) -> None:
    """Refuse an answer of a runner that the node would take for something else.

    Raises:
        JobRefused: BACKEND_UNUSABLE.
    """
    if status == 401 or 300 <= status < 400:
        what = "it wants to be authorised (set the entry's token)" if status == 401 else "it redirects"
        raise JobRefused(Code.BACKEND_UNUSABLE, f"cannot pass on the answer of the runner of {key}: {status}, {what}")


def shape(answer: AnswerHead, request: RequestHead, key: ModelKey) -> AnswerShape:
    """Return how the answer to this request goes on. Only one that can come in chunks can be given another end.

    Raises:
        JobRefused: BACKEND_UNUSABLE.
    """
    status = answer.status
    check_status(status, key)
    typed = next((value for name, value in answer.headers if LOWER[name] == b"content-type"), b"")
    if EVENT_STREAM not in typed.lower() or not request.modern or bodiless(request.method, status):
        return AS_IT_IS
    return _EVENTS if status < 400 else _ERROR

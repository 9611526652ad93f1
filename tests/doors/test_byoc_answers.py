"""What of a container's answer may reach the node over BYOC."""

from __future__ import annotations

import pytest

from orchd.domain.ids import ModelKey
from orchd.doors.base import AS_IT_IS, AnswerShape
from orchd.doors.byoc.answers import check_status, shape
from orchd.errors import Code, JobRefused
from orchd.http1.rules import AnswerHead, RequestHead

KEY = ModelKey("image", "org/one")


def shaped(status: int, content_type: str | None, *, method: str = "POST", version: str = "1.1") -> AnswerShape:
    headers = [] if content_type is None else [(b"cOntent-Type", content_type.encode())]
    request = RequestHead(method.encode(), b"/", version, [(b"Host", b"x")])
    answer = AnswerHead(status, b"", "1.1", [*headers, (b"Content-Length", b"0")], method=method.encode())
    return shape(answer, request, KEY)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 399, 401])
def test_what_makes_the_node_drop_the_model_or_turn_the_call_is_502(status: int) -> None:
    for judged in (lambda: shaped(status, None), lambda: check_status(status, KEY)):
        with pytest.raises(JobRefused, match=rf"^cannot pass on .*{KEY}: {status}, ") as caught:
            judged()
        assert (caught.value.code, caught.value.status) == (Code.BACKEND_UNUSABLE, 502)


@pytest.mark.parametrize("status", [200, 201, 204, 299, 400, 402, 403, 404, 409, 500, 503])
@pytest.mark.parametrize("content_type", [None, "", "application/json", "text/event", "event-stream"])
def test_other_answers_pass_as_they_are(status: int, content_type: str | None) -> None:
    check_status(status, KEY)
    assert shaped(status, content_type) is AS_IT_IS


EVENTS = ["text/event-stream", "text/event-stream; charset=utf-8", "Text/Event-Stream", "x; text/event-stream"]


@pytest.mark.parametrize("content_type", EVENTS)
def test_an_event_stream_is_watched_and_loses_its_length(content_type: str) -> None:
    got = shaped(200, content_type)
    assert (got.events, got.without, got.extra) == (True, frozenset({b"content-length"}), b"")


@pytest.mark.parametrize("content_type", EVENTS)
@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_an_error_is_no_event_stream(status: int, content_type: str) -> None:
    got = shaped(status, content_type)
    assert (got.events, got.without) == (False, frozenset({b"content-type"}))
    assert got.extra == b"Content-Type: text/plain\r\n"


@pytest.mark.parametrize(
    ("status", "method", "version"), [(204, "POST", "1.1"), (200, "HEAD", "1.1"), (200, "POST", "1.0")]
)
def test_an_answer_that_can_not_come_in_chunks_gets_no_other_end(status: int, method: str, version: str) -> None:
    assert shaped(status, "text/event-stream", method=method, version=version) is AS_IT_IS

"""What llhttp would let pass, and what is remembered. How bytes are cut: `tests/wire/test_split_points.py`."""

from __future__ import annotations

import pytest

from orchd.http1.heads import MOST_FIELDS
from orchd.http1.mending import with_one_length
from orchd.http1.parser import STEPS, AnswerParser, RequestParser

REST = b"Host: here\r\nContent-Length: 4\r\n\r\n"


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    "line",
    [
        b"POST  /a HTTP/1.1",
        b"POST /a  HTTP/1.1",
        b"POST /a b HTTP/1.1",
        b"POST /a RTSP/1.0",
        b"POST /a ICE/1.0",
        b"POST",
    ],
)
def test_a_request_line_is_one_in_just_one_way(line: bytes, size: int) -> None:
    parser = RequestParser(65536)
    for piece in pieces(line + b"\r\n" + REST + b"body", size):
        parser.feed(piece)
    assert not parser.messages
    assert parser.broken is not None
    assert parser.broken.status == 400


@pytest.mark.parametrize("line", [b"RTSP/1.0 200 OK", b"ICE/1.0 200 OK", b"HTTP/1.1  200 OK", b"HTTP/1.1 20 OK"])
def test_so_is_a_status_line(line: bytes) -> None:
    parser = AnswerParser(65536)
    parser.expect(b"POST")
    parser.feed(line + b"\r\nContent-Length: 0\r\n\r\n")
    assert not parser.messages
    assert parser.broken is not None


def test_a_status_line_may_have_no_reason_and_empty_lines_before_it() -> None:
    parser = AnswerParser(65536)
    parser.expect(b"POST")
    parser.feed(b"\r\n\r\nHTTP/1.1 204\r\n\r\n")
    assert [message.head.status for message in parser.messages] == [204]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_head_that_came_before_is_the_same_however_it_was_cut_then(size: int) -> None:
    raw = b"POST /remembered/%d HTTP/1.1\r\n" % size + REST
    first, again = RequestParser(65536), RequestParser(65536)
    for piece in pieces(raw + b"body", size):
        first.feed(piece)
    again.feed(raw + b"more")
    assert first.messages[0].head is again.messages[0].head
    assert again.messages[0].pieces == [b"more"]
    assert again.messages[0].ended


def test_a_known_head_is_too_long_for_who_takes_less() -> None:
    raw = b"POST /remembered HTTP/1.1\r\nX-Long: %b\r\n" % (b"a" * 1500) + REST
    for most, status in ((65536, None), (1024, 431)):
        parser = RequestParser(most)
        parser.feed(raw + b"body")
        assert (parser.broken.status if parser.broken else None) == status


@pytest.mark.parametrize("size", [7, 70_000])
@pytest.mark.parametrize("make", [RequestParser, AnswerParser])
def test_a_head_has_so_many_fields_however_short_they_are(make: type[RequestParser | AnswerParser], size: int) -> None:
    first = b"POST /fields HTTP/1.1\r\nHost: a\r\n" if make is RequestParser else b"HTTP/1.1 200 OK\r\nA:\r\n"
    for more, whole in ((-2, True), (-1, False), (15_000, False)):
        parser = make(65536)
        for piece in pieces(first + b"Content-Length: 0\r\n" + b"a:\r\n" * (MOST_FIELDS + more) + b"\r\n", size):
            parser.steps = STEPS
            parser.feed(piece)
        parser.go_on()
        assert bool(parser.messages) is whole
        assert (parser.broken is None) is whole
        assert len(parser._reader._headers) <= MOST_FIELDS
    assert MOST_FIELDS <= 1000
    assert parser.broken is not None
    assert parser.broken.status == 431


def test_a_long_head_takes_more_steps() -> None:
    """What is made of it may look at each byte: several long ones behind one another must not take one turn."""
    for size in (100, 4000):
        parser = RequestParser(65536)
        parser.feed(b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * size))
        assert STEPS - parser.steps >= size // 16 + 32


SAME = [
    b"Content-Length: 5\r\nContent-Length: 5\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Content-Length: 5,5 ,\t5\r\n",
    b"content-length: 5\r\nX: y\r\nCONTENT-LENGTH:5\r\nContent-Length: 5\r\n",
    b"Content-Length:  5 \r\nContent-Length: 5\t\r\n",
]
OTHER = [
    b"Content-Length: 5\r\nContent-Length: 6\r\n",
    b"Content-Length: 5, 6\r\n",
    b"Content-Length: 5,\r\n",
    b"Content-Length: ,5\r\n",
    b"Content-Length: 5, 05\r\n",
    b"Content-Length: 5\r\nContent-Length: +5\r\n",
    b"Content-Length: x, x\r\n",
    b"Content-Length: 5\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    b"Content-Length: 5\r\nContent-Length: 5\r\nBad name: x\r\n",
    b"X: y\r\n folded\r\nContent-Length: 5, 5\r\n",
    b"Content-Length: 5\r\nContent-Length: 5\n",
    b"Content-Length : 5\r\nContent-Length: 5\r\n",
]


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("lines", SAME)
def test_the_same_length_twice_is_one_length_in_an_answer(lines: bytes, size: int) -> None:
    """RFC 9112, section 6.3."""
    for _ in range(2):  # The second time it is looked up.
        parser = AnswerParser(65536)
        parser.expect(b"POST")
        for piece in pieces(b"HTTP/1.1 200 OK\r\n" + lines + b"X-A: b\r\n\r\nhello", size):
            parser.feed(piece)
        assert parser.broken is None
        (message,) = parser.messages
        assert (message.ended, message.take()) == (True, b"hello")
        assert [value.strip() for name, value in message.head.headers if name.lower() == b"content-length"] == [b"5"]
        assert message.head.headers[-1] == (b"X-A", b"b")


@pytest.mark.parametrize("lines", SAME)
def test_it_is_so_wherever_the_answer_is_cut_in_two(lines: bytes) -> None:
    raw = b"HTTP/1.1 200 OK\r\n" + lines + b"X: y\r\n\r\nabcde"
    for at in range(1, len(raw)):
        parser = AnswerParser(65536)
        parser._heads = {}
        parser.expect(b"HEAD")  # Heads of answers to it are not remembered.
        parser.feed(raw[:at])
        parser.feed(raw[at:])
        assert parser.broken is None, at
        assert parser.messages[0].head.headers[0][0].lower() in (b"content-length", b"x")


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("lines", OTHER)
def test_lengths_that_are_not_the_same_or_not_alone_are_refused(lines: bytes, size: int) -> None:
    parser = AnswerParser(65536)
    parser.expect(b"POST")
    for piece in pieces(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\nhello", size):
        parser.feed(piece)
    assert parser.broken is not None
    assert not parser.messages


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("lines", SAME)
def test_from_a_caller_it_stays_refused(lines: bytes, size: int) -> None:
    parser = RequestParser(65536)
    for piece in pieces(b"POST / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\nhello", size):
        parser.feed(piece)
    assert parser.broken is not None
    assert parser.broken.status == 400
    assert not parser.messages


def test_only_lengths_are_put_together() -> None:
    assert with_one_length(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n") is None
    assert with_one_length(b"HTTP/1.1 200 OK\r\nA: b\r\nA: b\r\n\r\n") is None


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_empty_lines_before_a_request_are_not_the_beginning_of_one(size: int) -> None:
    parser = RequestParser(65536)
    for piece in pieces(b"\r\n" * 100 + b"\r", size):
        parser.feed(piece)
    assert not parser.mid_head
    parser.feed(b"\n")
    for piece in pieces(b"POST / HTTP/1.1\r\n" + REST + b"body", size):
        parser.feed(piece)
    assert parser.broken is None
    assert parser.messages[0].ended


def test_what_follows_a_request_is_held_and_what_follows_an_answer_is_noted() -> None:
    requests, answers = RequestParser(65536), AnswerParser(65536)
    requests.feed((b"POST / HTTP/1.1\r\n" + REST + b"body") * 2)
    assert len(requests.messages) == 1
    assert requests.held
    requests.messages.popleft()
    requests.go_on()
    assert requests.messages[0].ended
    for follows in (b"\r\n", b"H", b"HTTP/1.1 200 OK\r\n\r\n"):
        for apart in (False, True):
            answers = AnswerParser(65536)
            answers.expect(b"POST")
            whole = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"
            for piece in [whole, follows] if apart else [whole + follows]:
                answers.feed(piece)
            assert len(answers.messages) == 1
            assert answers.surplus

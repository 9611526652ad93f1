"""What llhttp would let pass, and what is remembered. How bytes are cut: `tests/wire/test_split_points.py`."""

from __future__ import annotations

import pytest

from orchd.http1.parser import AnswerParser, RequestParser

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

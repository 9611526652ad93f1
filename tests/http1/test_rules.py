"""What a head means for its connection, and which heads could mean two things."""

from __future__ import annotations

import pytest

from orchd.http1.names import Header
from orchd.http1.rules import MOST_NAMES, AnswerHead, Malformed, RequestHead

HOST = (b"Host", b"orchd.test")


def asked(*headers: Header, method: bytes = b"POST", version: str = "1.1", host: bool = True) -> RequestHead:
    return RequestHead(method, b"/", version, [HOST, *headers] if host else list(headers))


def answered(*headers: Header, status: int = 200, method: bytes = b"POST") -> AnswerHead:
    return AnswerHead(status, b"", "1.1", list(headers), method=method)


@pytest.mark.parametrize(
    ("headers", "length", "chunked"),
    [
        ([], None, False),
        ([(b"content-LENGTH", b"7 ")], 7, False),
        ([(b"Content-Length", b"0")], 0, False),
        ([(b"Content-Length", b"7"), (b"Content-Length", b"07")], 7, False),
        ([(b"Transfer-Encoding", b" Chunked\t")], None, True),
    ],
)
def test_the_framing_of_a_body(headers: list[Header], length: int | None, chunked: bool) -> None:
    head = asked(*headers)
    assert (head.length, head.chunked, head.has_body) == (length, chunked, chunked or bool(length))


@pytest.mark.parametrize(
    "headers",
    [
        [(b"Content-Length", b"1"), (b"Content-Length", b"2")],
        [(b"Content-Length", b"1, 1")],
        [(b"Content-Length", b"")],
        [(b"Content-Length", b"+1")],
        [(b"Content-Length", b"-1")],
        [(b"Content-Length", b"0x1")],
        [(b"Content-Length", b"1_0")],
        [(b"Content-Length", b"\xb2")],
        [(b"Content-Length", b"9" * 19)],
        [(b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")],
        [(b"Transfer-Encoding", b"gzip, chunked")],
        [(b"Transfer-Encoding", b"identity")],
        [(b"Transfer-Encoding", b"chunked, chunked")],
        [(b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")],
        [(b"Transfer-Encoding", b"\x0bchunked")],
    ],
)
def test_framing_that_two_readers_could_read_differently_is_refused_both_ways(headers: list[Header]) -> None:
    with pytest.raises(Malformed):
        asked(*headers)
    with pytest.raises(Malformed):
        answered(*headers)


def test_a_request_has_one_host() -> None:
    for headers in ([], [HOST, HOST]):
        with pytest.raises(Malformed):
            asked(*headers, host=False)
    assert not asked(host=False, version="1.0").modern
    with pytest.raises(Malformed):
        asked(HOST, version="1.0")


@pytest.mark.parametrize("version", ["0.9", "2.0", "1.2", "3.0"])
def test_other_versions_are_refused(version: str) -> None:
    with pytest.raises(Malformed):
        asked(version=version)


def test_http_1_0_knows_no_chunks_no_expectation_and_no_upgrade() -> None:
    with pytest.raises(Malformed):
        asked((b"Transfer-Encoding", b"chunked"), version="1.0")
    assert not asked((b"Expect", b"100-continue"), (b"Content-Length", b"1"), version="1.0").expects
    upgrade = ((b"Connection", b"upgrade"), (b"Upgrade", b"websocket"))
    assert not asked(*upgrade, method=b"GET", version="1.0").switches


def test_only_a_body_is_waited_for() -> None:
    assert asked((b"Expect", b"100-Continue"), (b"Content-Length", b"1")).expects
    assert asked((b"Expect", b"100-continue"), (b"Transfer-Encoding", b"chunked")).expects
    assert not asked((b"Expect", b"100-continue"), (b"Content-Length", b"0")).expects
    assert not asked((b"Expect", b"something else"), (b"Content-Length", b"1")).expects


@pytest.mark.parametrize(
    ("headers", "method", "switches"),
    [
        ([(b"Connection", b"keep-alive, Upgrade"), (b"Upgrade", b"WebSocket")], b"GET", True),
        ([(b"Upgrade", b"websocket")], b"GET", False),
        ([(b"Connection", b"Upgrade")], b"GET", False),
        ([(b"Connection", b"Upgrade"), (b"Upgrade", b"h2c")], b"GET", False),
        ([(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")], b"POST", False),
        ([(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"), (b"Content-Length", b"1")], b"GET", False),
    ],
)
def test_only_a_get_without_a_body_asks_for_a_websocket(headers: list[Header], method: bytes, switches: bool) -> None:
    assert asked(*headers, method=method).switches == switches


def test_names_are_found_whatever_their_case_and_the_first_counts() -> None:
    head = asked((b"X-Model-ID", b" one "), (b"x-model-id", b"two"), (b"Connection", b"X-Hop ,, close"))
    assert head.value(b"x-model-id") == b"one"
    assert head.value(b"x-other") is None
    assert head.hops == {b"x-hop", b"close"}


@pytest.mark.parametrize(
    ("headers", "status", "method", "length", "until_close"),
    [
        ([(b"Content-Length", b"7")], 200, b"POST", 7, False),
        ([(b"Transfer-Encoding", b"chunked")], 200, b"POST", None, False),
        ([], 200, b"POST", None, True),
        ([(b"Content-Length", b"7")], 200, b"HEAD", 0, False),
        ([(b"Content-Length", b"7")], 304, b"GET", 0, False),
        ([(b"Transfer-Encoding", b"chunked")], 204, b"GET", 0, False),
        ([], 101, b"GET", 0, False),
        ([], 103, b"GET", 0, False),
    ],
)
def test_where_an_answer_ends(
    headers: list[Header], status: int, method: bytes, length: int | None, until_close: bool
) -> None:
    head = answered(*headers, status=status, method=method)
    assert (head.length, head.until_close) == (length, until_close)


def test_interim_answers_precede_the_answer_and_101_is_one() -> None:
    assert answered(status=100).interim
    assert answered(status=103).interim
    assert not answered(status=101).interim
    assert answered(status=101).switches
    assert not answered(status=200).interim


@pytest.mark.parametrize("status", [0, 99, 1000])
def test_a_status_has_three_digits(status: int) -> None:
    with pytest.raises(Malformed):
        answered(status=status)


@pytest.mark.parametrize(
    ("version", "said", "kept"),
    [
        ("1.1", (), True),
        ("1.1", (b"close",), False),
        ("1.1", (b"keep-alive, Close",), False),
        ("1.0", (), False),
        ("1.0", (b"Keep-Alive",), True),
        ("1.0", (b"keep-alive, close",), False),
        ("1.0", (b"keep-alive", b"close"), False),
    ],
)
def test_close_outweighs_keep_alive(version: str, said: tuple[bytes, ...], kept: bool) -> None:
    connection = [(b"Connection", value) for value in said]
    assert RequestHead(b"GET", b"/", version, [HOST, *connection]).keep_alive is kept
    sized = [(b"Content-Length", b"1"), *connection]
    assert AnswerHead(200, b"", version, sized, method=b"GET").keep_alive is kept


def test_an_answer_that_ends_with_its_connection_keeps_nothing() -> None:
    assert not AnswerHead(200, b"", "1.1", [], method=b"GET").keep_alive


@pytest.mark.parametrize("host", [b"a b", b"a:b", b"user@a", b"http://a", b"[::1", b"a\\b", b"\xff"])
def test_a_host_that_is_none_is_refused(host: bytes) -> None:
    with pytest.raises(Malformed):
        RequestHead(b"GET", b"/", "1.1", [(b"Host", host)])


@pytest.mark.parametrize("host", [b"", b"a", b"a:80", b"127.0.0.1:8737", b"[::1]:80", b"a.b-c_d:"])
def test_a_host_is_taken(host: bytes) -> None:
    assert RequestHead(b"GET", b"/", "1.1", [(b"Host", host)]).keep_alive


@pytest.mark.parametrize("reason", [b"O\0K", b"O\x01K", b"O\x7fK"])
def test_a_reason_with_control_characters_is_refused(reason: bytes) -> None:
    with pytest.raises(Malformed):
        AnswerHead(200, reason, "1.1", [], method=b"GET")


@pytest.mark.parametrize("version", ["2.0", "0.9", "1.2"])
def test_answers_of_other_versions_are_refused(version: str) -> None:
    with pytest.raises(Malformed):
        AnswerHead(200, b"OK", version, [], method=b"GET")


@pytest.mark.parametrize("names", [b"a", b""])
def test_a_connection_header_names_so_many_headers_and_no_more(names: bytes) -> None:
    assert MOST_NAMES <= 1000
    for count in (MOST_NAMES, MOST_NAMES + 1, 60_000):
        field = (b"Connection", b",".join([names] * count))
        for read in (asked, answered):
            if count == MOST_NAMES:
                assert read(field).hops == frozenset({names} - {b""})
            else:
                with pytest.raises(Malformed, match="Connection"):
                    read(field)

"""Which headers pass, either way."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.ids import Address
from orchd.http1.names import Header
from orchd.http1.rules import AnswerHead, RequestHead
from orchd.jobs.heads import AnswerToCaller, host_line, request_id, to_runner
from orchd.relay.headers import HOP_BY_HOP, trailers_to_caller, trailers_to_runner

ROOT = Path(__file__).parents[2] / "orchd"
Pairs = list[tuple[str, str]]


def as_bytes(headers: Sequence[tuple[str, str]]) -> list[Header]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def asked(headers: Sequence[tuple[str, str]], *, method: bytes = b"POST", version: str = "1.1") -> RequestHead:
    return RequestHead(method, b"/", version, as_bytes([("Host", "orchd.test"), *headers]))


def answered(headers: Sequence[tuple[str, str]], *, status: int = 200, method: bytes = b"POST") -> AnswerHead:
    return AnswerHead(status, b"Fine", "1.1", as_bytes(headers), method=method)


def passed(head: RequestHead, **options: Any) -> Pairs:
    """Return the headers that the runner gets, without those that orchd writes itself."""
    whole = to_runner(head, b"/x?y", host_line(Address("runner.test", 9)), **options)
    first, host, *lines = whole.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    assert first == f"{head.method.decode()} /x?y HTTP/1.1"
    assert host == "Host: runner.test:9"
    pairs = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    assert pairs.pop() == (("Upgrade", "websocket") if head.switches else ("Connection", "keep-alive"))
    if head.switches:
        assert pairs.pop() == ("Connection", "Upgrade")
    if head.length is not None:
        assert pairs.pop() == ("Content-Length", str(head.length))
    elif head.chunked:
        assert pairs.pop() == ("Transfer-Encoding", "chunked")
    return pairs


def got(head: AnswerHead, request: RequestHead, *, keep_alive: bool = True) -> list[str]:
    """Return the lines of the head that the caller gets."""
    whole, again = (
        AnswerToCaller(head, request, keep_alive=keep_alive).head("ours", b"Date: today\r\n") for _ in range(2)
    )
    assert whole.endswith(b"\r\n\r\n")
    assert whole == again, "each time"
    return whole.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")


def test_headers_to_the_runner_keep_order_duplicates_case_and_bytes() -> None:
    headers = [
        ("x-B", "1"),
        ("Accept", "*/*"),
        ("X-b", "\xff\x80"),
        ("Connection", "keep-alive, X-Hop, Content-Length"),
        ("X-Hop", "gone"),
        ("Cookie", "a=b"),
        ("Authorization", "Bearer caller"),
        ("Livepeer", "e30="),
        ("LIVEPEER-Payment", "x"),
        ("livepeer_payment", "x"),
        ("Expect", "100-continue"),
        ("Content-Length", "3"),
        ("Upgrade", "h2c"),
        ("X-Livepeer-Note", "stays"),
    ]
    kept = [("x-B", "1"), ("Accept", "*/*"), ("X-b", "\xff\x80"), ("Cookie", "a=b"), ("X-Livepeer-Note", "stays")]
    assert passed(asked(headers)) == kept
    assert passed(asked(headers), token="t0ken") == [*kept, ("Authorization", "Bearer t0ken")]


def test_a_body_keeps_its_framing_on_the_way_to_the_runner() -> None:
    assert passed(asked([("Transfer-Encoding", "Chunked")])) == []
    assert passed(asked([("Content-Length", "007")])) == []
    assert passed(asked([])) == []


def test_an_upgrade_passes_as_one() -> None:
    headers = [("Connection", "Upgrade, X-Hop"), ("Upgrade", "WebSocket"), ("Sec-WebSocket-Key", "k"), ("X-Hop", "1")]
    head = asked(headers, method=b"GET")
    assert head.switches
    assert passed(head) == [("Sec-WebSocket-Key", "k")]


def test_an_ipv6_runner_is_named_in_brackets() -> None:
    assert host_line(Address("::1", 9)) == b" HTTP/1.1\r\nHost: [::1]:9\r\n"


def test_headers_to_the_caller_keep_all_but_those_of_the_connection() -> None:
    headers = [
        ("Content-Length", "3"),
        ("Set-Cookie", "a"),
        ("Set-Cookie", "b"),
        ("Connection", "close, X-Hop, Content-Length"),
        ("X-Hop", "gone"),
        ("Keep-Alive", "timeout=5"),
        ("livepeer-request-id", "the runner's"),
        ("WWW-Authenticate", "Basic"),
        ("Content-Length", "3"),
    ]
    assert got(answered(headers), asked([])) == [
        "HTTP/1.1 200 Fine",
        "Content-Length: 3",
        "Set-Cookie: a",
        "Set-Cookie: b",
        "WWW-Authenticate: Basic",
        "Livepeer-Request-Id: ours",
        "Date: today",
    ]


def test_a_runners_own_date_stays() -> None:
    lines = got(answered([("date", "then"), ("Content-Length", "0")]), asked([]))
    assert [line for line in lines if line.lower().startswith("date")] == ["date: then"]


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("keep_alive", [True, False])
def test_the_caller_is_told_whether_the_connection_stays(version: str, keep_alive: bool) -> None:
    lines = got(answered([("Content-Length", "0")]), asked([], version=version), keep_alive=keep_alive)
    said = [line for line in lines if line.startswith("Connection")]
    assert said == (["Connection: close"] if not keep_alive else ["Connection: keep-alive"] if version == "1.0" else [])


@pytest.mark.parametrize(
    ("headers", "status", "method", "version", "chunked"),
    [
        ([("Transfer-Encoding", "chunked")], 200, b"POST", "1.1", True),
        ([("Transfer-Encoding", "chunked")], 200, b"POST", "1.0", False),
        ([], 200, b"POST", "1.1", True),
        ([("Content-Length", "0")], 200, b"POST", "1.1", False),
        ([("Transfer-Encoding", "chunked")], 200, b"HEAD", "1.1", False),
        ([("Transfer-Encoding", "chunked")], 304, b"GET", "1.1", False),
        ([], 204, b"POST", "1.1", False),
    ],
)
def test_a_body_of_unknown_length_is_chunked_for_whoever_knows_chunks(
    headers: Pairs, status: int, method: bytes, version: str, chunked: bool
) -> None:
    head, request = answered(headers, status=status, method=method), asked([], method=method, version=version)
    assert AnswerToCaller(head, request, keep_alive=True).chunked == chunked
    assert ("Transfer-Encoding: chunked" in got(head, request)) == chunked


def test_switching_is_said_as_the_runner_said_it() -> None:
    head = answered([("Connection", "upgrade"), ("Upgrade", "WebSocket"), ("Sec-WebSocket-Accept", "x")], status=101)
    lines = got(head, asked([("Connection", "upgrade"), ("Upgrade", "websocket")], method=b"GET"))
    assert lines[1:] == [
        *("Sec-WebSocket-Accept: x", "Livepeer-Request-Id: ours", "Date: today"),
        *("Connection: Upgrade", "Upgrade: WebSocket"),
    ]


def test_trailers_are_held_to_the_same_rules() -> None:
    trailers = as_bytes([("X-Sum", "1"), ("Authorization", "x"), ("Content-Length", "9"), ("X-Hop", "1"), ("TE", "x")])
    head = asked([("Connection", "x-hop"), ("Transfer-Encoding", "chunked")])
    assert trailers_to_runner(head, trailers) == [(b"X-Sum", b"1")]
    reply = answered([("Connection", "x-hop"), ("Transfer-Encoding", "chunked")])
    assert trailers_to_caller(reply, trailers) == [(b"X-Sum", b"1"), (b"Authorization", b"x")]


@pytest.mark.parametrize("name", [b"X-Forwarded-For", b"x_forwarded_host", b"FORWARDED", b"X-Forwarded-Proto"])
def test_no_trailer_tells_a_runner_whose_request_it_is(name: bytes) -> None:
    head = asked([("Transfer-Encoding", "chunked")])
    assert trailers_to_runner(head, [(name, b"192.0.2.1"), (b"X-Sum", b"1")]) == [(b"X-Sum", b"1")]


NAMES = st.one_of(
    st.sampled_from([*(name.decode() for name in HOP_BY_HOP), "authorization", "livepeer", "livepeer-payment", "x-a"]),
    st.sampled_from(["x_a", "Livepeer_Segment", "expect"]),
    st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=12),
).filter(lambda name: name.lower() not in ("host", "content-length", "transfer-encoding"))


@given(st.lists(st.tuples(NAMES, st.one_of(NAMES, st.text(string.printable[:95], max_size=12))), max_size=12))
def test_nothing_secret_and_nothing_of_the_connection_passes_and_all_else_does(some: Pairs) -> None:
    headers = [(name.upper() if index % 2 else name, value) for index, (name, value) in enumerate(some)]
    hops = {
        token.strip(" \t").lower()
        for name, value in headers
        if name.lower() == "connection"
        for token in value.split(",")
    }

    def must_go(name: str) -> bool:
        plain = name.lower().replace("_", "-")
        return (
            plain.encode() in HOP_BY_HOP
            or plain in {"expect", "host", "content-length"}
            or name.lower() in hops
            or plain in {"authorization", "livepeer"}
            or plain.startswith("livepeer-")
        )

    assert passed(asked(headers)) == [pair for pair in headers if not must_go(pair[0])]


@pytest.mark.parametrize("sane", [b"a", b"a" * 64, b"!~", b"job-1/2"])
def test_a_sane_request_id_is_kept(sane: bytes) -> None:
    assert request_id(sane) == sane.decode()


@pytest.mark.parametrize("odd", [None, b"", b"a" * 65, b"a b", b"\x7f", b"\xe9", b"a\t", b"a\n"])
def test_any_other_request_id_is_not(odd: bytes | None) -> None:
    assert request_id(odd) is None


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP | {b"content-length"}))
def test_a_framing_header_with_underscores_passes_neither_way(name: bytes) -> None:
    """Servers that make variables of names take it for the one with hyphens."""
    for spelt in {name.replace(b"-", b"_"), name.replace(b"-", b"_", 1), name.upper().replace(b"-", b"_")} - {
        name,
        name.upper(),
    }:
        field = (spelt.decode(), "5")
        head, reply = asked([field, ("X-A", "b")]), answered([field, ("X-A", "b"), ("Content-Length", "0")])
        assert passed(head) == [("X-A", "b")]
        assert b"x-a: b" in AnswerToCaller(reply, head, keep_alive=True).head("id", b"").lower()
        assert spelt.lower() + b":" not in AnswerToCaller(reply, head, keep_alive=True).head("id", b"").lower()
        chunked = [("Transfer-Encoding", "chunked")]
        assert trailers_to_runner(asked(chunked), [(spelt, b"5")]) == []
        assert trailers_to_caller(answered(chunked), [(spelt, b"5")]) == []


def test_nothing_is_replaced_on_its_way_to_a_runner() -> None:
    """What can't be sent as it is, is refused: entries are checked when they are read, and this is the last line."""
    with pytest.raises(UnicodeEncodeError):
        host_line(Address("b\u00fccher.test", 80))
    with pytest.raises(UnicodeEncodeError):
        to_runner(asked([]), b"/", b" HTTP/1.1\r\n", token="\u20ac")
    for path in sorted(ROOT.glob("**/*.py")):
        if path.relative_to(ROOT).parts[0] in ("jobs", "doors", "relay", "http1", "realtime"):
            assert not re.search(r"encode\(.latin-1., .(replace|ignore)", path.read_text()), path

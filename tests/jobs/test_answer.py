"""Reading a runner's answer: every framing of RFC 9112, and everything that is none."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchd.jobs.answer import HEAD_BYTES, Body, read_answer
from orchd.jobs.forward import BUFFER_BYTES
from orchd.jobs.ports import Answer, RunnerBroke
from tests.virtual_time import run_virtual

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def read(raw: bytes, method: str = "POST", *, ends: bool = True) -> tuple[Answer, bytes]:
    reader = asyncio.StreamReader(limit=BUFFER_BYTES)
    reader.feed_data(raw)
    if ends:
        reader.feed_eof()
    answer = await read_answer(reader)
    body, whole = Body(reader, method, answer), b""
    while piece := await body.read():
        whole += piece
    return answer, whole


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcREST", 200, b"abc"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\nContent-Length: 3\r\n\r\nabc", 200, b"abc"),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, b""),
        (b"HTTP/1.0 404 Not Found\r\n\r\nuntil the end", 404, b"until the end"),
        (b"HTTP/1.1 200 OK\r\n\r\n", 200, b""),
        (b"HTTP/1.1 200 OK\nContent-Length: 1\n\na", 200, b"a"),
        (CHUNKED + b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n", 200, b"abc0123456789"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\nX-Sum: 1\r\n\r\n", 200, b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n1\r\na\r\n0\r\n\r\n", 200, b"a"),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, b""),
        (b"HTTP/1.1 100 A\r\n\r\nHTTP/1.1 103 B\r\nC: d\r\n\r\nHTTP/1.1 201\r\nContent-Length: 1\r\n\r\na", 201, b"a"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nraw", 101, b"raw"),
    ],
)  # fmt: skip
def test_an_answer_is_read_by_its_framing(raw: bytes, status: int, body: bytes) -> None:
    answer, whole = run_virtual(read(raw))
    assert (answer.status, whole) == (status, body)


def test_an_answer_to_head_has_no_body_whatever_it_says() -> None:
    answer, whole = run_virtual(read(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "HEAD"))
    assert (answer.headers, whole) == ((("Content-Length", "9"),), b"")


def test_headers_come_as_they_are() -> None:
    raw = b"HTTP/1.1 200 \xe9\r\nX-a:1\r\nx-A: \xff 2\t \r\nX-Empty:\r\nX-Fold: a\r\n  b\r\nContent-Length:0\r\n\r\n"
    answer, _ = run_virtual(read(raw))
    assert answer.reason == "\xe9"
    assert answer.headers == (
        ("X-a", "1"),
        ("x-A", "\xff 2"),
        ("X-Empty", ""),
        ("X-Fold", "a b"),
        ("Content-Length", "0"),
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"3\r\nabc\r\n",
        CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n",
        CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n",
        CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n",
        CHUNKED + b"0\r\n",
        b"HTTP/1.1 200 OK\r\nNo colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: first\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"\0" * (3 * BUFFER_BYTES),
        b"HTTP/1.1 200 OK\r\n" + (b"A: " + b"x" * 60_000 + b"\r\n") * (HEAD_BYTES // 60_000 + 1),
        CHUNKED + b"0\r\n" + b"A: b\r\n" * HEAD_BYTES,
    ],
)  # fmt: skip
def test_what_is_no_answer_breaks(raw: bytes) -> None:
    with pytest.raises(RunnerBroke):
        run_virtual(read(raw))


def test_a_piece_is_passed_on_before_its_chunk_has_ended() -> None:
    async def run() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(CHUNKED + b"9\r\ndata")
        body = Body(reader, "POST", await read_answer(reader))
        assert await body.read() == b"data"
        reader.feed_data(b": 1\n\n")
        assert await body.read() == b": 1\n\n"
        reader.feed_data(b"\r\n0\r\n\r\n")
        assert await body.read() == b""
        assert await body.read() == b""

    run_virtual(run())


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6))
def test_chunks_of_any_size_are_the_body(chunks: list[bytes]) -> None:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    raw = CHUNKED + b"" + framed + b"0\r\n\r\n"
    assert run_virtual(read(raw))[1] == b"".join(chunks)
    if framed:
        with pytest.raises(RunnerBroke):
            run_virtual(read(raw[:-7]))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_an_answer_or_breaks(noise: bytes) -> None:
    for raw in (
        noise,
        b"HTTP/1.1 200 OK\r\n" + noise,
        CHUNKED + b"" + noise,
    ):
        try:
            run_virtual(read(raw))
        except RunnerBroke:
            continue

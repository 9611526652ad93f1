"""One GET over a connection of its own: what it sends, what it understands, and what it leaves to a library."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
import pytest

from orchd.domain.ids import Address
from orchd.domain.model import HealthSpec
from orchd.domain.ports import ProbeWord
from orchd.health.ask import BrokenOff, NotUnderstood, ProbeAnswer, Question, ask, request_for
from orchd.health.probe import HttpProber
from orchd.names import Names
from orchd.tasks import cancel, spawn
from tests.health.failing import says, serving

MOST = 100


async def asked(*pieces: bytes) -> ProbeAnswer:
    names = Names()
    try:
        async with serving(says(*pieces)) as port, asyncio.timeout(30):
            return await ask(names, Address("127.0.0.1", port), Question(b"GET / HTTP/1.1\r\n\r\n", MOST))
    finally:
        await names.close()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", ProbeAnswer(200, b"ok", "")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", ProbeAnswer(204, b"", "")),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil it closes", ProbeAnswer(200, b"until it closes", "")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", ProbeAnswer(200, b"x", "")),
        (b"HTTP/1.1 302 Found\r\nlocation: /there\r\nContent-Length: 0\r\n\r\n", ProbeAnswer(302, b"", "/there")),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + b"y" * 200, ProbeAnswer(200, b"y" * MOST, "")),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nz\r\n" * 40 + b"0\r\n\r\n",
            ProbeAnswer(200, b"z" * 40, ""),
        ),
    ],
)
async def test_an_answer_is_understood_whole_and_in_any_pieces(answer: bytes, expected: ProbeAnswer) -> None:
    assert await asked(answer) == expected
    at = len(answer) // 2
    assert await asked(answer[:at], answer[at:]) == expected


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"SSH-2.0-x\r\n", NotUnderstood),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", NotUnderstood),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", NotUnderstood),
        (b"", BrokenOff),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", BrokenOff),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", BrokenOff),
    ],
)
async def test_what_is_wrong_with_it_is_told_apart(answer: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        await asked(answer)


async def test_a_chunked_body_of_many_lines_takes_several_turns_and_is_read_to_its_end() -> None:
    names, lines = Names(), 5_000
    body = b"1\r\nz\r\n" * lines + b"0\r\n\r\n"
    async with serving(says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)) as port:
        answer = await ask(names, Address("127.0.0.1", port), Question(b"GET / HTTP/1.1\r\n\r\n", 65_536))
    assert answer.body == b"z" * lines
    await names.close()


async def test_a_server_that_is_not_strict_is_asked_again_by_the_library() -> None:
    prober = HttpProber()
    async with serving(says(b'HTTP/1.1 200 OK\nContent-Length: 15\n\n{"status":"ok"}')) as port:
        assert (await prober.probe(Address("127.0.0.1", port), HealthSpec(), early=False)).word is ProbeWord.READY
    await prober.close()


@pytest.mark.parametrize("path", ["/health", "/a?b=c&d=%20e", "/x{}/../y", "/q'[1]\"<>^`|~", "/?", "/#f", "//x"])
@pytest.mark.parametrize("make", [lambda p: Address("127.0.0.1", p), lambda p: Address("localhost", p, base_path="/b")])
async def test_it_sends_what_the_library_would_send(path: str, make: Callable[[int], Address]) -> None:
    heads: list[list[bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with (
        serving(serve) as port,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True),
            headers={"User-Agent": "orchd", "Accept-Encoding": "identity"},
        ) as session,
    ):
        address = make(port)
        async with session.get(address.url + path):
            pass
    assert sorted(request_for(address, path).split(b"\r\n")) == sorted(heads[0])


async def test_a_question_that_is_given_up_leaves_no_connection() -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        try:
            await reader.read(-1)
        finally:
            closed.set()

    names = Names()
    async with serving(serve) as port:
        question = Question(b"GET / HTTP/1.1\r\n\r\n", MOST)
        asking = spawn(ask(names, Address("127.0.0.1", port), question), name="ask")
        async with asyncio.timeout(30):
            await asked.wait()
        await cancel(asking)
        async with asyncio.timeout(30):
            await closed.wait()
    await names.close()

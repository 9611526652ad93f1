"""HTTP to a runner over real sockets: what it gets, byte for byte, and what is said when it misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from orchd.domain.ids import Address
from orchd.jobs.forward import HttpExchange, HttpRunners
from orchd.jobs.ports import RunnerBroke, RunnerUnreachable

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
BOUND_S = 30


async def with_runner(serve: Serve, use: Callable[[HttpExchange], Awaitable[None]], base_path: str = "") -> None:
    done = asyncio.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()
            done.set()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with asyncio.timeout(BOUND_S):
        exchange = await HttpRunners().connect(
            Address("127.0.0.1", server.sockets[0].getsockname()[1], base_path=base_path)
        )
        try:
            await use(exchange)
        finally:
            exchange.close()
        await done.wait()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("has_body", "length", "framing", "body"),
    [
        (False, None, b"", b""),
        (False, 0, b"Content-Length: 0\r\n", b""),
        (True, 5, b"Content-Length: 5\r\n", b"ab\r\nc"),
        (True, None, b"Transfer-Encoding: chunked\r\n", b"2\r\nab\r\n3\r\n\r\nc\r\n0\r\n\r\n"),
    ],
)
async def test_a_request_goes_out_as_it_is(has_body: bool, length: int | None, framing: bytes, body: bytes) -> None:
    got = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        got = await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(len(body))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def use(exchange: HttpExchange) -> None:
        headers = (("X-b", "\xff\xe9"), ("x-B", "2"))
        await exchange.request("GET", "/a%2F//b?", headers, has_body=has_body, length=length)
        if has_body:
            await exchange.write(b"ab")
            await exchange.write(b"\r\nc")
            await exchange.finish()
        assert (await exchange.answer()).status == 200
        assert [await exchange.read(), await exchange.read()] == [b"ok", b""]

    await with_runner(serve, use, base_path="/base")
    line, host, *rest = got.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert line == b"GET /base/a%2F//b? HTTP/1.1"
    assert host.startswith(b"Host: 127.0.0.1:")
    assert rest == [b"X-b: \xff\xe9", b"x-B: 2", *framing.split(b"\r\n")[:-1], b"Connection: close"]
    assert got.endswith(b"\r\n\r\n" + body)


async def upload_without_end(exchange: HttpExchange) -> None:
    while True:
        await exchange.write(b"x" * 65536)


async def test_an_early_answer_survives_the_reset_that_follows_it() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await writer.drain()

    async def use(exchange: HttpExchange) -> None:
        await exchange.request("POST", "/", (), has_body=True, length=1 << 40)
        with pytest.raises(RunnerBroke):
            await upload_without_end(exchange)
        answer = await exchange.answer()
        assert (answer.status, await exchange.read()) == (413, b"big")

    await with_runner(serve, use)


async def test_a_body_that_ends_by_closing_is_whole_and_by_a_reset_is_not() -> None:
    import socket
    import struct

    reset = False

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await writer.drain()
        await reader.readexactly(1)
        if reset:
            raw: socket.socket = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def use(exchange: HttpExchange) -> None:
        await exchange.request("GET", "/", (), has_body=False, length=None)
        await exchange.answer()
        assert await exchange.read() == b"abc"
        await exchange.write(b"!")
        if reset:
            with pytest.raises(RunnerBroke):
                await exchange.read()
        else:
            assert await exchange.read() == b""

    await with_runner(serve, use)
    reset = True
    await with_runner(serve, use)


async def test_no_connection_is_unreachable() -> None:
    runners = HttpRunners()
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    for host in ("127.0.0.1", "no-such-name.invalid", "x" * 70):
        with pytest.raises(RunnerUnreachable):
            await runners.connect(Address(host, port))

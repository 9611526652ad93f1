"""Jobs by TLS: what a plain listener passes, this one passes too, byte for byte, though nothing is spliced."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from orchd.doors.plain.door import PlainDoor
from tests.advertise.rig import until
from tests.public.rig import LOOPS, PublicDaemon, daemon, on

BIG = 3 * 1024 * 1024 + 17  # Without TLS it would go by splice.
ONE = "/models/image/org%2Fone"
Loop = Callable[[], asyncio.AbstractEventLoop]
each_loop = pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])


class Runner:
    """Echoes bodies, event streams and WebSocket messages.

    Attributes:
        left: how many callers have left in the middle of an event stream.
        tunnels: WebSockets that are open.
    """

    def __init__(self) -> None:
        self.left = self.tunnels = 0

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def echo(self, request: web.Request) -> web.Response:
        body = await request.read()
        return web.Response(body=io.BytesIO(body), headers={"X-Hash": hashlib.sha256(body).hexdigest()})

    async def events(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        try:
            n = 0
            while True:
                await answer.write(f"data: {n}\n\n".encode())
                await asyncio.sleep(0.005)
                n += 1
        except (ConnectionError, asyncio.CancelledError):
            self.left += 1
            raise

    async def ws(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(timeout=0.01)
        await socket.prepare(request)
        self.tunnels += 1
        try:
            async for message in socket:
                if message.data == b"bye":
                    break
                await socket.send_bytes(message.data)
        finally:
            self.tunnels -= 1
        return socket


@asynccontextmanager
async def serving(folder: Path, **jobs: Any) -> AsyncIterator[tuple[PublicDaemon, Runner]]:
    """Run a daemon whose public door is the plain one, and a runner behind it."""
    runner = Runner()
    app = web.Application(client_max_size=2 * BIG)
    app.router.add_get("/health", runner.health)
    app.router.add_get("/events", runner.events)
    app.router.add_get("/ws", runner.ws)
    app.router.add_post("/{path:.*}", runner.echo)
    site = web.AppRunner(app, handler_cancellation=True)
    await site.setup()
    await web.TCPSite(site, "127.0.0.1", 0).start()
    entry = {"pipeline": "image", "model_id": "org/one", "maxSessions": 8, "price_per_unit": 0}
    url = f"http://127.0.0.1:{site.addresses[0][1]}"
    try:
        async with daemon(folder, PlainDoor, [entry | {"url": url}], jobs=jobs) as public:
            await until("the model is ready", lambda: all(m.ready for m in public.app.snapshot().models.values()))
            yield public, runner
    finally:
        await site.cleanup()


@asynccontextmanager
async def client(public: PublicDaemon) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(ssl=public.client_context())
    async with aiohttp.ClientSession(f"https://localhost:{public.port}", connector=connector) as session:
        yield session


@each_loop
def test_bodies_of_all_sizes_pass_both_ways_on_one_connection(loop: Loop, tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (public, _), client(public) as session:
            for size in (0, 1, 16 * 1024, 300_000, BIG):
                body = bytes(i % 251 for i in range(1000)) * (size // 1000) + b"z" * (size % 1000)
                async with session.post(f"{ONE}/echo", data=io.BytesIO(body)) as answer:
                    got = await answer.read()
                    assert (answer.status, len(got), answer.headers["X-Hash"]) == (
                        200,
                        size,
                        hashlib.sha256(body).hexdigest(),
                    )
                    assert got == body
            assert public.app.snapshot().jobs.outcomes == {"ok": 5}

    on(loop, run)


@each_loop
def test_many_at_once_and_pipelined_ones_keep_their_bytes_apart(loop: Loop, tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (public, _), client(public) as session:

            async def one(n: int) -> None:
                body = b"%d" % n * 50_000
                async with session.post(f"{ONE}/echo", data=io.BytesIO(body)) as answer:
                    assert await answer.read() == body

            await asyncio.gather(*map(one, range(8)))
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", public.port, ssl=public.client_context(), server_hostname="localhost"
            )
            for n in range(20):
                writer.write(b"POST %b/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n%02d" % (ONE.encode(), n))
            for n in range(20):
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 ")
                assert await reader.readexactly(2) == b"%02d" % n
            writer.close()
            await writer.wait_closed()

    on(loop, run)


@each_loop
def test_a_caller_that_takes_its_answer_slowly_gets_all_of_it(loop: Loop, tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (public, _):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", public.port, ssl=public.client_context(), server_hostname="localhost", limit=1024
            )
            body = b"0123456789abcdef" * (BIG // 16)
            writer.write(b"POST %b/echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" % ONE.encode())
            writer.write(b"Content-Length: %d\r\n\r\n" % len(body))
            writer.write(body)
            await reader.readuntil(b"\r\n\r\n")
            got = bytearray()
            while piece := await reader.read(10_000):
                got += piece
            assert bytes(got) == body
            writer.close()
            await writer.wait_closed()

    on(loop, run)


@each_loop
def test_a_caller_that_leaves_in_the_middle_of_an_event_stream_frees_its_slot(loop: Loop, tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (public, runner), client(public) as session:
            async with session.get(f"{ONE}/events") as answer:
                assert (await answer.content.readline()).startswith(b"data: 0")
                answer.close()
            await until("the runner has seen it leave", lambda: runner.left == 1)
            await until("it is booked", lambda: public.app.snapshot().jobs.outcomes == {"client_gone": 1})

    on(loop, run)


@each_loop
def test_web_sockets_pass_messages_and_end_from_either_side(loop: Loop, tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (public, runner), client(public) as session:
            for last in (b"bye", b""):
                async with session.ws_connect(f"{ONE}/ws") as socket:
                    for size in (1, 1000, 200_000):
                        await socket.send_bytes(b"x" * size)
                        assert await socket.receive_bytes() == b"x" * size
                    if last:
                        await socket.send_bytes(last)
                        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
                await until("the runner has none any more", lambda: runner.tunnels == 0)
            await until("both are booked", lambda: sum(public.app.snapshot().jobs.outcomes.values()) == 2)

    on(loop, run)


@each_loop
def test_a_tunnel_whose_runner_has_finished_ends_for_a_caller_that_says_nothing(loop: Loop, tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (public, runner):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", public.port, ssl=public.client_context(), server_hostname="localhost"
            )
            key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            writer.write(
                b"GET %b/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%b\r\n"
                % (ONE.encode(), key)
            )
            await reader.readuntil(b"\r\n\r\n")
            writer.write(bytes([0x82, 0x83, 0, 0, 0, 0]) + b"bye")
            await reader.read()  # To its end, though we don't close.
            await until("the runner has none any more", lambda: runner.tunnels == 0)
            writer.close()
            await writer.wait_closed()

    on(loop, run)


@each_loop
def test_a_daemon_that_stops_lets_a_job_by_tls_end(loop: Loop, tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (public, _):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", public.port, ssl=public.client_context(), server_hostname="localhost"
            )
            writer.write(b"POST %b/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na" % ONE.encode())
            await until("it has a slot", lambda: any(m.sessions for m in public.app.snapshot().models.values()))
            public.app.stop()
            await until("it takes no more", lambda: not public.app.accepting)
            writer.write(b"b")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert b"Connection: close" in head
            assert await reader.read() == b"ab"
            writer.close()
            await writer.wait_closed()

    on(loop, run)

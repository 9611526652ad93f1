"""What passes between the node and a worker, as byoc.md 5.3 to 5.6 and 8 (7 to 11) have it."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from orchd.tasks import cancel, spawn
from tests.doubles.golivepeer.kit import NAME, Kit, job_header, kit
from tests.doubles.shared.caller import Exchange
from tests.doubles.shared.go_client import LINE_LIMIT
from tests.doubles.shared.recordings import eventually
from tests.doubles.shared.worker import RawWorker, stale


@pytest.fixture
async def off() -> AsyncIterator[Kit]:
    """An off-chain node with `echo/one` registered, capacity 2."""
    async with kit() as running:
        await running.register()
        yield running


# 8. to 10. What passes on


async def test_success_becomes_200_and_errors_plain_text(off: Kit) -> None:
    assert (await off.job("status202")).status == 200
    answer = await off.job("status422")
    assert (answer.status, answer.body[-1:]) == (422, b"\n")
    assert (answer.header("Content-Type"), answer.header("X-Metadata")) == ("text/plain; charset=utf-8", "m1")
    assert answer.header("X-Other") is None


async def test_only_content_type_and_our_token_reach_the_worker(off: Kit) -> None:
    await off.register(token="t")
    await off.call("POST", "/process/request/a%2Fb?x=1", job_header() | {"Cookie": "c"}, "{}")
    (seen,), _ = off.worker.take()
    assert seen.path == "/a/b"
    assert dict(seen.headers) | {"Host": ""} == {
        "Host": "",
        "User-Agent": "Go-http-client/1.1",
        "Content-Length": "2",
        "Authorization": "Bearer t",
        "Content-Type": "application/json",
        "Accept-Encoding": "gzip",
    }


@pytest.mark.parametrize(
    ("path", "arrives"),
    [("a%20b", "/a%20b"), ("a%3Fb=1", "/a?b=1"), ("a%23b", "/a"), ("%2541", "/%41"), ("%C3%A9", "/%C3%A9"), ("", "")],
)
async def test_the_path_is_decoded_and_escaped_again(off: Kit, path: str, arrives: str) -> None:
    await off.register(url=off.worker_url + "/base")
    await off.job(path)
    (seen,), _ = off.worker.take()
    assert seen.path == "/base" + arrives


async def test_a_space_behind_a_question_mark_arrives_raw(off: Kit) -> None:
    lines: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append(await reader.readline())
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    raw = RawWorker(serve)
    await raw.start()
    await off.register(url=f"http://127.0.0.1:{raw.port}")
    await off.job("a%3Fb=1/c%20d")
    await raw.stop()
    assert lines == [b"POST /a?b=1/c d HTTP/1.1\r\n"]


async def test_redirects_are_followed_ten_times(off: Kit) -> None:
    async def around(request: web.Request) -> web.Response:
        hop = int(request.query.get("hop", "0"))
        return web.Response(status=307, headers={"Location": f"/?hop={hop + 1}"}) if hop < 12 else web.Response()

    app = web.Application()
    app.router.add_route("*", "/", around)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    await off.register(url=f"http://127.0.0.1:{port}/?hop=4")
    assert (await off.job("")).status == 200
    await off.register(url=f"http://127.0.0.1:{port}/")
    answer = await off.job("")
    assert "stopped after 10 redirects" in answer.text
    assert NAME not in off.node.byoc.capabilities
    await runner.cleanup()


async def test_gzip_is_undone(off: Kit) -> None:
    packed = gzip.compress(b"plain")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
        writer.write(head.encode() + packed)

    raw = RawWorker(serve)
    await raw.start()
    await off.register(url=f"http://127.0.0.1:{raw.port}")
    answer = await off.job()
    await raw.stop()
    assert answer.text == "plain"
    assert answer.header("Content-Encoding") is None


async def test_an_answer_before_the_body_is_read_counts(off: Kit) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await reader.read()

    raw = RawWorker(serve)
    await raw.start()
    await off.register(url=f"http://127.0.0.1:{raw.port}")
    assert (await off.job(body="x" * 10_000_000)).status == 413
    await raw.stop()


async def test_a_worker_s_certificate_is_not_verified(off: Kit) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(off.node.certificate_path, off.node.datadir / "key.pem")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    await off.register(url=f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert (await off.job()).text == "ok"
    server.close()
    await server.wait_closed()


async def test_a_handshake_slower_than_two_seconds_removes_the_capability(off: Kit) -> None:
    reached = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await reader.read()

    raw = RawWorker(serve)
    await raw.start()
    await off.register(url=f"https://127.0.0.1:{raw.port}")
    job = spawn(off.job(timeout_seconds=60), name="job")
    await reached.wait()
    await off.clock.advance(2)
    assert "deadline exceeded" in (await job).text
    assert NAME not in off.node.byoc.capabilities
    await raw.stop()


# 9. SSE


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def answering(off: Kit, body: bytes, *, status: str = "200 OK", closes: bool = True) -> AsyncIterator[None]:
    """A worker that answers one SSE body, and then closes or waits."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Type: text/event-stream\r\n\r\n".encode() + body)
        await writer.drain()
        if not closes:
            await reader.read()

    raw = RawWorker(serve)
    await raw.start()
    await off.register(url=f"http://127.0.0.1:{raw.port}")
    try:
        yield
    finally:
        await raw.stop()


class Reading:
    """One job whose answer streams; time passes as the test says."""

    def __init__(self, off: Kit, timeout_s: int) -> None:
        self._exchange = Exchange(off.node.service_url, "node")
        headers = job_header(timeout_seconds=timeout_s)
        self.task = spawn(self._exchange.send("POST", "/process/request/x", headers, b"{}"), name="sse")

    async def received(self, count: int) -> None:
        await eventually(lambda: self._exchange.received >= count, f"{count} bytes have come")

    async def leave(self) -> None:
        await cancel(self.task)


async def test_the_balance_comes_before_done_and_empty_lines_for_ever_after(off: Kit) -> None:
    async with answering(off, b"data: 1\r\n\r\nx [DONE] y\r\n"):
        reading = Reading(off, timeout_s=3)
        wanted = b'data: 1\n\ndata: {"balance": 0.000}\n\n\nx [DONE] y\n'
        await reading.received(len(wanted) + 1)
        assert off.capability.load == 1, "the worker has ended, the slot is taken"
        await off.clock.advance(3)
        answer = await reading.task
    assert answer.body.startswith(wanted)
    assert set(answer.body[len(wanted) :]) == {ord("\n")}
    assert answer.header("Livepeer-Payment-Balance") == "0"
    assert answer.header("Livepeer-Balance") is None
    assert off.capability.load == 0


async def test_a_caller_who_leaves_ends_it_and_frees_the_slot(off: Kit) -> None:
    async with answering(off, b"data: [DONE]\n\n"):
        reading = Reading(off, timeout_s=100)
        await reading.received(100)
        await reading.leave()
        await eventually(lambda: off.node.connections == 0, "the node noticed")
    assert off.capability.load == 0


async def test_the_time_limit_ends_an_open_answer_without_done(off: Kit) -> None:
    async with answering(off, b"data: 1\n\n", closes=False):
        reading = Reading(off, timeout_s=2)
        await reading.received(9)
        await off.clock.advance(2)
        answer = await reading.task
    assert (answer.status, answer.body) == (200, b"data: 1\n\n")


async def test_the_status_of_an_sse_answer_is_lost(off: Kit) -> None:
    async with answering(off, b"data: no\n\n", status="503 Busy", closes=False):
        reading = Reading(off, timeout_s=1)
        await reading.received(10)
        await off.clock.advance(1)
        assert (await reading.task).status == 200


@pytest.mark.parametrize(("length", "passes"), [(LINE_LIMIT - 1, True), (LINE_LIMIT, False)])
async def test_of_a_line_of_64_kib_and_of_what_follows_only_empty_lines_come_until_the_time_is_over(
    off: Kit, length: int, passes: bool
) -> None:
    """The worker is still there: nobody tells it that the node reads no more."""
    text = b"a\n" + b"x" * length + b"\nb\n"
    async with answering(off, text, closes=False):
        reading = Reading(off, timeout_s=1)
        await reading.received(len(text) if passes else 1000)
        assert off.capability.load == 1
        await off.clock.advance(1)
        answer = await reading.task
    if passes:
        assert answer.body == text
    else:
        assert answer.body.startswith(b"a\n\n")
        assert set(answer.body[1:]) == {ord("\n")}
    assert off.capability.load == 0


# 11. The pool


async def test_a_reused_connection_that_closes_removes_the_capability(off: Kit) -> None:
    raw = RawWorker(stale)
    await raw.start()
    await off.register(url=f"http://127.0.0.1:{raw.port}")
    assert (await off.job()).status == 200
    answer = await off.job()
    assert answer.text.endswith(": EOF\n")
    assert NAME not in off.node.byoc.capabilities
    await raw.stop()


async def test_a_connection_is_kept_for_sixty_idle_seconds(off: Kit) -> None:
    opened = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        while True:
            await reader.readuntil(b"{}")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    raw = RawWorker(serve)
    await raw.start()
    await off.register(url=f"http://127.0.0.1:{raw.port}")
    for wait_s, connections in ((0, 1), (59, 1), (61, 2)):
        await off.clock.advance(wait_s)
        assert (await off.job()).status == 200
        assert opened == connections
    await off.clock.advance(61)
    await raw.stop()

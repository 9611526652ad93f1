"""Calls to containers' stream routes, over real HTTP: the spelling is found once, and every failure has one name."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from orchd.domain.ids import Address, ModelKey
from orchd.domain.model import ContainerLaunch, InferenceSpec, Model, ProcessLaunch, Secret, StreamSpec
from orchd.realtime import container, routes
from orchd.realtime.container import ContainerSilent, ContainerStreams
from orchd.realtime.routes import StreamCall
from orchd.tasks import cancel, spawn
from tests.jobs.model import a_model

KEY = ModelKey("live-video-to-video", "tint")
MODEL = a_model(KEY, stream=StreamSpec(post_starts_stream=True), inference=InferenceSpec("/live-video-to-video"))


class Container:
    """Attributes:
    paths: what it has; all else is 404.
    asked: method and path of each request.
    """

    def __init__(self, *paths: str) -> None:
        self.paths = set(paths)
        self.asked: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.answer: Callable[[], web.StreamResponse] = lambda: web.json_response({"status": "success"})
        self.missing = 404

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path))
        self.headers.append(dict(request.headers))
        self.bodies.append(await request.read())
        return self.answer() if request.path in self.paths else web.Response(status=self.missing)


@asynccontextmanager
async def beside(box: Container, timeout_s: float = 20.0) -> AsyncIterator[tuple[ContainerStreams, Address]]:
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{path:.*}", box.serve)
    server = TestServer(app)
    await server.start_server()
    streams = ContainerStreams(timeout_s)
    try:
        assert server.port is not None
        yield streams, Address("127.0.0.1", server.port)
    finally:
        await streams.close()
        await server.close()


async def called(streams: ContainerStreams, address: Address, call: StreamCall, model: Model = MODEL) -> int | None:
    reply = await streams.call(model, address, call, headers={}, body=b"{}")
    return None if reply is None else reply.status


OLD = ("/api/stream/start", "/api/stream/stop", "/api/stream/params", "/api/stream/status")
NEW = tuple(path.removeprefix("/api") for path in OLD)
DOCUMENTED = ("/api/stream/start", "/api/stream/stop", "/api/stream/update", "/api/stream/status")


@pytest.mark.parametrize("paths", [OLD, NEW, DOCUMENTED])
async def test_each_spelling_is_found_by_asking_for_the_status_and_kept(paths: tuple[str, ...]) -> None:
    box = Container(*paths)
    async with beside(box) as (streams, address):
        for _ in range(2):
            for call in (StreamCall.START, StreamCall.UPDATE, StreamCall.STATUS, StreamCall.STOP):
                assert await called(streams, address, call) == 200
        assert [path for method, path in box.asked[-4:]] == [paths[0], paths[2], paths[3], paths[1]]
        starts = [path for _, path in box.asked if path.endswith("/start")]
        assert starts == [paths[0]] * 2, "a start goes to one place only"


async def test_what_one_container_took_is_not_taken_for_anothers() -> None:
    old, new = Container(*OLD), Container(*NEW)
    other = replace(MODEL, key=ModelKey("live-video-to-video", "other"))
    async with beside(old) as (streams, address), beside(new) as (_, elsewhere):
        for _ in range(2):
            assert await called(streams, address, StreamCall.START) == 200
            assert await called(streams, elsewhere, StreamCall.START, other) == 200


async def test_an_external_container_that_became_another_one_is_learnt_anew() -> None:
    box = Container(*OLD)
    async with beside(box) as (streams, address):
        assert await called(streams, address, StreamCall.START) == 200
        box.paths = set(NEW)
        assert await called(streams, address, StreamCall.START) == 404
        assert await called(streams, address, StreamCall.START) == 200


@pytest.mark.parametrize("missing", [404, 405])
async def test_a_container_without_the_route_is_told_by_its_own_word(missing: int) -> None:
    box = Container()
    box.missing = missing
    async with beside(box) as (streams, address):
        assert await called(streams, address, StreamCall.START) == missing
        no_stop = replace(MODEL, stream=StreamSpec(post_starts_stream=True, route_prefix=None))
        assert await called(streams, address, StreamCall.STOP, no_stop) is None


async def test_other_errors_are_answers_and_tell_the_spelling_too() -> None:
    box = Container(*OLD)
    async with beside(box) as (streams, address):
        for status in (400, 401, 500, 503, 302):
            box.answer = lambda status=status: web.Response(status=status, headers={"Location": "/elsewhere"})  # type: ignore[misc]
            assert await called(streams, address, StreamCall.STOP) == status
        assert [path for _, path in box.asked].count("/api/stream/stop") == 5


async def test_ai_runners_inner_port_is_asked_for_status_and_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process has it on this host; of a container, that port of the host is somebody else's."""
    outer, inner = Container("/live-video-to-video"), Container("/api/status", "/api/params")
    model = replace(
        MODEL, launch=ProcessLaunch(("serve",), "/"), stream=StreamSpec(post_starts_stream=True, route_prefix=None)
    )
    async with beside(outer) as (streams, address), beside(inner) as (_, other):
        monkeypatch.setattr(routes, "AI_RUNNER_PORT", other.port)
        for call in (StreamCall.START, StreamCall.STATUS, StreamCall.UPDATE):
            assert await called(streams, address, call, model) == 200
        for launch in (ContainerLaunch("ai-runner"), MODEL.launch):
            elsewhere = replace(model, launch=launch)
            assert await called(streams, address, StreamCall.STATUS, elsewhere) is None
            assert await called(streams, address, StreamCall.UPDATE, elsewhere) is None
    assert outer.asked == [("POST", "/live-video-to-video")]
    assert inner.asked == [("GET", "/api/status"), ("POST", "/api/params")]


async def test_the_entrys_token_and_the_given_headers_go_along_and_no_more() -> None:
    box = Container(*NEW)
    async with beside(box) as (streams, address):
        model = replace(MODEL, token=Secret("t0p"))
        headers = {"X-Stream-Id": "s1", "Content-Type": "application/json"}
        await streams.call(model, address, StreamCall.START, headers=headers, body=b'{"a": 1}')
        assert box.bodies[-1] == b'{"a": 1}'
        theirs = {"Host", "Accept", "User-Agent", "Accept-Encoding", "Content-Length", "Connection"}
        got = {name: value for name, value in box.headers[-1].items() if name not in theirs}
        assert got == headers | {"Authorization": "Bearer t0p"}
        assert box.headers[-1]["Accept-Encoding"] == "identity", "the answer passes as it is, to whoever asked"


async def test_an_external_runners_base_path_comes_first() -> None:
    box = Container("/base/stream/start", "/base/stream/status")
    async with beside(box) as (streams, address):
        assert await called(streams, address._replace(base_path="/base"), StreamCall.START) == 200


async def test_the_answer_passes_without_its_framing() -> None:
    box = Container(*NEW)
    box.answer = lambda: web.Response(
        status=202,
        body=b"\x00\xff",
        headers={"X-A": "1", "Keep-Alive": "x", "Content-Type": "a/b", "Set-Cookie": "c=1"},
    )
    async with beside(box) as (streams, address):
        for _ in range(2):
            reply = await streams.call(MODEL, address, StreamCall.START, headers={}, body=b"")
    assert reply is not None
    assert (reply.status, reply.body) == (202, b"\x00\xff")
    names = {name.lower() for name, _ in reply.headers}
    assert {b"x-a", b"content-type", b"set-cookie"} <= names
    assert not names & {b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"date"}
    assert "Cookie" not in box.headers[-1]


async def test_a_redirect_is_not_followed() -> None:
    box = Container(*NEW, "/elsewhere")
    box.answer = lambda: web.Response(status=307, headers={"Location": "/elsewhere"})
    async with beside(box) as (streams, address):
        assert await called(streams, address, StreamCall.START) == 307
        assert ("POST", "/elsewhere") not in box.asked


class Raw(asyncio.Protocol):
    """One connection of a server that answers as no HTTP server should."""

    def __init__(self, says: bytes, *, hangs: bool, left: asyncio.Event) -> None:
        self._says = says
        self._hangs = hangs
        self._left = left
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        before, self._got = self._got, self._got + data
        if b"\r\n\r\n" in self._got and b"\r\n\r\n" not in before:
            self._transport.write(self._says)
            if not self._hangs:
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._left.set()


@pytest.mark.parametrize(
    ("says", "hangs", "why"),
    [
        (b"", False, "can't be asked to start"),
        (b"SSH-2.0\r\n\r\n", False, "can't be asked to start"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort", False, "can't be asked to start"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000, False, "its answer is longer than"),
        (b"", True, "gave no answer to start within"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort", True, "gave no answer to start within"),
    ],
)
async def test_a_container_that_gives_no_answer_is_silent(
    says: bytes, hangs: bool, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "MOST_ANSWER_BYTES", 4096)
    model = replace(MODEL, stream=StreamSpec(route_prefix=""), token=Secret("t0ps3cret"))
    left = asyncio.Event()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Raw(says, hangs=hangs, left=left), "127.0.0.1", 0)
    streams = ContainerStreams(0.3 if hangs else 30.0)
    try:
        address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
        with pytest.raises(ContainerSilent, match=why) as caught:
            await called(streams, address, StreamCall.START, model)
        assert "t0ps3cret" not in repr(caught.value) + "".join(traceback.format_exception(caught.value))
    finally:
        await streams.close()
        server.close()
        await left.wait()


@pytest.mark.parametrize("address", [Address("127.0.0.1", 0), Address("no such host.invalid", 9), Address("::bad", 9)])
async def test_a_container_that_is_not_there_is_silent(address: Address) -> None:
    streams = ContainerStreams(30.0)
    try:
        where = address if address.port else address._replace(port=unused_port())
        with pytest.raises(ContainerSilent, match=r"can't be asked to stop: ."):
            await called(streams, where, StreamCall.STOP)
    finally:
        await streams.close()


async def test_who_no_longer_waits_leaves_nothing_behind() -> None:
    entered = asyncio.Event()

    class Hanging(Container):
        async def serve(self, request: web.Request) -> web.StreamResponse:
            entered.set()
            await asyncio.Event().wait()
            raise AssertionError

    async with beside(Hanging()) as (streams, address):
        call = spawn(called(streams, address, StreamCall.START), name="a call")
        await entered.wait()
        await cancel(call)
        assert call.cancelled()


GARBAGE = [
    b"",
    b"\r\n\r\n",
    b"\x00\xff" * 50,
    b"ICY 200 OK\r\n\r\n",
    b"HTTP/1.1 99 N\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    b"HTTP/1.1 200 OK\r\nX-A: a\rb\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX-A: \x00\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX D: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X" * 100_000,
]


@pytest.mark.parametrize("said", GARBAGE, ids=lambda said: repr(said[:40]))
async def test_whatever_a_container_says_that_is_no_answer_has_one_name(said: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    streams = ContainerStreams(20.0)
    address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
    try:
        with pytest.raises(ContainerSilent) as caught:
            await called(streams, address, StreamCall.STOP, replace(MODEL, stream=StreamSpec(route_prefix="")))
        str(caught.value).encode()
    finally:
        await streams.close()
        server.close()

"""The recordings' worker: it answers by the path, as their `README.md` says, and remembers what it saw.

It sleeps on the node's clock. Beside it the raw workers of `byoc-connections.json`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from orchd.tasks import cancel
from tests.doubles.shared.clock import Clock


def four_digit_socket() -> socket.socket:
    """Bind a free port of four digits: texts with the port in them are as long as in the recordings."""
    while True:
        taken = socket.socket()
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", random.randrange(2000, 10000)))
            taken.listen()  # Only this tells that nobody else listens there.
        except OSError:
            taken.close()
            continue
        return taken


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: str
    version: str = "HTTP/1.1"

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return len(self.body.encode("utf-8", "surrogateescape"))


class Worker:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._socket = four_digit_socket()
        self._runner: web.AppRunner | None = None
        self.port = int(self._socket.getsockname()[1])
        self.seen: list[Seen] = []
        """Since the last `take`."""
        self.active = 0
        self.peak = 0
        """The most requests at once since the last `take`."""
        self.sleeping = 0
        self.health_status = 200
        self.health_delay_s = 0.0
        """On the node's clock."""

    async def start(self) -> None:
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{rest:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.SockSite(self._runner, self._socket).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        self._socket.close()

    def take(self) -> tuple[list[Seen], int]:
        """Return what was seen, and the peak, since the last call."""
        seen, peak = self.seen, self.peak
        self.seen, self.peak = [], 0
        return seen, peak

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/health":
            await self._clock.sleep(self.health_delay_s) if self.health_delay_s else None
            return web.Response(status=self.health_status)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            self._remember("WS", request, b"")
            return await _echo(request)
        with self._counted():
            body = await request.read()
            self._remember(request.method, request, body)
            return await self._answer(request, body)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self.active += 1
        self.peak = max(self.peak, self.active)
        try:
            yield
        finally:
            self.active -= 1

    def _remember(self, method: str, request: web.Request, body: bytes) -> None:
        headers = tuple((name.decode(), value.decode()) for name, value in request.raw_headers)
        self.seen.append(Seen(method, request.raw_path, headers, body.decode("utf-8", "replace")))

    async def _answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        said = {"X-Metadata": "m1", "X-Other": "o1"}
        if match := re.search(r"status(\d+)", request.path):
            return web.json_response({"said": int(match[1])}, status=int(match[1]), headers=said)
        if match := re.search(r"sleep(\d+)", request.path):
            self.sleeping += 1
            try:
                await self._clock.sleep(float(match[1]))
            finally:
                self.sleeping -= 1
        if "sse" in request.path:
            return await _events(request, done="nodone" not in request.path)
        if "redirect" in request.path:
            return web.Response(status=302, headers={"Location": "/landed"})
        return web.json_response({"ok": True, "len": len(body)}, headers=said)


async def _events(request: web.Request, *, done: bool) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for number in range(3):
        await response.write(b'data: {"i": %d}\n\n' % number)
    if done:
        await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


async def _echo(request: web.Request) -> web.StreamResponse:
    socket_ = web.WebSocketResponse()
    await socket_.prepare(request)
    async for message in socket_:
        await socket_.send_str(message.data)
    return socket_


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RawWorker:
    """A worker that misbehaves below HTTP."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._socket = four_digit_socket()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.port = int(self._socket.getsockname()[1])

    async def start(self) -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._open.add(task)
            try:
                with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                    await self._serve(reader, writer)
            finally:
                self._open.discard(task)
                writer.close()

        self._server = await asyncio.start_server(connected, sock=self._socket)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            await cancel(*self._open)


async def _request(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = re.search(r"(?i)content-length: *(\d+)", head)
    await reader.readexactly(int(length[1]) if length else 0)


async def stale(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer once and keep the connection; close it when the next request arrives."""
    await _request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
    await writer.drain()
    await _request(reader)


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _request(reader)
    writer.write(b"nonsense\r\n\r\n")


async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close in the middle of the body."""
    await _request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{}")


# The recordings' ports of them.
RAW_WORKERS: dict[int, Serve] = {9961: stale, 9962: garbage, 9963: early}


def shown(seen: Seen) -> dict[str, Any]:
    """As a recording's `worker_requests` has it."""
    return {
        "method": seen.method,
        "path": seen.path,
        "headers": [list(pair) for pair in seen.headers],
        "body": seen.body,
        "version": seen.version,
        "length": seen.length,
    }

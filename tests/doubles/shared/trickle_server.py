"""EDGE. The trickle server of Livepeer's node programs over HTTP; usable inside a node and by itself (`serving`).

Left out: the deployer's hooks on create and delete. Source: trickle.md 2 to 7, 12.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import unquote

from aiohttp import web

from orchd.tasks import cancel, spawn
from tests.doubles.shared.answers import method_not_allowed, not_found
from tests.doubles.shared.clock import Clock
from tests.doubles.shared.go_http import application, text_error
from tests.doubles.shared.trickle_channel import SWEEP_EVERY_S, BadSequence, Channel, Channels, Segment

SEQ, LATEST, CLOSED = "Lp-Trickle-Seq", "Lp-Trickle-Latest", "Lp-Trickle-Closed"
RESET, EXPECT_CONTENT = "Lp-Trickle-Reset", "Expect-Content"

# How often a writer that has sent its headers only is told that somebody is there.
INTERIM_EVERY_S = 10.0


@contextmanager
def _watching(segment: Segment) -> Iterator[asyncio.Event]:
    """The event is set by every piece and by the close."""
    event = asyncio.Event()
    segment.watchers.add(event.set)
    try:
        yield event
    finally:
        segment.watchers.discard(event.set)


class TrickleServer:
    """Where the programs differ, the defaults are go-livepeer's.

    Args:
        autocreate: lets callers make channels; the nodes keep it off and make them themselves (`create`).
        max_segment: bytes; a longer one is refused with 413.
        idle_sweep: channels without new data are closed.
        no_such: what a DELETE of an unknown channel is told.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        prefix: str = "/ai/trickle/",
        autocreate: bool = False,
        changefeed: bool = False,
        max_segment: int | None = None,
        idle_sweep: bool = True,
        no_such: str = "Invalid stream",
    ) -> None:
        self._clock = clock
        self._prefix = prefix
        self._autocreate = autocreate
        self._max_segment = max_segment
        self._idle_sweep = idle_sweep
        self._no_such = no_such
        self.channels = Channels(clock.now, changefeed=changefeed)
        self._sweeping: asyncio.Task[None] | None = None

    def create(self, name: str, mime_type: str) -> None:
        self.channels.create(name, mime_type)

    def close(self, name: str) -> bool:
        return self.channels.remove(name)

    def routes(self) -> list[web.RouteDef]:
        return [web.route("*", self._prefix + "{rest:.*}", self.handle)]

    async def start(self) -> None:
        if self._idle_sweep:
            self._sweeping = spawn(self._sweep(), name="trickle-sweep")

    async def stop(self) -> None:
        if self._sweeping is not None:
            await cancel(self._sweeping)

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(SWEEP_EVERY_S)
            self.channels.sweep()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path
        return await self.answer(request, path[path.index(self._prefix) + len(self._prefix) :])

    async def answer(self, request: web.Request, rest: str) -> web.StreamResponse:
        """`rest` is the path behind the prefix, as the caller escaped it."""
        match [unquote(part) for part in rest.split("/")]:
            case [name] if name:
                return self._channel(request, name)
            case [name, index] if name and index:
                return await self._segment(request, name, index)
        return not_found()

    def _channel(self, request: web.Request, name: str) -> web.Response:
        if request.method == "POST":
            if self._find(name, request.headers.get(EXPECT_CONTENT, "")) is None:
                return text_error(404, "Stream not found")
            return web.Response()
        if request.method == "DELETE":
            return web.Response() if self.channels.remove(name) else text_error(400, self._no_such)
        return method_not_allowed("POST", "DELETE")

    def _find(self, name: str, mime_type: str) -> Channel | None:
        return self.channels.create(name, mime_type) if self._autocreate else self.channels.get(name)

    async def _segment(self, request: web.Request, name: str, index: str) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD", "POST", "DELETE"):
            return method_not_allowed("GET", "HEAD", "POST", "DELETE")
        writes = request.method == "POST"
        channel = self._find(name, request.headers.get("Content-Type", "")) if writes else self.channels.get(name)
        if channel is None:
            return text_error(404, "Stream not found", {"Connection": "close"} if writes else None)
        if index == "next" and not writes and request.method != "DELETE":
            return web.Response(text=str(channel.head), headers={LATEST: str(channel.head)})
        try:
            seq = int(index)
            if writes:
                return await self._write(request, channel, seq)
            if request.method == "DELETE":
                return web.Response() if channel.close_segment(seq) else text_error(400, "Nonexistent segment")
            return await self._read(request, channel, channel.resolve_read(seq))
        except (ValueError, BadSequence):
            return text_error(400, "Invalid idx")

    async def _read(self, request: web.Request, channel: Channel, seq: int) -> web.StreamResponse:
        head = channel.head
        segment = channel.open_for_read(seq)
        if segment is None:
            return web.Response(status=470, text="Entry not found", headers={SEQ: str(seq), LATEST: str(head)})
        with _watching(segment) as changed:
            # No status line before the first byte or the close: an end can't be told later.
            while not segment.pieces and not segment.closed:
                changed.clear()
                await changed.wait()
            if not segment.pieces:
                gone = {CLOSED: "terminated"} if channel.closed else {}
                return web.Response(headers={SEQ: str(seq), LATEST: str(channel.head), **gone})
            answer = web.StreamResponse(headers={SEQ: str(seq), "Content-Type": channel.mime_type})
            if seq != head:
                answer.headers[LATEST] = str(head)
            answer.enable_chunked_encoding()
            await answer.prepare(request)
            if request.method == "HEAD":
                return answer
            sent = 0
            while True:
                changed.clear()
                while sent < len(segment.pieces):
                    await answer.write(segment.pieces[sent])
                    sent += 1
                if segment.closed:
                    return answer
                await changed.wait()

    async def _write(self, request: web.Request, channel: Channel, seq: int) -> web.Response:
        segment = channel.open_for_write(seq, reset=RESET in request.headers)
        said = {SEQ: str(segment.seq)}
        try:
            piece = await self._first_piece(request, segment)
            channel.wrote_first(segment)
            if not piece:
                segment.close()
                gone = {CLOSED: "terminated"} if channel.closed else {}
                return web.Response(headers={**said, **gone, "Connection": "close"})
            size = 0
            while piece:
                size += len(piece)
                if self._max_segment is not None and size > self._max_segment:
                    segment.close()
                    return text_error(413, "segment exceeds maximum size", {**said, "Connection": "close"})
                segment.append(piece)
                piece = await request.content.readany()
        except (OSError, web.RequestPayloadError):
            # The segment stays open: the next writer of this number goes on where this one left.
            return text_error(500, "upload broke off")
        segment.close()
        return web.Response(headers=said)

    async def _first_piece(self, request: web.Request, segment: Segment) -> bytes:
        """Return b"" if the body ends, or somebody closes the segment, before any byte."""
        if segment.closed:
            return b""
        loop = asyncio.get_running_loop()
        interim = spawn(self._say_continue(request), name="trickle-continue")
        try:
            async with asyncio.timeout(None) as open_segment:
                with _on_close(segment, lambda: open_segment.reschedule(loop.time())):
                    return await request.content.readany()
        except TimeoutError:
            return b""
        finally:
            interim.cancel()

    async def _say_continue(self, request: web.Request) -> None:
        while True:
            await self._clock.sleep(INTERIM_EVERY_S)
            if request.transport is not None:
                request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


@contextmanager
def _on_close(segment: Segment, call: Callable[[], None]) -> Iterator[None]:
    def look() -> None:
        if segment.closed:
            call()

    segment.watchers.add(look)
    try:
        yield
    finally:
        segment.watchers.discard(look)


@asynccontextmanager
async def serving(server: TrickleServer, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve on plain HTTP and yield `http://host:port`; the channels lie under the server's prefix."""
    runner = web.AppRunner(
        application(server.routes()), handler_cancellation=True, auto_decompress=False, shutdown_timeout=0.1
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        await server.start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await server.stop()
        await runner.cleanup()

"""EDGE. One connection of a caller, and one request on it, over aiohttp's low-level server.

aiohttp parses requests and keeps order on the connection. Answers are written here, so that they are what `handle`
says and nothing else.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from email.utils import formatdate
from http import HTTPStatus

import structlog
from aiohttp import StreamReader, web

from orchd.errors import Code, JobRefused
from orchd.jobs.ports import PIECE_BYTES, CallerGone
from orchd.jobs.refusal import rendered
from orchd.jobs.request import Headers, request_id
from orchd.settings import JobsSettings

log = structlog.get_logger("orchd.jobs")

MIB = 1024 * 1024
VERSIONS = ((1, 0), (1, 1))
PEER_LEFT = frozenset({7, 8})  # Linux's TCP states CLOSE (reset) and CLOSE_WAIT.
BODILESS = frozenset({204, 304})
RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, with no time: closing resets.
MALFORMED = JobRefused(Code.BAD_REQUEST, "cannot read the request: it is not well-formed HTTP/1.1")


class Connection(web.RequestHandler):
    """Args:
    server: counts connections and is told of their requests.
    """

    def __init__(self, server: web.Server, settings: JobsSettings) -> None:
        head = settings.max_header_kb * 1024
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=settings.keepalive_s,
            access_log=None,  # type: ignore[arg-type]  # aiohttp's own way to switch it off
            max_line_size=head,
            max_field_size=head,
            lingering_time=0,  # `drop_rest` does that, within our bounds.
            read_bufsize=PIECE_BYTES,
            auto_decompress=False,
        )
        self.settings = settings
        self.reading: StreamReader | None = None
        self.tunnel: StreamReader | None = None
        self._garbled = False
        self._dropped = 0

    def data_received(self, data: bytes) -> None:
        if self._garbled:  # Nothing behind a malformed request can be understood; it is dropped, within bounds.
            self._dropped += len(data)
            if self._dropped > self.settings.refused_body_mb * MIB and self.transport is not None:
                self.transport.abort()
            return
        super().data_received(data)
        # aiohttp queues what it could not parse, and leaves whoever reads the body that broke waiting for ever.
        self._garbled = bool(self._messages) and hasattr(self._messages[-1][0], "exc")
        if self._garbled and self.reading is not None and not self.reading.is_eof():
            self.reading.set_exception(web.RequestPayloadError())

    def end_if_left(self) -> None:
        """Cancel what is served here if the caller has left and we can't see it, as we read no further now."""
        transport = self.transport
        if transport is not None and not transport.is_reading():
            sock: socket.socket = transport.get_extra_info("socket")
            if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in PEER_LEFT:
                transport.abort()

    @property
    def upgrading(self) -> bool:
        """aiohttp stopped parsing behind a request that asks to switch protocols."""
        return self._upgraded

    def begin_tunnel(self) -> None:
        """From now on, what the caller sends is not HTTP."""
        self.tunnel = StreamReader(self, limit=PIECE_BYTES, loop=asyncio.get_running_loop())
        self.set_parser(_Raw(self.tunnel))  # type: ignore[arg-type]  # all that aiohttp asks of a parser

    def eof_received(self) -> bool | None:  # type: ignore[override]  # asyncio: true keeps our half open
        if self.tunnel is None:
            return None
        self.tunnel.feed_eof()
        return True

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp could not parse. It also comes here with a bug of ours, of which nothing can be said."""
        if status >= 500:
            log.error("request_crashed", exc_info=exc)
            self.force_close()
        elif request.transport is not None:
            headers, body = rendered(MALFORMED, request_id(()))
            headers = (*headers, ("Content-Length", str(len(body))), ("Connection", "close"))
            request.transport.write(_head(MALFORMED.status, "", headers) + body)
        return _Malformed(self)


def _head(status: int, reason: str, headers: Headers) -> bytes:
    if not reason and status in HTTPStatus._value2member_map_:
        reason = HTTPStatus(status).phrase
    dated = any(name.lower() == "date" for name, _ in headers)
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers)]
    if not dated and status != 101:
        lines.append(f"Date: {formatdate(usegmt=True)}")
    return "\r\n".join((*lines, "", "")).encode("latin-1")


class HttpCaller:
    """Caller of one request, after `jobs.ports`."""

    def __init__(self, request: web.BaseRequest, connection: Connection) -> None:
        self._request = request
        self._connection = connection
        self._settings = connection.settings
        self._content = connection.reading = request.content
        self.method = request.method
        self.target = request.raw_path.encode("utf-8", "surrogateescape").decode("latin-1")
        self.headers: Headers = tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in request.raw_headers)
        peer = connection.peername
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        self.length = request.content_length
        self.has_body = request.body_exists
        asked = request.headers.get("Upgrade", "").lower() if not self.has_body else ""
        self.upgrade = asked if asked == "websocket" and request.method == "GET" and connection.upgrading else ""
        self.started = False
        self.keep_alive = request.keep_alive
        self._modern = request.version >= (1, 1)
        self._waits = self._modern and self.has_body and request.headers.get("Expect", "").lower() == "100-continue"
        self._chunked = False
        self._bodiless = False

    def unreadable(self) -> JobRefused | None:
        """Return why we do not take the request, although aiohttp could parse it."""
        if self._request.version not in VERSIONS:
            return MALFORMED
        size = (
            len(self.method) + len(self.target) + 12 + sum(len(name) + len(value) + 4 for name, value in self.headers)
        )
        if size > self._settings.max_header_kb * 1024:
            longest = f"its head is longer than {self._settings.max_header_kb} KiB"
            return JobRefused(Code.BAD_REQUEST, f"cannot read the request: {longest}")
        return None

    async def read(self, limit: int = PIECE_BYTES) -> bytes:
        try:
            return await (self._connection.tunnel or self._content).read(limit)
        except web.RequestPayloadError as exc:
            self.keep_alive = False
            raise JobRefused(Code.BAD_REQUEST, "cannot read the body: its framing is broken") from exc
        except (ConnectionError, RuntimeError) as exc:  # RuntimeError: aiohttp's way to say that it is closed.
            raise CallerGone from exc

    async def proceed(self) -> None:
        if self._waits:
            self._waits = False
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def start(self, status: int, reason: str, headers: Headers) -> None:
        self._bodiless = self.method == "HEAD" or status in BODILESS
        sized = any(name.lower() == "content-length" for name, _ in headers)
        if status == 101:
            self.keep_alive = False
            self._connection.begin_tunnel()
        elif not sized and not self._bodiless:
            self._chunked = self._modern
            self.keep_alive = self.keep_alive and self._modern
            headers = (*headers, ("Transfer-Encoding", "chunked")) if self._chunked else headers
        if status != 101:
            headers = (*headers, *self._persistence())
        self.started = True
        self._send(_head(status, reason, headers))
        await self._drain()

    async def write(self, piece: bytes) -> None:
        if not self._bodiless:
            self._send(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)
            await self._drain()

    async def finish(self) -> None:
        if self._chunked:
            self._send(b"0\r\n\r\n")
        await self._drain()

    def break_off(self) -> None:
        self.keep_alive = False
        if (transport := self._request.transport) is not None:
            sock: socket.socket = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            transport.abort()

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        if not self._content.is_eof():
            # A body that we mean to read to its end does not cost the caller its connection.
            fits = self.length is not None and self.length <= self._settings.refused_body_mb * MIB
            self.keep_alive = self.keep_alive and fits and not self._waits
        self.started = True
        headers = (*headers, ("Content-Length", str(len(body))), *self._persistence())
        self._send(_head(status, "", headers) + (b"" if self.method == "HEAD" else body))
        await self._drain()

    async def drop_rest(self) -> None:
        """Read and drop what is left of the body, within bounds, so that closing does not destroy the answer."""
        if self._content.is_eof() or self._connection.tunnel is not None:
            return
        transport = self._request.transport
        if not self.keep_alive and transport is not None and transport.can_write_eof():
            transport.write_eof()
        left = self._settings.refused_body_mb * MIB
        try:
            async with asyncio.timeout(self._settings.refused_body_s):
                while left > 0 and (piece := await self.read()):
                    left -= len(piece)
        except (TimeoutError, CallerGone, JobRefused):
            self.keep_alive = False

    def _persistence(self) -> Headers:
        if not self.keep_alive:
            return (("Connection", "close"),)
        return () if self._modern else (("Connection", "keep-alive"),)

    def _send(self, data: bytes) -> None:
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise CallerGone
        transport.write(data)

    async def _drain(self) -> None:
        try:
            await self._request.writer.drain()
        except ConnectionError as exc:
            raise CallerGone from exc


class Sent(web.StreamResponse):
    """What aiohttp wants back from a handler: the answer is written already."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._keep = keep_alive

    @property
    def keep_alive(self) -> bool:
        return self._keep

    async def prepare(self, request: web.BaseRequest) -> None:
        """Written already."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Written already."""


class _Malformed(Sent):
    """Before the connection closes, the caller gets time to read why."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(keep_alive=False)
        self._connection = connection

    async def write_eof(self, data: bytes = b"") -> None:
        await _linger(self._connection.transport, self._connection.settings.refused_body_s)


async def _linger(transport: asyncio.Transport | None, seconds: float) -> None:
    """Say that nothing more comes, and wait until the caller closes (which cancels us), or so long."""
    if transport is not None and not transport.is_closing():
        if transport.can_write_eof():
            transport.write_eof()
        await asyncio.sleep(seconds)


class _Raw:
    """Stands where aiohttp expects a WebSocket parser, and passes the bytes on as they are."""

    def __init__(self, into: StreamReader) -> None:
        self._into = into

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._into.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        if not self._into.is_eof():
            self._into.feed_eof()

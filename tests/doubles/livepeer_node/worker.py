"""The recordings' worker behind the node: it answers by the path, on raw sockets, and remembers what it saw.

It sleeps on the node's clock, where the recorded one slept in real time.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import hashlib
import re
from collections.abc import Iterator

from orchd.tasks import cancel
from tests.doubles.shared.clock import Clock
from tests.doubles.shared.worker import Seen, four_digit_socket

_WS = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_EVENT_EVERY_S = 0.05


class Worker:
    """Attributes:
    seen: since the last `take`.
    peak: the most requests at once since the last `take`.
    sleeping: requests that wait for the clock.
    ended: paths whose connection the node has closed before the answer was out.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._socket = four_digit_socket()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.port = int(self._socket.getsockname()[1])
        self.seen: list[Seen] = []
        self.active = self.peak = self.sleeping = 0
        self.ended: list[str] = []
        self.health_status = 200
        self.health_delay_s = 0.0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, sock=self._socket)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await cancel(*self._open)
        self._socket.close()

    def take(self) -> tuple[list[Seen], int]:
        """Return what was seen, and the peak, since the last call."""
        seen, peak = self.seen, self.peak
        self.seen, self.peak = [], 0
        return seen, peak

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            # A task of asyncio's server that is cancelled would be reported as a failure.
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, _Close, asyncio.CancelledError):
                while True:
                    await self._one(reader, writer)
        finally:
            self._open.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(1)
        if not first.isalpha():  # TLS, as it seems
            writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            raise _Close
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("utf-8", "surrogateescape").split("\r\n")
        method, path, version = head[0].split(" ")
        headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in head[1:-2]))
        asked = {name.lower(): value for name, value in headers}
        if path.startswith("/health"):
            await self._health(writer)
            return
        with self._counted():
            if asked.get("expect") == "100-continue":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await _body(reader, asked)
            self.seen.append(Seen(method, path, headers, body.decode("utf-8", "replace"), version))
            if asked.get("upgrade") == "websocket":
                await _websocket(reader, writer, path, asked)
            writer.write(await self._answer(writer, method, path.partition("?")[0], body))
            await writer.drain()

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self.active += 1
        self.peak = max(self.peak, self.active)
        try:
            yield
        finally:
            self.active -= 1

    async def _sleep(self, seconds: float) -> None:
        self.sleeping += 1
        try:
            await self._clock.sleep(seconds)
        finally:
            self.sleeping -= 1

    async def _health(self, writer: asyncio.StreamWriter) -> None:
        if self.health_delay_s:
            await self._clock.sleep(self.health_delay_s)
        writer.write(f"HTTP/1.1 {self.health_status} Said\r\nContent-Length: 0\r\n\r\n".encode())

    async def _answer(self, writer: asyncio.StreamWriter, method: str, path: str, body: bytes) -> bytes:
        """Return the answer, or what is left of it."""
        if match := re.search(r"sleep([\d.]+)", path):
            await self._sleep(float(match[1]))
        if match := re.search(r"early([\d.]+)", path):
            writer.write(b"HTTP/1.1 103 Early Hints\r\nX-Hint: 1\r\n\r\n")
            await self._sleep(float(match[1]))
            return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
        if "sse" in path or "endless" in path:
            await self._events(writer, path, None if "endless" in path else 3)
            return b"0\r\n\r\n"
        if "break" in path:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n0123456789")
            raise _Close
        if "garbage" in path:
            writer.write(b"nonsense\r\n\r\n")
            raise _Close
        if "gzip" in path:
            packed = gzip.compress(b"packed")
            head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
            return head + packed
        if "redirect" in path:
            return b"HTTP/1.1 302 Found\r\nLocation: /landed\r\nContent-Length: 0\r\n\r\n"
        if "trailer" in path:
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            return head + b"2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"
        status = int(match[1]) if (match := re.search(r"status(\d+)", path)) else 200
        said = f'{{"said": {status}}}' if match else f'{{"ok": true, "len": {len(body)}}}'
        return _json(status, said, with_body=method != "HEAD" and status not in (204, 304))

    async def _events(self, writer: asyncio.StreamWriter, path: str, most: int | None) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        number = 0
        while most is None or number < most:
            _chunk(writer, b'data: {"i": %d}\n\n' % number)
            number += 1
            await self._sleep(_EVENT_EVERY_S)
            if writer.is_closing():
                self.ended.append(path)
                raise _Close
        _chunk(writer, b"data: [DONE]\n\n")


class _Close(Exception):
    """The connection ends here."""


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


def _json(status: int, said: str, *, with_body: bool) -> bytes:
    retry = "Retry-After: 7\r\n" if status in (429, 503) else ""
    length = "" if status in (204, 304) else f"Content-Length: {len(said)}\r\n"
    head = f"HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\n{length}X-Metadata: m1\r\nX-Other: o1\r\n"
    head += f"{retry}\r\n"
    return (head + (said if with_body else "")).encode()


async def _body(reader: asyncio.StreamReader, asked: dict[str, str]) -> bytes:
    if "chunked" not in asked.get("transfer-encoding", ""):
        return await reader.readexactly(int(asked.get("content-length", "0")))
    pieces = []
    while size := int(await reader.readline(), 16):
        pieces.append(await reader.readexactly(size))
        await reader.readline()
    while (await reader.readline()).strip():
        pass
    return b"".join(pieces)


async def _websocket(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, asked: dict[str, str]
) -> None:
    """Echo text frames until the other side goes. Raises _Close."""
    if "refuse" in path:
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await writer.drain()
        raise _Close
    accept = base64.b64encode(hashlib.sha1((asked["sec-websocket-key"] + _WS).encode()).digest()).decode()
    head = ("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade")
    writer.write("\r\n".join((*head, f"Sec-WebSocket-Accept: {accept}", "", "")).encode())
    while True:
        length = (await reader.readexactly(2))[1] & 0x7F
        mask, masked = await reader.readexactly(4), await reader.readexactly(length)
        text = b"echo:" + bytes(byte ^ mask[place % 4] for place, byte in enumerate(masked))
        writer.write(bytes([0x81, len(text)]) + text)

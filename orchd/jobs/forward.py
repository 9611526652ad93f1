"""EDGE. HTTP/1.1 to runners: one connection per job, so no job meets a connection that its runner is just closing.

Written on asyncio's own streams: they pass heads and bodies byte for byte, which aiohttp's client does not (it drops
header bytes that are not UTF-8 and an empty query, and asks idempotent requests twice).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

from orchd.domain.ids import Address
from orchd.jobs.answer import Body, read_answer
from orchd.jobs.ports import PIECE_BYTES, Answer, RunnerBroke, RunnerUnreachable
from orchd.jobs.request import Headers

BUFFER_BYTES = 2 * PIECE_BYTES
LEFT_OVER_PIECES = 16  # An early answer is short; a long one is lost with its connection.
DEFAULT_PORTS = {"http": 80, "https": 443}


class HttpRunners:
    """RunnerClient over TCP, with TLS for `https`."""

    def __init__(self) -> None:
        self._tls: ssl.SSLContext | None = None

    async def connect(self, address: Address) -> HttpExchange:
        """Raises:
        RunnerUnreachable.
        """
        if address.scheme == "https" and self._tls is None:
            self._tls = ssl.create_default_context()
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=BUFFER_BYTES, loop=loop)
        try:
            transport, protocol = await loop.create_connection(
                lambda: _Connection(reader, loop),
                address.host,
                address.port,
                ssl=self._tls if address.scheme == "https" else None,
            )
        except (OSError, UnicodeError) as exc:
            raise RunnerUnreachable(str(exc) or type(exc).__name__) from exc
        return HttpExchange(address, reader, asyncio.StreamWriter(transport, protocol, reader, loop), protocol)


class _Connection(asyncio.StreamReaderProtocol):
    """Keeps the answer when the connection is lost: a runner may answer, and reset without reading the body."""

    lost: Exception | None = None

    def __init__(self, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reader, loop=loop)
        self._reader = reader
        self._wire: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        self._wire = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc
        if exc is not None and self._wire is not None and self._wire.get_extra_info("sslcontext") is None:
            self._read_left_over(self._wire.get_extra_info("socket").dup())
        super().connection_lost(None)

    def _read_left_over(self, sock: socket.socket) -> None:
        """A failed write closes before what has arrived is read; the kernel still has it."""
        with sock, contextlib.suppress(OSError):
            sock.setblocking(False)
            for _ in range(LEFT_OVER_PIECES):
                if data := sock.recv(PIECE_BYTES):
                    self._reader.feed_data(data)


class HttpExchange:
    def __init__(
        self, address: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: _Connection
    ) -> None:
        self._address = address
        self._reader = reader
        self._writer = writer
        self._connection = connection
        self._method = ""
        self._chunked = False
        self._body: Body | None = None
        self._switched = False

    async def request(self, method: str, target: str, headers: Headers, *, has_body: bool, length: int | None) -> None:
        self._method = method
        self._chunked = has_body and length is None
        framing = [("Transfer-Encoding", "chunked")] if self._chunked else []
        if length is not None:
            framing = [("Content-Length", str(length))]
        elif not has_body and method in ("POST", "PUT", "PATCH"):
            framing = [("Content-Length", "0")]
        if not any(name == "Connection" for name, _ in headers):
            framing.append(("Connection", "close"))
        lines = [f"{method} {self._address.base_path}{target} HTTP/1.1", f"Host: {_host(self._address)}"]
        lines += [f"{name}: {value}" for name, value in (*headers, *framing)]
        await self._send("\r\n".join((*lines, "", "")).encode("latin-1"))

    async def write(self, piece: bytes) -> None:
        await self._send(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)

    async def finish(self) -> None:
        if self._switched:
            try:
                self._writer.write_eof()
            except (OSError, NotImplementedError, RuntimeError) as exc:  # TLS has no half of a connection to close.
                raise RunnerBroke("can't be told that the caller has ended") from exc
        elif self._chunked:
            await self._send(b"0\r\n\r\n")

    async def _send(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as exc:
            raise RunnerBroke("closed the connection before it had the whole request") from exc

    async def answer(self) -> Answer:
        answer = await read_answer(self._reader)
        self._body = Body(self._reader, self._method, answer)
        self._switched = answer.status == 101
        self._chunked = self._chunked and not self._switched
        return answer

    async def read(self) -> bytes:
        assert self._body is not None, "answer() comes first"
        piece = await self._body.read()
        if not piece and self._connection.lost is not None:
            raise RunnerBroke("lost the connection in the middle of its answer")
        return piece

    def close(self) -> None:
        self._writer.transport.abort()


def _host(address: Address) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return host if address.port == DEFAULT_PORTS[address.scheme] else f"{host}:{address.port}"

"""EDGE. How the node calls out: dials what it may, speaks HTTP/1.1 as Go's transport, keeps idle connections.

Bodies stream both ways. Source: livepeer-node.md 2.2, 6, 9.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from tests.doubles.livepeer_node.grants import Grants
from tests.doubles.shared.clock import Clock, Timer

IDLE_S = 90.0
IDLE_PER_HOST = 16
DIAL_S = 10.0
_LINE_LIMIT = 1 << 20
_PIECE = 1 << 16

Headers = list[tuple[str, str]]
_Key = tuple[Grants, bool, str, int]


class Unreachable(Exception):
    """There is no answer: not granted, not there, not HTTP."""


class Broken(Exception):
    """The body of an answer ended early."""


@dataclass(frozen=True)
class Target:
    """Attributes:
    authority: as in the Host header: user info is dropped.
    uri: path and query.
    """

    secure: bool
    host: str
    port: int
    authority: str
    uri: str

    @classmethod
    def of(cls, url: str, uri: str | None = None) -> Target:
        """`uri` takes the place of the URL's own path and query."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        return cls(
            secure, parts.hostname or "", parts.port or (443 if secure else 80), authority(parts), uri or _uri(parts)
        )


def authority(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _uri(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


class Connection:
    def __init__(self, key: _Key, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.key = key
        self.reader = reader
        self.writer = writer
        self.expiry: Timer | None = None

    @property
    def stale(self) -> bool:
        return self.reader.at_eof() or self.reader.exception() is not None or self.writer.is_closing()

    def close(self) -> None:
        if self.expiry is not None:
            self.expiry.cancel()
        self.writer.close()


@dataclass
class Answer:
    """An answer whose head has come. `trailers` are there once the body is read."""

    version: str
    status: int
    headers: Headers
    connection: Connection
    body_expected: bool
    trailers: Headers

    def header(self, name: str) -> str:
        """Return all values of a header, joined."""
        return ", ".join(value for key, value in self.headers if key.lower() == name.lower())

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives. Raises Broken."""
        try:
            async for piece in self._pieces():
                yield piece
        except (asyncio.IncompleteReadError, ConnectionError, ValueError) as error:
            raise Broken from error

    @property
    def reusable(self) -> bool:
        bounded = not self.body_expected or self.header("Transfer-Encoding") or self.header("Content-Length")
        return bool(bounded) and self.header("Connection").lower() != "close" and self.version == "HTTP/1.1"

    async def _pieces(self) -> AsyncIterator[bytes]:
        reader = self.connection.reader
        if not self.body_expected:
            return
        if "chunked" in self.header("Transfer-Encoding").lower():
            while size := int((await reader.readuntil(b"\n")).partition(b";")[0], 16):
                yield await reader.readexactly(size)
                await reader.readuntil(b"\n")
            self.trailers += await _fields(reader)
            return
        length = self.header("Content-Length")
        left = int(length) if length else None
        while left is None or left:
            piece = await reader.read(_PIECE if left is None else min(left, _PIECE))
            if not piece and left is not None:
                raise asyncio.IncompleteReadError(b"", left)
            if not piece:
                return
            left = None if left is None else left - len(piece)
            yield piece


class Transport:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._idle: defaultdict[_Key, list[Connection]] = defaultdict(list)

    def close(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def connect(self, target: Target, grants: Grants) -> Connection:
        """Return an idle connection or a new one. Raises Unreachable."""
        key = (grants, target.secure, target.host, target.port)
        while self._idle[key]:
            connection = self._idle[key].pop()
            if connection.expiry is not None:
                connection.expiry.cancel()
            if not connection.stale:
                return connection
            connection.close()
        try:
            addresses = await _resolved(target.host, target.port)
            if not grants.allow(target.host, target.port, addresses):
                raise Unreachable
            tls = ssl.create_default_context() if target.secure else None
            async with self._clock.timeout(DIAL_S):
                opened = await asyncio.open_connection(
                    addresses[0], target.port, limit=_LINE_LIMIT, ssl=tls, server_hostname=target.host if tls else None
                )
        except (OSError, TimeoutError, UnicodeError) as error:
            raise Unreachable from error
        return Connection(key, *opened)

    def keep(self, connection: Connection) -> None:
        """Give back a connection whose answer was read to its end."""
        idle = self._idle[connection.key]
        if len(idle) >= IDLE_PER_HOST or connection.stale:
            connection.close()
            return
        idle.append(connection)

        def expire() -> None:
            with contextlib.suppress(ValueError):
                idle.remove(connection)
            connection.close()

        connection.expiry = self._clock.call_later(IDLE_S, expire)


def request_head(method: str, target: Target, headers: Headers) -> bytes:
    lines = [f"{method} {target.uri} HTTP/1.1", f"Host: {target.authority}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


async def read_answer(connection: Connection, method: str, interim: Callable[[int, Headers], None]) -> Answer:
    """Return the answer once its head is there; `interim` is told of every 1xx before it. Raises Unreachable."""
    try:
        while True:
            line = (await connection.reader.readuntil(b"\n")).decode("latin-1").rstrip("\r\n")
            version, _, rest = line.partition(" ")
            code = rest.partition(" ")[0]
            if not version.startswith("HTTP/1.") or not code.isdigit():
                raise Unreachable
            headers = await _fields(connection.reader)
            status = int(code)
            if status >= 200 or status == 101:
                expected = method != "HEAD" and status not in (101, 204, 304)
                return Answer(version, status, headers, connection, expected, [])
            interim(status, headers)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError) as error:
        raise Unreachable from error


async def _fields(reader: asyncio.StreamReader) -> Headers:
    found: Headers = []
    while line := (await reader.readuntil(b"\n")).strip():
        name, _, value = line.decode("utf-8", "surrogateescape").partition(":")
        found.append((name, value.strip()))
    return found


async def _resolved(host: str, port: int) -> list[str]:
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(host))]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]

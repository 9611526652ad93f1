"""The HTTP client that go-livepeer calls others with: Go's, with a pool of idle connections of 60 s.

A POST is never sent twice: a reused connection that the worker closes just then fails with `EOF`.
Source: byoc.md 5.3, 5.6; byoc-connections.json.
"""

from __future__ import annotations

import asyncio
import errno
import gzip
import os
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping

from multidict import CIMultiDict

from tests.doubles.shared import go_url
from tests.doubles.shared.clock import Clock, Timer
from tests.doubles.shared.go_url import Target

IDLE_S = 60.0
TLS_DIAL_S = 2.0
MAX_REDIRECTS = 10
# A line of a body of this length or more ends what is read by lines (bufio.Scanner).
LINE_LIMIT = 64 * 1024
_HEAD_LINE_LIMIT = 1 << 20


class WorkerFailed(Exception):
    """No answer came from the worker; the text is Go's."""


class WorkerLate(WorkerFailed):
    """No headers within the time limit."""


class BodyBroken(Exception):
    """The answer's body broke off; the text is Go's."""


class _Connection:
    def __init__(self, key: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.key = key
        self.reader = reader
        self.writer = writer
        self.expiry: Timer | None = None

    def stale(self) -> bool:
        return self.reader.at_eof() or self.reader.exception() is not None or self.writer.is_closing()

    @property
    def unsent(self) -> bool:
        """Whether the worker hasn't taken the whole request; such a connection is of no further use."""
        return self.writer.transport.get_write_buffer_size() > 0

    def close(self) -> None:
        if self.expiry is not None:
            self.expiry.cancel()
        if self.unsent:
            self.writer.transport.abort()
        self.writer.close()


class Answer:
    """A worker's answer whose head has come; the body is read as it arrives."""

    def __init__(self, client: GoClient, connection: _Connection, status: int, headers: CIMultiDict[str]) -> None:
        self.status = status
        self.headers = headers
        self._client = client
        self._connection = connection
        self._chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
        length = headers.get("Content-Length")
        empty = status in (204, 304)
        self._left = 0 if empty else int(length) if length is not None and not self._chunked else None
        self._ended = False
        self._gzip = headers.get("Content-Encoding", "").lower() == "gzip"

    async def read(self) -> bytes:
        """Return the whole body, gzip undone. Raises BodyBroken."""
        pieces = []
        while piece := await self.read_some():
            pieces.append(piece)
        body = b"".join(pieces)
        return gzip.decompress(body) if self._gzip and body else body

    async def read_some(self) -> bytes:
        """Return the next bytes of the body; none at its end. Raises BodyBroken."""
        if self._ended:
            return b""
        try:
            piece = await self._next()
        except (asyncio.IncompleteReadError, ConnectionError, ValueError) as error:
            self.close()
            raise BodyBroken("unexpected EOF") from error
        if not piece:
            self._end()
        return piece

    async def _next(self) -> bytes:
        reader = self._connection.reader
        if self._chunked:
            size = int((await reader.readuntil(b"\n")).partition(b";")[0], 16)
            data = await reader.readexactly(size)
            if size:
                await reader.readuntil(b"\n")
            else:
                while (await reader.readuntil(b"\n")).strip():
                    pass
            return data
        if self._left == 0:
            return b""
        piece = await reader.read(65536 if self._left is None else min(self._left, 65536))
        if self._left is not None:
            if not piece:
                raise asyncio.IncompleteReadError(b"", self._left)
            self._left -= len(piece)
        return piece

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield the lines without their ends; one that reached the limit as soon as it has, and then no more."""
        held = b""
        while True:
            try:
                piece = await self.read_some()
            except BodyBroken:
                piece = b""
            held += piece
            *lines, held = held.split(b"\n")
            for line in lines:
                yield line.removesuffix(b"\r")
            if len(held) >= LINE_LIMIT:
                yield held
            if not piece:
                if held:
                    yield held.removesuffix(b"\r")
                return

    def _end(self) -> None:
        self._ended = True
        bounded = self._chunked or self._left is not None
        reusable = bounded and not self._connection.unsent
        if reusable and self.headers.get("Connection", "").lower() != "close":
            self._client.keep(self._connection)
        else:
            self._connection.close()

    def close(self) -> None:
        """Give the answer up; its connection is of no more use."""
        if not self._ended:
            self._ended = True
            self._connection.close()


class GoClient:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._idle: defaultdict[str, list[_Connection]] = defaultdict(list)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE

    def close(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    def keep(self, connection: _Connection) -> None:
        idle = self._idle[connection.key]
        idle.append(connection)

        def expire() -> None:
            idle.remove(connection)
            connection.close()

        connection.expiry = self._clock.call_later(IDLE_S, expire)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> Answer:
        """POST and return the answer once its head is there, redirects followed.

        Raises:
            WorkerLate: not within `timeout_s` seconds.
            WorkerFailed: anything else that kept an answer from coming.
        """
        return await self._call("POST", url, headers, body, timeout_s)

    async def get(self, url: str, headers: Mapping[str, str], timeout_s: float) -> Answer:
        """As `post`, without a body."""
        return await self._call("GET", url, headers, None, timeout_s)

    async def _call(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout_s: float
    ) -> Answer:
        try:
            async with self._clock.timeout(timeout_s):
                return await self._follow(method, url, dict(headers), body)
        except TimeoutError as error:
            raise WorkerLate(f'{method.capitalize()} "{url}": context canceled') from error

    async def _follow(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> Answer:
        first_method, first = method, url
        for _ in range(MAX_REDIRECTS):
            try:
                target = go_url.parse(url)
                answer = await self._exchange(method, target, headers, body)
            except (go_url.BadUrl, WorkerFailed) as error:
                raise WorkerFailed(f'{method.capitalize()} "{url}": {error}') from error
            location = answer.headers.get("Location")
            if answer.status not in (301, 302, 303, 307, 308) or not location:
                return answer
            await answer.read()
            if answer.status < 307:
                method, body = "GET", None
                headers = {name: value for name, value in headers.items() if not name.startswith("Content-")}
            headers["Referer"] = url
            url = location if "://" in location else f"{target.scheme}://{target.authority}{location}"
        raise WorkerFailed(f'{first_method.capitalize()} "{first}": stopped after {MAX_REDIRECTS} redirects')

    async def _exchange(self, method: str, target: Target, headers: Mapping[str, str], body: bytes | None) -> Answer:
        connection = await self._connection(target)
        try:
            # Not waited for: an answer that comes before the whole body is gone counts.
            connection.writer.write(_head(method, target, headers, body) + (body or b""))
            return await self._answer(connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, ConnectionError):
                peer = f"{target.host}:{target.port}"
                raise WorkerFailed(f"read tcp {peer}: read: connection reset by peer") from error
            raise

    async def _connection(self, target: Target) -> _Connection:
        key = f"{target.scheme}://{target.host}:{target.port}"
        while self._idle[key]:
            connection = self._idle[key].pop()
            if connection.expiry is not None:
                connection.expiry.cancel()
            if not connection.stale():
                return connection
            connection.close()
        peer = f"{target.host}:{target.port}"
        try:
            return _Connection(key, *await self._dial(target))
        except TimeoutError as error:
            raise WorkerFailed(f"dial tcp {peer}: context deadline exceeded") from error
        except ssl.SSLError as error:
            raise WorkerFailed(f"tls: {error.reason}") from error
        except OSError as error:
            raise WorkerFailed(f"dial tcp {peer}: connect: {_why(error)}") from error

    async def _dial(self, target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if target.scheme == "http":
            return await asyncio.open_connection(target.host, target.port, limit=_HEAD_LINE_LIMIT)
        async with self._clock.timeout(TLS_DIAL_S):
            return await asyncio.open_connection(target.host, target.port, limit=_HEAD_LINE_LIMIT, ssl=self._tls)

    async def _answer(self, connection: _Connection) -> Answer:
        while True:
            try:
                line = await connection.reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as error:
                if not error.partial:
                    raise WorkerFailed("EOF") from error
                line = error.partial
            words = line.decode("latin-1").rstrip("\r\n").split(" ", 2)
            if not words[0].startswith("HTTP/") or len(words) < 2 or not words[1].isdigit():
                what = f'malformed HTTP response "{line.decode("latin-1").rstrip()}"'
                raise WorkerFailed(f"net/http: HTTP/1.x transport connection broken: {what}")
            headers = await _headers(connection.reader)
            if int(words[1]) >= 200:
                return Answer(self, connection, int(words[1]), headers)


async def _headers(reader: asyncio.StreamReader) -> CIMultiDict[str]:
    headers: CIMultiDict[str] = CIMultiDict()
    while True:
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            raise WorkerFailed("unexpected EOF") from error
        if not line.strip():
            return headers
        name, _, value = line.decode("latin-1").partition(":")
        headers.add(name, value.strip())


def _head(method: str, target: Target, headers: Mapping[str, str], body: bytes | None) -> bytes:
    lines = [f"{method} {target.request_uri} HTTP/1.1", f"Host: {target.authority}", "User-Agent: Go-http-client/1.1"]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name}: {headers[name]}" for name in sorted(headers)]
    lines += ["Accept-Encoding: gzip", "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


def _why(error: OSError) -> str:
    if error.errno is None or error.errno < 0:
        return str(error)
    return {errno.ECONNREFUSED: "connection refused"}.get(error.errno, os.strerror(error.errno).lower())

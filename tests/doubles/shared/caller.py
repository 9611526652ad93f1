"""One HTTP/1.1 request over a connection of its own, byte for byte as the recordings' caller (Python's http.client)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import urlsplit

from tests.doubles.shared.cut import cut

# Real seconds without a byte: far beyond what any step takes.
STALLED_S = 30.0


@dataclass
class Answer:
    """What came back. `status` 0 = the connection ended without an answer."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    broken_off: bool = False
    """The body ended early."""

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        return found[0] if found else None

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


@cache
def unverified() -> ssl.SSLContext:
    """For certificates that sign themselves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Exchange:
    """A request under way. `received` counts the bytes of a chunked body so far."""

    def __init__(self, base_url: str, host: str) -> None:
        """`host` is what the Host header says."""
        self._url = urlsplit(base_url)
        self._host = host
        self._writer: asyncio.StreamWriter | None = None
        self.received = 0

    async def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send and read the answer to its end."""
        tls = unverified() if self._url.scheme == "https" else None
        reader, writer = await asyncio.open_connection(self._url.hostname, self._url.port, ssl=tls, limit=1 << 24)
        self._writer = writer
        try:
            writer.write(_head(method, target, self._host, headers, body) + body)
            await writer.drain()
            return await self._read(reader, method)
        finally:
            writer.close()

    def hang_up(self) -> None:
        if self._writer is not None:
            cut(self._writer.transport)

    async def _read(self, reader: asyncio.StreamReader, method: str) -> Answer:
        try:
            async with asyncio.timeout(STALLED_S):
                head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return Answer()
        lines = head.decode("latin-1").split("\r\n")[:-2]
        pairs = [line.partition(":")[::2] for line in lines[1:]]
        answer = Answer(int(lines[0].split(" ")[1]), [(name, value.strip()) for name, value in pairs])
        try:
            await self._body(reader, answer, method)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            answer.body += error.partial if isinstance(error, asyncio.IncompleteReadError) else b""
            answer.broken_off = True
        return answer

    async def _body(self, reader: asyncio.StreamReader, answer: Answer, method: str) -> None:
        if method == "HEAD" or answer.status in (204, 304):
            return
        if answer.header("Transfer-Encoding") != "chunked":
            length = answer.header("Content-Length")
            answer.body = await reader.read() if length is None else await reader.readexactly(int(length))
            return
        while size := int(await reader.readuntil(b"\n"), 16):
            answer.body += await reader.readexactly(size)
            self.received += size
            await reader.readuntil(b"\n")


def _head(method: str, target: str, host: str, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Accept-Encoding: identity"]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


async def call(
    base_url: str, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes | str = b""
) -> Answer:
    """Send one request to the node at `base_url` and return its answer."""
    raw = body.encode() if isinstance(body, str) else body
    return await Exchange(base_url, urlsplit(base_url).netloc).send(method, target, headers or {}, raw)

"""EDGE. A trickle publisher and subscriber for tests, as the gateway's are. Source: trickle.md 9, 13.

The publisher speaks on raw sockets: aiohttp's client holds a request's head back until the first piece of its body.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urlsplit

import aiohttp
from multidict import CIMultiDict

NEXT, CURRENT = -1, -2
# Longer than any wait of the server; a segment that takes longer is asked for again.
_READ_LIMIT_S = 40.0


def trusting() -> ssl.SSLContext:
    """Trickle clients of containers never verify the node's certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True)
class Answer:
    status: int
    headers: CIMultiDict[str]
    interims: int = 0
    """How many 1xx answers came before."""


class Upload:
    """One POST whose head is on the wire and whose body is open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, url: str, mime_type: str = "video/mp2t", headers: Mapping[str, str] | None = None) -> Upload:
        parts = urlsplit(url)
        tls = trusting() if parts.scheme == "https" else None
        port = parts.port or (443 if tls else 80)
        reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls)
        said = {"Host": parts.netloc, "Content-Type": mime_type, "Transfer-Encoding": "chunked", **(headers or {})}
        lines = [f"POST {parts.path} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items()), "", ""]
        writer.write("\r\n".join(lines).encode())
        await writer.drain()
        return cls(reader, writer)

    async def write(self, piece: bytes) -> None:
        self._writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await self._writer.drain()

    async def finish(self) -> Answer:
        """End the body and return the answer."""
        self._writer.write(b"0\r\n\r\n")
        return await self.answer()

    async def answer(self) -> Answer:
        """Return the answer, which may come while the body is open; the connection is closed then."""
        interims = 0
        try:
            while True:
                status = int((await self._reader.readline()).split()[1])
                headers: CIMultiDict[str] = CIMultiDict()
                while line := (await self._reader.readline()).strip():
                    name, _, value = line.decode().partition(":")
                    headers.add(name, value.strip())
                if status >= 200:
                    return Answer(status, headers, interims)
                interims += 1
        finally:
            self._writer.close()

    def abort(self) -> None:
        """Vanish in the middle of the body."""
        self._writer.transport.abort()


class Publisher:
    """Publishes 0, 1, 2 ...; the next number's request is always waiting at the server already.

    Leaving it deletes the channel, as the gateway does at the end of its input.
    """

    def __init__(self, url: str, mime_type: str = "video/mp2t", *, first: int = 0) -> None:
        self.url = url.rstrip("/")
        self.next_seq = first
        self._mime_type = mime_type
        self._waiting: Upload | None = None

    async def __aenter__(self) -> Publisher:
        self._waiting = await self._open(self.next_seq)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with aiohttp.ClientSession() as session:
            try:
                async with session.delete(self.url, ssl=trusting()):
                    pass
            except aiohttp.ClientConnectionError:
                pass  # the server is gone, and with it the channel
        if self._waiting is not None:
            self._waiting.abort()

    async def publish(self, *pieces: bytes) -> Answer:
        """Write one segment."""
        return await self.stream(_pieces(pieces))

    async def stream(self, pieces: AsyncIterable[bytes]) -> Answer:
        """Write one segment as its pieces come."""
        assert self._waiting is not None
        upload, self.next_seq = self._waiting, self.next_seq + 1
        self._waiting = await self._open(self.next_seq)
        async for piece in pieces:
            await upload.write(piece)
        return await upload.finish()

    async def _open(self, seq: int) -> Upload:
        return await Upload.open(f"{self.url}/{seq}", self._mime_type)


async def _pieces(pieces: tuple[bytes, ...]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def subscribe(url: str, start: int = CURRENT) -> AsyncGenerator[tuple[int, bytes], None]:
    """Yield the number and bytes of every segment that has some, until the channel ends.

    What was missed is skipped, as by every trickle client.

    Raises:
        RuntimeError: an answer that the protocol doesn't know.
    """
    seq = start
    timeout = aiohttp.ClientTimeout(total=_READ_LIMIT_S)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(ssl=trusting())) as session:
        while True:
            try:
                async with session.get(f"{url.rstrip('/')}/{seq}") as answer:
                    data = await answer.read()
            except TimeoutError:
                continue
            if answer.status == 404 or "Lp-Trickle-Closed" in answer.headers:
                return
            if answer.status == 470:
                seq = int(answer.headers["Lp-Trickle-Latest"])
                continue
            if answer.status != 200:
                raise RuntimeError(f"cannot read {url}/{seq}: the server answered {answer.status} {data[:200]!r}")
            seq = int(answer.headers["Lp-Trickle-Seq"])
            if data:
                yield seq, data
            seq += 1

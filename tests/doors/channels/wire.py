"""A daemon in this process that carries channels, and requests to it over real sockets, byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from orchd.channels.bounds import Bounds
from orchd.channels.store import ChannelStore
from orchd.doors.channels.door import ChannelsDoor
from tests.advertise.rig import BOUND_S, until
from tests.public.rig import PublicDaemon, daemon

TYPE = "video/mp2t"


class Ask:
    """One request on a connection of its own, and what comes back.

    Attributes:
        status, headers: of the answer, once `answer` has been awaited; names in lower case.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}

    async def say(self, data: bytes) -> Self:
        """Send a piece of a body, as a chunk; empty = its end."""
        self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self._writer.drain()
        return self

    async def answer(self) -> Self:
        """Wait for the head of the answer."""
        async with asyncio.timeout(BOUND_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return self

    async def read(self, size: int) -> bytes:
        """Return so many bytes of the body."""
        got = b""
        while len(got) < size:
            got += await self.piece()
        return got

    async def piece(self) -> bytes:
        """Return the next chunk; empty = the end."""
        async with asyncio.timeout(BOUND_S):
            size = int(await self._reader.readline(), 16)
            return (await self._reader.readexactly(size + 2))[:-2]

    async def body(self) -> bytes:
        """Return the rest of the body."""
        if "content-length" in self.headers:
            async with asyncio.timeout(BOUND_S):
                return await self._reader.readexactly(int(self.headers["content-length"]))
        got = b""
        while piece := await self.piece():
            got += piece
        return got

    async def ended(self) -> bytes:
        """Return what comes until the server has closed the connection."""
        async with asyncio.timeout(BOUND_S):
            return await self._reader.read()

    @property
    def told(self) -> dict[str, str]:
        """The headers that are trickle's."""
        return {name[11:]: value for name, value in self.headers.items() if name.startswith("lp-trickle-")}

    def leave(self) -> None:
        self._writer.transport.abort()


class Wire:
    """Attributes:
    store: the channels; `a` is there.
    """

    def __init__(self, daemon: PublicDaemon, store: ChannelStore, *, tls: bool) -> None:
        self.daemon = daemon
        self.store = store
        self._tls = tls
        self._asked: list[Ask] = []

    async def open(self, method: str, path: str, *headers: str, version: str = "1.1") -> Ask:
        """Send the head of a request."""
        ssl = self.daemon.client_context() if self._tls else None
        name = "localhost" if self._tls else None
        reader, writer = await asyncio.open_connection("127.0.0.1", self.daemon.port, ssl=ssl, server_hostname=name)
        lines = "".join(f"{line}\r\n" for line in headers)
        writer.write(f"{method} /ai/trickle/{path} HTTP/{version}\r\nHost: x\r\n{lines}\r\n".encode())
        await writer.drain()
        asked = Ask(reader, writer)
        self._asked.append(asked)
        return asked

    async def get(self, word: object, name: str = "a") -> Ask:
        """Read a segment that has begun, or is not there."""
        return await (await self.open("GET", f"{name}/{word}")).answer()

    async def wait(self, word: object, method: str = "GET") -> Ask:
        """Begin to read what is not there yet; return when the server holds the request."""
        before = self.store.channels.requests
        asked = await self.open(method, f"a/{word}")
        await until("the reader waits", lambda: self.store.channels.requests > before)
        return asked

    async def preconnect(self, word: object, *headers: str) -> Ask:
        """Send the head of an upload; return when the server holds it."""
        before = self.store.channels.requests
        asked = await self.open("POST", f"a/{word}", "Transfer-Encoding: chunked", *headers)
        await until("the writer is there", lambda: self.store.channels.requests > before)
        return asked

    async def post(self, word: object, data: bytes, name: str = "a", *headers: str) -> Ask:
        """Publish a whole segment, of known length."""
        asked = await self.open("POST", f"{name}/{word}", f"Content-Length: {len(data)}", *headers)
        asked._writer.write(data)
        return await asked.answer()

    async def head(self) -> int:
        return int(await (await self.get("next")).body())

    async def delete(self, path: str) -> int:
        return (await (await self.open("DELETE", path)).answer()).status

    def leave(self) -> None:
        for asked in self._asked:
            asked.leave()


@asynccontextmanager
async def wired(folder: Path, bounds: Bounds | None = None, *, tls: bool = False, **public: Any) -> AsyncIterator[Wire]:
    """Run a daemon whose public listener carries channels."""
    store = ChannelStore(bounds or Bounds(), asyncio.get_running_loop().time)
    async with daemon(folder, lambda: ChannelsDoor(store), tls=tls, **public) as running:
        store.create("a", TYPE, "session_a")
        wire = Wire(running, store, tls=tls)
        try:
            yield wire
        finally:
            wire.leave()

"""EDGE. TLS in front of a node that has none: as a reverse proxy does it, but that no byte of HTTP is changed."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.doubles.shared import certificate
from tests.doubles.shared.cut import cut

_PIECE_BYTES = 1 << 16


class TlsFront:
    """`async with TlsFront("127.0.0.1:8935") as front` listens at `front.url`. `certificate` signs itself.

    It goes on listening while the node behind it is away: then connections are closed without a word.
    """

    def __init__(self, behind: str) -> None:
        host, _, port = behind.rpartition(":")
        self._behind = host, int(port)
        self._folder = tempfile.TemporaryDirectory()
        self.certificate = Path(self._folder.name) / "cert.pem"
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        certificate.write(self.certificate.parent, "127.0.0.1")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.certificate.with_name("key.pem"))
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._folder.cleanup()
        self._server.close()
        for writer in self._connections:
            cut(writer.transport)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_node = await asyncio.open_connection(*self._behind)
        except OSError:
            cut(writer.transport)
            return
        both = {writer, to_node[1]}
        self._connections |= both
        try:
            async with asyncio.TaskGroup() as directions:
                directions.create_task(_pass_on(reader, to_node[1]))
                directions.create_task(_pass_on(to_node[0], writer))
        finally:
            self._connections -= both


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the sender ends; then the other side's connection ends too, since TLS has no half-open one."""
    try:
        while piece := await reader.read(_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()

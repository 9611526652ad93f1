"""EDGE. One port of a node. It keeps its number while it is closed and opened again."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl

from aiohttp import web

from tests.doubles.shared.alpn import AlpnSwitch, Connected
from tests.doubles.shared.cut import cut

# Beyond Go's limit of 1 MiB for the headers of a request; ticket headers are long.
_HEADER_BYTES = 1 << 22
_HEADERS = 1000
# Source: byoc.md 1.
_KEEP_ALIVE_S = 600
# Handlers are cut at once; 0 would mean "for ever".
_SHUTDOWN_S = 0.1


class Listener:
    def __init__(self, address: str, *, linger_s: float = 10.0, keep_alive_s: float = _KEEP_ALIVE_S) -> None:
        """`address` is host:port; port 0 = a free one, chosen at the first `bind`.

        `linger_s` is how many real seconds a body that nobody read is read after the answer,
        `keep_alive_s` how many an idle connection is kept.
        """
        self._linger_s, self._keep_alive_s = linger_s, keep_alive_s
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._socket: socket.socket | None = None
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        return f"{self._host}:{self._port}"

    @property
    def connections(self) -> int:
        """How many are open, or have a handler that has not ended."""
        server = None if self._runner is None else self._runner.server
        return 0 if server is None else len(server.connections)

    def bind(self) -> None:
        """Take the port; connections are refused until `open`."""
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((self._host, self._port))
        self._port = self._socket.getsockname()[1]

    async def open(self, app: web.Application, tls: ssl.SSLContext | None, h2: Connected | None = None) -> None:
        """Serve `app`; connections that negotiate HTTP/2 go to `h2`."""
        if self._socket is None:
            self.bind()
        assert self._socket is not None
        self._runner = web.AppRunner(
            app,
            access_log=None,
            auto_decompress=False,
            handler_cancellation=True,
            keepalive_timeout=self._keep_alive_s,
            lingering_time=self._linger_s,
            max_field_size=_HEADER_BYTES,
            max_headers=_HEADERS,
            max_line_size=_HEADER_BYTES,
            shutdown_timeout=_SHUTDOWN_S,
        )
        await self._runner.setup()
        http = self._runner.server
        assert http is not None
        protocol = http if h2 is None else functools.partial(AlpnSwitch, http, h2)
        self._server = await asyncio.get_running_loop().create_server(protocol, sock=self._socket, ssl=tls)

    def refuse(self) -> None:
        """Stop listening; connections stay as long as they have a request under way."""
        if self._server is not None:
            self._server.close()
        if self._runner is not None and self._runner.server is not None:
            for connection in self._runner.server.connections:
                if connection._current_request is None:
                    connection.force_close()
        self._socket = None

    async def close(self, *, gently: bool = False) -> None:
        """Stop listening and cut every connection; gently = once what was answered is out."""
        if self._runner is not None and self._runner.server is not None:
            if self._server is not None:
                self._server.close()
            for connection in self._runner.server.connections:
                if connection.transport is not None and not gently:
                    cut(connection.transport)
            await self._runner.cleanup()
            self._runner = None
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None

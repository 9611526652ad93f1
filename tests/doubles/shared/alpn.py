"""EDGE. One TLS port for HTTP/1.1 and for gRPC, as the node's: what the caller negotiated decides who answers it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

PROTOCOLS = ("http/1.1", "h2")
"""In order of preference: only who speaks nothing but HTTP/2 is taken for gRPC, as this node's routes know only 1.1."""

Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]


class AlpnSwitch(asyncio.Protocol):
    """Hands a new connection to `http` or, if HTTP/2 was negotiated, to `h2`, and is gone."""

    def __init__(self, http: Callable[[], asyncio.Protocol], h2: Connected) -> None:
        self._http = http
        self._h2 = h2

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() == "h2":
            protocol: asyncio.Protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader(), self._h2)
        else:
            protocol = self._http()
        cast(asyncio.Transport, transport).set_protocol(protocol)
        protocol.connection_made(transport)

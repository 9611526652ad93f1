"""EDGE. Sends one request to one RPC server, and bounds what comes back. Nothing is followed, nothing unpacked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import aiohttp

from orchd.domain.model import Secret
from orchd.http_client import connector, read_at_most, why
from orchd.names import Names
from orchd.rpc.ports import RpcFault

MOST_BYTES = 1024 * 1024
"""Of an answer. The largest that is asked for is a block's header with the hashes of its transactions."""
KEEPALIVE_S = 30.0
_MOST_WAIT_S = 300.0


@dataclass(frozen=True, slots=True)
class RpcReply:
    """What came back.

    Attributes:
        retry_after_s: of `Retry-After`; 0 = there is none in seconds.
    """

    status: int
    body: bytes
    retry_after_s: float = 0.0


class RpcClient(Protocol):
    """Who sends the requests."""

    async def post(self, url: Secret, document: object) -> RpcReply:
        """Send JSON, and return the answer. Whoever calls this bounds the time.

        Raises:
            RpcFault: there is none, or it is too long.
        """
        ...

    async def close(self) -> None:
        """Give back the connections."""
        ...


class HttpRpcClient:
    """`RpcClient` over HTTP. Connections are kept, since a chain is asked every few seconds."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: Secret, document: object) -> RpcReply:
        """As `RpcClient.post`."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=connector(self._names, keepalive_s=KEEPALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                # Nothing is unpacked: a small answer must not become a large one.
                headers={"User-Agent": "orchd", "Accept-Encoding": "identity"},
                auto_decompress=False,
            )
        try:
            async with self._session.post(url.value, json=document, allow_redirects=False) as response:
                body = await read_at_most(response, MOST_BYTES + 1)
                if len(body) > MOST_BYTES:
                    raise RpcFault(f"its answer is longer than {MOST_BYTES} bytes")
                return RpcReply(response.status, body, _seconds(response.headers.get("Retry-After", "")))
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise RpcFault(why(exc)) from None  # The library's own words may hold the URL.

    async def close(self) -> None:
        """As `RpcClient.close`."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _seconds(text: str) -> float:
    return min(float(text), _MOST_WAIT_S) if text.isascii() and text.isdecimal() and len(text) < 10 else 0.0

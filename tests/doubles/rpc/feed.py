"""EDGE. A provider's RPC server of a chain that holds one price feed, with the bytes of its ABI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.doubles.rpc.serving import serving

FEED = "0x639Fe6ab55C921f74e7fac1ee960C0B6293ba612"
UPDATED_AT = 1_767_225_600
EIGHT = "0x" + "0" * 63 + "8"
# round 18446744073709741829, answer 345678901234, started and updated at 2026-01-01T00:00:00Z, answered in that round
ROUND = (
    "0x"
    "000000000000000000000000000000000000000000000001000000000002e705"
    "000000000000000000000000000000000000000000000000000000507c116ff2"
    "000000000000000000000000000000000000000000000000000000006955b900"
    "000000000000000000000000000000000000000000000000000000006955b900"
    "000000000000000000000000000000000000000000000001000000000002e705"
)


def words(*values: int) -> str:
    """Return the ABI encoding of these integers; negative ones as int256."""
    return "0x" + b"".join((value % 2**256).to_bytes(32, "big") for value in values).hex()


class FeedServer:
    """Answers what is asked of the feed.

    Attributes:
        results: by selector, what `eth_call` returns.
        answer: in place of everything, if set.
        mute: never answer.
        seen: bodies of the requests, in order.
        url: of this.
    """

    def __init__(self) -> None:
        self.results: dict[str, Any] = {"0x313ce567": EIGHT, "0xfeaf968c": ROUND}
        self.answer: web.Response | None = None
        self.mute = False
        self.seen: list[list[dict[str, Any]]] = []
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def serving(cls) -> AsyncIterator[FeedServer]:
        """Serve on loopback, and end afterwards."""
        server = cls()
        async with serving(server._handle) as server.url:
            yield server

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.seen.append(body)
        if self.mute:
            await asyncio.Event().wait()
        if self.answer is not None:
            return web.Response(body=self.answer.body, status=self.answer.status, headers=self.answer.headers)
        return web.json_response([self._one(each) for each in body])

    def _one(self, asked: dict[str, Any]) -> dict[str, Any]:
        call, block = asked["params"]
        assert (asked["jsonrpc"], asked["method"], block) == ("2.0", "eth_call", "latest")
        assert call["to"] == FEED
        return {"jsonrpc": "2.0", "id": asked["id"], "result": self.results[call["data"]]}

    def answers(self, text: str | dict[str, Any], status: int = 200, **headers: str) -> None:
        """Answer everything with this from now on."""
        body = text if isinstance(text, str) else json.dumps(text)
        self.answer = web.Response(text=body, status=status, headers=headers)

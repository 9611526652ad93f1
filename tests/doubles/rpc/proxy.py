"""EDGE. An RPC server before a local chain, as a provider of Arbitrum: with L1 blocks, a key, and faults on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

from tests.doubles.rpc.serving import KEY, serving


@dataclass
class RpcFaults:
    """What goes wrong from now on; everything may be changed at any time.

    Attributes:
        hang: requests are taken and never answered.
        slow_s: each answer comes so many seconds late.
        status: of each answer, which has no body then; 0 = none.
        retry_after: `Retry-After` of these answers; empty = none.
        chain_id: what it says; 0 = the truth.
        blocks: so many more it says that there are; negative ones step back.
        l1_blocks: its blocks have an l1BlockNumber, as Arbitrum's.
        body: of each answer, in place of the true one; None = the true one.
        endless: answers begin, and go on for ever.
        no_batches: several calls at once are refused.
    """

    hang: bool = False
    slow_s: float = 0.0
    status: int = 0
    retry_after: str = ""
    chain_id: int = 0
    blocks: int = 0
    l1_blocks: bool = True
    body: bytes | None = None
    endless: bool = False
    no_batches: bool = False


class RpcProxy:
    """Passes calls on to a chain.

    Attributes:
        upstream: URL of the chain.
        url: of this.
        faults: none at first; `faults = RpcFaults()` ends all.
        calls: the methods that were called, in order. `requests`: how many came.
    """

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self.upstream = upstream
        self.url = ""
        self.faults = RpcFaults()
        self.calls: list[str] = []
        self.requests = 0
        self._session = session

    @classmethod
    @asynccontextmanager
    async def serving(cls, upstream: str, port: int = 0) -> AsyncIterator[RpcProxy]:
        """Serve on loopback (port 0 = a free one), and end afterwards."""
        async with aiohttp.ClientSession() as session:
            proxy = cls(upstream, session)
            async with serving(proxy._handle, port) as proxy.url:
                yield proxy

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        faults, asked = self.faults, await request.json()
        self.calls += [each["method"] for each in (asked if isinstance(asked, list) else [asked])]
        if faults.hang:
            await asyncio.Event().wait()
        await asyncio.sleep(faults.slow_s)
        if faults.endless:
            return await _endless(request)
        if faults.status:
            headers = {"Retry-After": faults.retry_after} if faults.retry_after else {}
            return web.Response(status=faults.status, headers=headers)
        if faults.body is not None:
            return web.Response(body=faults.body, content_type="application/json")
        if faults.no_batches and isinstance(asked, list):
            return web.json_response({"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": KEY}})
        return web.json_response(await self._passed_on(asked))

    async def _passed_on(self, asked: Any) -> Any:
        async with self._session.post(self.upstream, json=asked) as response:
            answer = json.loads(await response.read())
        if not isinstance(asked, list):
            return self._changed(asked["method"], answer)
        methods = {each["id"]: each["method"] for each in asked}
        return [self._changed(methods[each["id"]], each) for each in answer]

    def _changed(self, method: str, answer: dict[str, Any]) -> dict[str, Any]:
        """Return one answer as this server gives it."""
        faults, result = self.faults, answer.get("result")
        match method:
            case "eth_chainId" if faults.chain_id:
                result = hex(faults.chain_id)
            case "eth_getBlockByNumber" if isinstance(result, dict):
                number = int(result["number"], 16) + faults.blocks
                result = {**result, "number": hex(number)}
                if faults.l1_blocks:  # The chain counts rounds by its own blocks, so these are its L1's.
                    result["l1BlockNumber"] = hex(number)
            case _:
                return answer
        return {**answer, "result": result}


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    with suppress(ConnectionError):  # Who asks has given up.
        while True:
            await response.write(b" " * 1024)
            await asyncio.sleep(0.01)
    return response

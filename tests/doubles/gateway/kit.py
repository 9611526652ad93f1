"""For tests of the gateway itself: an orchestrator that says what it is told to, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from tests.doubles.gateway.gateway import Gateway, GatewaySettings
from tests.doubles.gateway.purse import Funds, Purse
from tests.doubles.shared import caller
from tests.doubles.shared.caller import Answer
from tests.doubles.shared.clock import Clock
from tests.doubles.shared.go_http import Dropped, application
from tests.doubles.shared.listener import Listener
from tests.tickets.validation.sender import Signer

GW, S2 = Signer("46" * 32), Signer("47" * 32)
ETH = 10**18
RICH = Purse(GW)
FUNDED = Funds(l1_block=500, round=3, round_hash=b"\x11" * 32, deposit=10 * ETH, reserve=5 * ETH)
TERMS = {
    "recipient": "F8UYUWdAHtAM9fWy/JfZu/230CU=",
    "face_value": "CIbJi3YAAA==",
    "win_prob": "N+yOwl5tLAuv79Weu9C0cUSfJKxAHbWr10NmUSAA",
    "recipient_rand_hash": "gMi8Q0XMURXROTrWkRYEKuFbg1c/xxsUfoVWonRFZNU=",
    "seed": "Pj5VV5Ckmkz940hIJ3rf/Av6n8V5mqGS7EidI1mFLGc=",
    "expiration_block": "AoY=",
    "expiration_params": {
        "creation_round": 3,
        "creation_round_block_hash": "ZyhDFip//evRhnbGDUQO4IwuShWeyhrhjcJxbWV5P1c=",
    },
}
"""Of a recorded token; they expire at block 646, and a ticket is worth 8e9 wei."""
TOKEN: dict[str, Any] = {
    "ticket_params": TERMS,
    "price": {"pricePerUnit": 2525000, "pixelsPerUnit": 1},
    "available_capacity": 2,
}
Answering = Callable[[web.Request], web.StreamResponse]


def done(_request: web.Request) -> web.StreamResponse:
    return web.Response(body=b"done", headers={"Livepeer-Balance": "7", "X-Metadata": "m1"})


def drop(_request: web.Request) -> web.StreamResponse:
    raise Dropped


@dataclass
class Orchestrator:
    """Gives `token`, and `answering`'s answer to each job.

    Attributes:
        late: set it for a token to be answered.
        asked: the requests for tokens.
        jobs: and those with jobs.
    """

    token: dict[str, Any] | int = field(default_factory=lambda: TOKEN)
    answering: Answering = done
    late: asyncio.Event | None = None
    asked: list[web.Request] = field(default_factory=list)
    jobs: list[web.Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = Listener("127.0.0.1:0")

    @property
    def url(self) -> str:
        return f"http://{self._listener.address}"

    async def __aenter__(self) -> Self:
        routes = [web.get("/process/token", self._token), web.post("/process/request/{rest:.*}", self._job)]
        await self._listener.open(application(routes), None)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._listener.close()

    async def _token(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        if self.late is not None:
            await self.late.wait()
        if isinstance(self.token, int):
            return web.Response(status=self.token, text="no token")
        return web.json_response({**self.token, "service_addr": self.url})

    async def _job(self, request: web.Request) -> web.StreamResponse:
        self.jobs.append(request)
        await request.read()
        return self.answering(request)


@dataclass
class Before:
    """A gateway before some orchestrators, and who calls it."""

    gateway: Gateway
    clock: Clock

    async def job(self, path: str = "/process/request/x", **said: Any) -> Answer:
        """Send a job; None as a value leaves the member out."""
        members = {"request": "{}", "parameters": "{}", "capability": "echo", "timeout_seconds": 60} | said
        return await self.sent(json.dumps({name: value for name, value in members.items() if value is not None}), path)

    async def sent(self, livepeer: str, path: str = "/process/request/x") -> Answer:
        """Send a job whose `Livepeer` header is this text in base64."""
        headers = {"Livepeer": base64.b64encode(livepeer.encode()).decode(), "Content-Type": "application/json"}
        return await caller.call(self.gateway.url, "POST", path, headers, "{}")


@asynccontextmanager
async def gateway_before(
    *orchestrators: Orchestrator, purse: Purse | None = RICH, funds: Funds = FUNDED, crashes: bool = True
) -> AsyncIterator[Before]:
    """Start all of them, and a gateway on a clock that stands still."""

    async def seen() -> Funds:
        return funds

    clock = Clock()
    async with AsyncExitStack() as stack:
        for orchestrator in orchestrators:
            await stack.enter_async_context(orchestrator)
        urls = tuple(orchestrator.url for orchestrator in orchestrators)
        gateway = Gateway(GatewaySettings(urls, purse, crashes=crashes), clock, seen)
        yield Before(await stack.enter_async_context(gateway), clock)

"""What can be made to go wrong with a node, while it runs: by tests in process, or through its control port.

The control port is no part of the real programs. `GET /_control` shows the state; `POST /_control/ACTION` changes it.
Actions of every node: hang, drop, fail (on=0|1), slow (s), restart, leave, come_back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from aiohttp import web
from aiohttp.typedefs import Middleware

from tests.doubles.shared.clock import Clock
from tests.doubles.shared.go_http import Handler, text_error


class Faults:
    """Switches for the listeners of a node. Restarts of the node leave them as they are."""

    def __init__(self) -> None:
        self.fail = False
        """Every request is answered 500."""
        self.drop = False
        """Every connection is closed without an answer."""
        self.slow_s = 0.0
        """Seconds of the node's clock before a request is looked at."""
        self._going = asyncio.Event()
        self._going.set()

    def hang(self, on: bool) -> None:
        """While on, requests are taken and not answered, as by a stopped process."""
        if on:
            self._going.clear()
        else:
            self._going.set()

    @property
    def hanging(self) -> bool:
        return not self._going.is_set()

    def middleware(self, clock: Clock) -> Middleware:
        @web.middleware
        async def faulty(request: web.Request, handler: Handler) -> web.StreamResponse:
            await self._going.wait()
            if self.slow_s:
                await clock.sleep(self.slow_s)
            if self.drop:
                if request.transport is not None:
                    request.transport.close()
                return web.Response()
            if self.fail:
                return text_error(500, "fault")
            return await handler(request)

        return faulty


class Steered(Protocol):
    """A node as the control port needs it."""

    faults: Faults

    async def restart(self) -> None: ...
    async def leave(self) -> None: ...
    async def come_back(self) -> None: ...


Act = Callable[[Mapping[str, str]], object]


def control_routes(
    node: Steered, state: Callable[[], dict[str, Any]], more: Mapping[str, Act] | None = None
) -> list[web.RouteDef]:
    """`more` are the actions of one program alone, by name; each gets the query."""

    async def show(_request: web.Request) -> web.StreamResponse:
        return web.json_response(state())

    async def act(request: web.Request) -> web.StreamResponse:
        given = request.query
        on = given.get("on") != "0"
        match request.match_info["action"]:
            case "hang":
                node.faults.hang(on)
            case "drop":
                node.faults.drop = on
            case "fail":
                node.faults.fail = on
            case "slow":
                node.faults.slow_s = float(given["s"])
            case "restart":
                await node.restart()
            case "leave":
                await node.leave()
            case "come_back":
                await node.come_back()
            case action if more is not None and action in more:
                more[action](given)
            case _:
                raise web.HTTPNotFound
        return web.json_response(state())

    return [web.get("/_control", show), web.post("/_control/{action}", act)]

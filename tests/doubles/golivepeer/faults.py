"""What can be made to go wrong with the node, while it runs: by tests in process, or through its control port.

The control port is no part of go-livepeer. `GET /_control` shows the state; `POST /_control/ACTION` changes it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.doubles.shared.go_http import Handler, text_error

if TYPE_CHECKING:
    from tests.doubles.golivepeer.node import Node


class Faults:
    """Switches for both listeners of the node. Restarts of the node leave them as they are."""

    def __init__(self) -> None:
        self.fail = False
        """Every request is answered 500."""
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

    def middleware(self, node: Node) -> Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]:
        @web.middleware
        async def faulty(request: web.Request, handler: Handler) -> web.StreamResponse:
            await self._going.wait()
            if self.slow_s:
                await node.clock.sleep(self.slow_s)
            if self.fail:
                return text_error(500, "fault")
            return await handler(request)

        return faulty


def control_routes(node: Node) -> list[web.RouteDef]:
    """Actions: hang, fail (on=0|1), slow (s), lose (name), leak (name, n), restart, leave, come_back, certificate."""

    async def state(_request: web.Request) -> web.StreamResponse:
        return web.json_response(_state(node))

    async def act(request: web.Request) -> web.StreamResponse:
        given = request.query
        on = given.get("on") != "0"
        match request.match_info["action"]:
            case "hang":
                node.faults.hang(on)
            case "fail":
                node.faults.fail = on
            case "slow":
                node.faults.slow_s = float(given["s"])
            case "lose":
                node.byoc.remove(given["name"])
            case "leak":
                node.byoc.capabilities[given["name"]].load += int(given["n"])
            case "restart":
                await node.restart()
            case "leave":
                await node.leave()
            case "come_back":
                await node.come_back()
            case "certificate":
                node.change_certificate()
            case _:
                raise web.HTTPNotFound
        return web.json_response(_state(node))

    return [web.get("/_control", state), web.post("/_control/{action}", act)]


def _state(node: Node) -> dict[str, Any]:
    byoc = node.byoc
    return {
        "starts": node.starts,
        "capabilities": json.loads(json.dumps({name: vars(c) for name, c in byoc.capabilities.items()}, default=str)),
        "registrations": dict(byoc.registrations),
        "unregistrations": dict(byoc.unregistrations),
        "streams": {name: stream.job.capability for name, stream in byoc.streams.items()},
        "live_runners": node.live_runners.offered(),
        "base_prices": node.base_prices.shown(),
    }

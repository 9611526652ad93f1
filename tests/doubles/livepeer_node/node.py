"""One Livepeer Node: its two listeners, its state, and how it starts, stops and comes back.

A start makes everything again, as a process does; ports are kept. `leave` only closes the listeners.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from types import TracebackType

from aiohttp import web

from tests.doubles.livepeer_node import manners, metrics, routes
from tests.doubles.livepeer_node.forward import NO_TYPE
from tests.doubles.livepeer_node.live_runners import LiveRunners
from tests.doubles.livepeer_node.manners import Bases
from tests.doubles.livepeer_node.places import STREAM, Places, kind_of
from tests.doubles.livepeer_node.registry import Refused
from tests.doubles.livepeer_node.settings import BadStart, NodeSettings, Policies, check
from tests.doubles.livepeer_node.trickle import Trickle
from tests.doubles.shared.clock import Clock, RealClock
from tests.doubles.shared.faults import Faults
from tests.doubles.shared.go_http import Dropped, application, cleaned, go_headers, requoted
from tests.doubles.shared.listener import Listener

CLOSE_S = 15.0
# Go reads on for half a second after an answer that it gave before the body.
_LINGER_S = 0.5
_KEEP_ALIVE_S = 90.0
# Real seconds that a stop waits on a clock that stands still.
_PATIENCE_S = 2.0


class Node:
    """`settings` may be replaced between a stop and a start. Raises BadStart at once if they are bad."""

    def __init__(self, settings: NodeSettings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.faults = Faults()
        self.starts = 0
        """How often the node was started."""
        self.closing = False
        self._service = Listener(settings.listen, linger_s=_LINGER_S, keep_alive_s=_KEEP_ALIVE_S)
        self._metrics = Listener(settings.metrics_listen)
        self._reset(check(settings))

    def _reset(self, policies: Policies) -> None:
        self.closing = False
        self.trickle = Trickle(self.clock)
        self.places = Places()
        self.live_runners = LiveRunners(self, policies)
        self._routes = [*self.live_runners.routes(), routes.route("/ai/trickle{rest...}", self._trickle)]

    @property
    def service_url(self) -> str:
        """Where the service port listens."""
        return f"http://{self._service.address}"

    @property
    def metrics_url(self) -> str:
        return f"http://{self._metrics.address}"

    @property
    def service_uri(self) -> str:
        """What the node tells clients of itself."""
        return (self.settings.service_url or self.service_url).rstrip("/")

    @property
    def runner_service_uri(self) -> str:
        """What it tells runners."""
        return (self.settings.runner_service_url or self.service_uri).rstrip("/")

    @property
    def connections(self) -> int:
        """Open connections to the service port."""
        return self._service.connections

    async def start(self) -> None:
        """Start with nothing remembered. Raises BadStart."""
        self.starts += 1
        policies = check(self.settings)
        try:
            self._service.bind()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise BadStart(_in_use(self._service.address)) from error
        self._reset(policies)
        self.live_runners.start()
        await self.trickle.start()
        await self._open()

    async def stop(self) -> None:
        """As at SIGTERM: nothing new comes in, sessions and channels end, and what is under way may be answered.

        At most 15 s; on a clock that stands still, 2 real seconds.
        """
        self.closing = True
        self._service.refuse()
        self.live_runners.end_all()
        patience = None if isinstance(self.clock, RealClock) else _PATIENCE_S
        with contextlib.suppress(TimeoutError):
            async with self.clock.timeout(CLOSE_S), asyncio.timeout(patience):
                await self.places.empty()
        await self._service.close(gently=True)
        await self._end()

    async def kill(self) -> None:
        """As at SIGKILL: every connection is cut, and nobody is told anything."""
        self.closing = True
        await self._end()

    async def _end(self) -> None:
        await self.leave()
        await self.live_runners.stop()
        await self.trickle.stop()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def leave(self) -> None:
        """Stop listening, cut every connection, forget nothing."""
        await self._service.close()
        await self._metrics.close()

    async def come_back(self) -> None:
        await self._open()

    async def _open(self) -> None:
        # The metrics port has no faults: it is not what a sidecar depends on.
        await self._metrics.open(application(metrics.routes(self.live_runners.registry)), None)
        app = web.Application(client_max_size=0, middlewares=[self.faults.middleware(self.clock)])
        app.router.add_route("*", r"/{rest:[\s\S]*}", self._answer)
        app.on_response_prepare.extend([go_headers, self._headers])
        await self._service.open(app, None)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._judge(request)
        except Refused as refused:
            return manners.error(refused)
        except Dropped:
            if request.transport is not None:
                request.transport.close()
            return web.Response()

    async def _headers(self, _request: web.Request, response: web.StreamResponse) -> None:
        if response.get(NO_TYPE, False):
            response.headers.pop("Content-Type", None)
        if self.closing:
            response.headers["Connection"] = "close"

    async def _judge(self, request: web.Request) -> web.StreamResponse:
        """Judge the request in the program's order."""
        manners.check_size(request)
        path = manners.path_of(request)
        proxied = self.live_runners.template.match(request.headers.get("Host", ""), path)
        if proxied is not None:
            with self.places.one(request, STREAM):
                if not self.live_runners.template.in_host and cleaned(path) != path:
                    return _moved(request, path)
                return await self.live_runners.sessions.through_proxy(request, *proxied)
        path = Bases(self.service_uri, self.runner_service_uri).strip(path)
        with self.places.one(request, kind_of(path)):
            if cleaned(path) != path:
                return _moved(request, path)
            return await routes.answer(self._routes, request, path)

    async def _trickle(self, request: web.Request, rest: str) -> web.StreamResponse:
        return await self.trickle.answer(request, rest.removeprefix("/"))

    async def __aenter__(self) -> Node:
        try:
            await self.start()
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()


def _moved(request: web.Request, path: str) -> web.Response:
    query = manners.query_of(request)
    return web.Response(
        status=307, headers={"Location": requoted(cleaned(path)) + ("" if query is None else f"?{query}")}
    )


def _in_use(address: str) -> str:
    return (
        f"cannot start orchestrator HTTP listener on {address}; choose an available address with --listen or "
        f"LIVEPEER_ORCHESTRATOR_LISTEN: listen tcp {address}: bind: address already in use"
    )

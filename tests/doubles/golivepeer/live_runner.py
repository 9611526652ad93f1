"""The Live Runner registry of the node: heartbeats and what belongs together. Source: live-runner.md 1, 2, 7.

Sessions are in `live_sessions`, static runners in `live_static`, decisions in `live_registry` and `live_entries`.
"""

from __future__ import annotations

import asyncio
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from aiohttp import web

from orchd.tasks import cancel, spawn
from tests.doubles.golivepeer import discovery
from tests.doubles.golivepeer.chain import FUNDED
from tests.doubles.golivepeer.grpc_listing import orchestrator_info
from tests.doubles.golivepeer.live_entries import BadEntry, parse_entry
from tests.doubles.golivepeer.live_events import KEEPALIVE_EVERY_S, MIME_TYPE, Events
from tests.doubles.golivepeer.live_proxy import RunnerProxy
from tests.doubles.golivepeer.live_registry import (
    HEARTBEAT_INTERVAL_S,
    TTL_S,
    Refused,
    Registry,
    Runner,
    Session,
    random_id,
)
from tests.doubles.golivepeer.live_sessions import Handler, Sessions, guard
from tests.doubles.golivepeer.live_static import StaticRunners
from tests.doubles.shared import go_json
from tests.doubles.shared.answers import json_answer
from tests.doubles.shared.go_json import GoJsonError

if TYPE_CHECKING:
    from tests.doubles.golivepeer.node import Node
    from tests.doubles.shared.clock import Clock
    from tests.doubles.shared.trickle_server import TrickleServer

SWEEP_EVERY_S = 5.0


class LiveRunners:
    """`events.lost` makes the event channels lose messages; `offered()` is what discovery shows."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.enabled = node.settings.use_live_runners or node.settings.live_runner_config is not None
        self.open = False
        """The registry exists: not yet while the node starts."""
        self.events = Events(node.trickle)
        self.registry = Registry(node.clock.now, self._on_event)
        self.proxy = RunnerProxy()
        self.sessions = Sessions(self)
        self.static = StaticRunners(self)
        self._tasks: list[asyncio.Task[None]] = []
        self._rate: Fraction | None = None

    @property
    def clock(self) -> Clock:
        return self._node.clock

    @property
    def trickle(self) -> TrickleServer:
        return self._node.trickle

    @property
    def base_url(self) -> str:
        return self._node.service_uri

    @property
    def runner_base_url(self) -> str:
        """Where runners find the node."""
        return self._node.settings.live_runner_addr or self.base_url

    @property
    def proxy_url(self) -> str:
        """The template of public proxy URLs."""
        return self._node.settings.live_runner_proxy_url or f"{self.base_url}/run/{{proxy}}"

    @property
    def on_chain(self) -> bool:
        return self._node.settings.on_chain is not None

    def orchestrator_info(self) -> bytes:
        """The terms in a payment challenge, for a sender that needs no reserve."""
        return orchestrator_info(self._node, FUNDED)

    @property
    def feed_answers(self) -> bool:
        return self._eth_usd() is not None or not self.on_chain

    def _eth_usd(self) -> Fraction | None:
        chain = self._node.settings.on_chain
        return chain.eth_usd if chain is not None else None

    def rate(self) -> Fraction | None:
        """Dollars per ETH, the last known one while the feed fails; None off-chain."""
        if (now := self._eth_usd()) is not None:
            self._rate = now
        return self._rate

    def price(self, runner: Runner) -> dict[str, Any] | None:
        return discovery.runner_price(runner, self.rate())

    def offered(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._listing()[0].get("runners", [])
        return found

    def _listing(self) -> list[dict[str, Any]]:
        return discovery.listing(self.registry, self.base_url, self.proxy_url, self.rate())

    def guarded(self, handler: Handler, *methods: str) -> Handler:
        return guard(lambda: self.enabled, handler, methods)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.route("*", "/runners/heartbeat", self.guarded(self._heartbeat, "POST")),
            web.route("*", "/runners/{id}/unregister", self.guarded(self._unregister, "POST")),
            web.route("*", "/discovery", self.guarded(self._discovery, "GET", "HEAD")),
            *self.sessions.routes(),
        ]

    def cli_routes(self) -> list[web.RouteDef]:
        return [web.route("*", "/registerLiveRunners", self.static.handle)]

    async def start(self) -> None:
        """Raises BadDocument if the static file is bad: the node ends then."""
        if not self.enabled:
            return
        await self.proxy.start()
        await self.static.start()
        if (config := self._node.settings.live_runner_config) is not None:
            await self.static.register(config.read_text())
        self.open = True
        self._tasks = [
            spawn(self._sweep(), name="live-runner-sweep"),
            spawn(self._keep_alive(), name="live-runner-events"),
        ]

    async def stop(self) -> None:
        if self.enabled:
            self.open = False
            await cancel(*self._tasks)
            await self.static.stop()
            await self.proxy.stop()

    async def _heartbeat(self, request: web.Request) -> web.StreamResponse:
        try:
            said = go_json.decode((await request.read()).decode("utf-8", "replace"), stream=True)
            if not isinstance(said, dict):
                raise GoJsonError(f"json: cannot unmarshal {go_json.kind(said)} into Go value")
            runner_id = go_json.string(go_json.field(said, "runner_id"), ".runner_id").strip()
            status = go_json.string(go_json.field(said, "status"), ".status").strip().lower()
            entry = parse_entry(said, on_chain=self.on_chain)
        except (GoJsonError, BadEntry) as error:
            raise Refused(400, str(error)) from error
        runner = self.registry.known(runner_id)
        secret = request.headers.get("Authorization", "")
        first = runner is None
        if runner is None:
            self._admit_new(secret)
            runner = Runner(runner_id or f"runner_{random_id(8)}", entry)
            self.registry.add(runner)
            self.events.open(runner)
        else:
            self._admit(runner, secret)
        runner.entry = entry
        runner.ready = status in ("", "ready")
        runner.seen_at = self.clock.now()
        runner.priceable = self.feed_answers
        return json_answer(self._answer(runner, first=first))

    def _admit_new(self, secret: str) -> None:
        bootstrap = self._node.settings.orch_secret
        if not bootstrap:
            raise Refused(404, "dynamic live runner registration is disabled")
        if secret != bootstrap:
            raise Refused(401, "invalid registration authorization")

    def _admit(self, runner: Runner, secret: str) -> None:
        if self.registry.expired(runner):
            raise Refused(404, "runner not found")
        if runner.static is not None and not secret:
            raise Refused(400, "static runner cannot heartbeat")
        if secret != runner.heartbeat_secret:
            raise Refused(401, "invalid heartbeat authorization")

    def _answer(self, runner: Runner, *, first: bool) -> dict[str, Any]:
        once = {
            "heartbeat_secret": runner.heartbeat_secret,
            "o2r": {
                "name": "o2r",
                "channel_name": runner.events_channel,
                "url": f"{self.runner_base_url}/ai/trickle/{runner.events_channel}",
                "mime_type": MIME_TYPE,
            },
        }
        return {
            "runner_id": runner.runner_id,
            "orchestrator": self.runner_base_url,
            "heartbeat_interval": f"{HEARTBEAT_INTERVAL_S:.0f}s",
            "heartbeat_ttl": f"{TTL_S:.0f}s",
            **(once if first else {}),
            "session_ids": list(runner.sessions),
        }

    async def _unregister(self, request: web.Request) -> web.StreamResponse:
        runner = self.registry.known(request.match_info["id"])
        if runner is None or self.registry.expired(runner):
            raise Refused(404, "runner not found")
        if runner.static is not None:
            raise Refused(400, "static runner cannot unregister")
        if request.headers.get("Authorization", "") != runner.heartbeat_secret:
            raise Refused(401, "invalid authorization")
        self.registry.remove(runner)
        self.events.close(runner)
        return web.Response(status=204)

    async def _discovery(self, _request: web.Request) -> web.StreamResponse:
        return json_answer(self._listing())

    def _on_event(self, runner: Runner, event: str, session: Session) -> None:
        self.events.tell(runner, event, session)
        if event == "released":
            for name in session.channels:
                self.trickle.close(session.channel_name(name))

    async def _sweep(self) -> None:
        while True:
            await self.clock.sleep(SWEEP_EVERY_S)
            for runner in self.registry.sweep():
                self.events.close(runner)

    async def _keep_alive(self) -> None:
        while True:
            await self.clock.sleep(KEEPALIVE_EVERY_S)
            for runner in self.registry.runners():
                self.events.keep_alive(runner)

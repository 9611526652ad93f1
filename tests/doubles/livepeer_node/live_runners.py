"""The registry of the node and its routes: heartbeats, discovery, what belongs together. Source: livepeer-node.md 5.

Sessions are in `sessions` and `callbacks`, decisions in `registry` and `entries`.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from aiohttp import web

from orchd.tasks import cancel, spawn
from tests.doubles.livepeer_node import bodies, discovery, entries, static
from tests.doubles.livepeer_node.callbacks import Callbacks
from tests.doubles.livepeer_node.entries import BadEntry
from tests.doubles.livepeer_node.events import KEEPALIVE_EVERY_S, MIME_TYPE, NAME, EventChannel
from tests.doubles.livepeer_node.forward import Forwarder
from tests.doubles.livepeer_node.manners import ProxyTemplate, said
from tests.doubles.livepeer_node.registry import Refused, Registry, Runner, Session
from tests.doubles.livepeer_node.routes import Route, route
from tests.doubles.livepeer_node.sessions import Sessions
from tests.doubles.livepeer_node.settings import Policies
from tests.doubles.livepeer_node.static import Health, StaticRunner

if TYPE_CHECKING:
    from tests.doubles.livepeer_node.node import Node
    from tests.doubles.livepeer_node.trickle import Trickle
    from tests.doubles.shared.clock import Clock


class LiveRunners:
    """`offered()` is what discovery shows."""

    def __init__(self, node: Node, policies: Policies) -> None:
        self._node = node
        self.policies = policies
        settings = node.settings
        self.registry = Registry(node.clock.now, settings.heartbeat_ttl_s, settings.bootstrap_secret, self._on_event)
        self.template = ProxyTemplate(settings.proxy_url_template or f"{self.base_url}/run/{{proxy}}")
        self.forwarder = Forwarder(node.clock)
        self.sessions = Sessions(self)
        self.callbacks = Callbacks(self)
        self.events: dict[str, EventChannel] = {}
        self._health = Health(node.clock, policies.health)
        self._static: list[StaticRunner] = []
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def clock(self) -> Clock:
        return self._node.clock

    @property
    def trickle(self) -> Trickle:
        return self._node.trickle

    @property
    def base_url(self) -> str:
        return self._node.service_uri

    @property
    def runner_base_url(self) -> str:
        return self._node.runner_service_uri

    def offered(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._listing()[0]["runners"]
        return found

    def _listing(self) -> list[dict[str, Any]]:
        return discovery.listing(self.registry, self.base_url, self.template)

    def routes(self) -> list[Route]:
        return [
            route("/runners/heartbeat", self._heartbeat, "POST"),
            route("/runners/{id}/unregister", self._unregister, "POST"),
            route("/discovery", self._discovery, "GET", "HEAD"),
            *self.sessions.routes(),
            *self.callbacks.routes(),
        ]

    def start(self) -> None:
        """Raises BadStart if the static file is bad."""
        config = self._node.settings.runner_config
        if config is not None:
            self._static = static.load(config, host_template=self.template.in_host)
        for one in self._static:
            healthy = not one.health_url
            self.registry.add(Runner(one.entry.runner_id, one.entry, static=True, healthy=healthy))
        self._tasks = [
            spawn(self._tick(), name="node-tick"),
            spawn(self._keep_alive(), name="node-o2r"),
        ]

    def forget(self, runner_id: str) -> None:
        """Lose one runner, as if it had been silent."""
        runner = self.registry.known(runner_id)
        if runner is not None:
            self._remove(runner)

    def _remove(self, runner: Runner) -> None:
        self.registry.remove(runner)
        if (events := self.events.pop(runner.runner_id, None)) is not None:
            events.close()

    def end_all(self) -> None:
        """End every session, then every event channel: what waits is answered, what streams is cut."""
        for runner in self.registry.runners():
            self.registry.end_all(runner)
        for events in self.events.values():
            events.close()
        self.events.clear()

    async def stop(self) -> None:
        await cancel(*self._tasks)
        self.forwarder.close()
        self._health.close()

    async def _heartbeat(self, request: web.Request) -> web.StreamResponse:
        credential = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        self.registry.admit(credential)
        body = await bodies.read(request, self.clock, "invalid heartbeat JSON")
        try:
            entry = entries.from_json(body, host_template=self.template.in_host)
        except BadEntry as error:
            raise Refused(400, str(error)) from error
        if self._node.closing:
            raise Refused(503, "orchestrator shutting down")
        runner, first = self.registry.heartbeat(credential, entry)
        if first:
            self.events[runner.runner_id] = EventChannel(self.trickle.channels, runner.runner_id)
        return said(self._answer(runner, first=first))

    def _answer(self, runner: Runner, *, first: bool) -> dict[str, Any]:
        settings = self._node.settings
        answer: dict[str, Any] = {
            "runner_id": runner.runner_id,
            "orchestrator": self.runner_base_url,
            "heartbeat_interval": f"{settings.heartbeat_interval_s:g}s",
            "heartbeat_ttl": f"{settings.heartbeat_ttl_s:g}s",
        }
        sessions = random.sample(list(runner.sessions), len(runner.sessions))
        if not first:
            return {**answer, "session_ids": sessions}
        channel = self.events[runner.runner_id].name
        o2r = {
            "name": NAME,
            "channel_name": channel,
            "url": f"{self.runner_base_url}/ai/trickle/{channel}",
            "mime_type": MIME_TYPE,
        }
        return {**answer, "heartbeat_secret": runner.secret, "session_ids": sessions, "o2r": o2r}

    async def _unregister(self, request: web.Request, runner_id: str) -> web.StreamResponse:
        credential = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        self._remove(self.registry.leaving(runner_id, credential))
        return said({"ok": True})

    async def _discovery(self, _request: web.Request) -> web.StreamResponse:
        return said(self._listing())

    def _on_event(self, event: str, session: Session) -> None:
        events = self.events.get(session.runner.runner_id)
        if events is not None:
            events.tell(event, session)
        if event == "released":
            self.callbacks.closed(session)

    async def _tick(self) -> None:
        """Sweep what is silent, and ask static runners how they are, every interval."""
        while True:
            await self.clock.sleep(self._node.settings.heartbeat_interval_s)
            for runner in self.registry.runners():
                if self.registry.expired(runner):
                    self._remove(runner)
            await self._look()

    async def _look(self) -> None:
        asked = [one for one in self._static if one.health_url]
        for one, well in zip(asked, await static.ask_all(self._health, asked), strict=True):
            runner = self.registry.known(one.entry.runner_id)
            assert runner is not None
            runner.healthy = well
            if not well:
                self.registry.end_all(runner)

    async def _keep_alive(self) -> None:
        """One ticker for all runners."""
        while True:
            await self.clock.sleep(KEEPALIVE_EVERY_S)
            for events in self.events.values():
                events.keep_alive()

"""Sessions as clients use them: reserve, use, stop, single-shot jobs, proxy URLs. Source: livepeer-node.md 8, 9."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from tests.doubles.livepeer_node.forward import target_of
from tests.doubles.livepeer_node.grants import Grants
from tests.doubles.livepeer_node.manners import query_of, said
from tests.doubles.livepeer_node.registry import NO_SESSION, Refused, Session
from tests.doubles.livepeer_node.routes import Route, route

if TYPE_CHECKING:
    from tests.doubles.livepeer_node.live_runners import LiveRunners

TOKEN = "Livepeer-Session-Token"


class Sessions:
    def __init__(self, live: LiveRunners) -> None:
        self._live = live
        self._registry = live.registry

    def routes(self) -> list[Route]:
        return [
            route("/apps/{id}/session", self._reserve, "POST"),
            route("/apps/{id}/session/{sid}/stop", self._stop, "POST"),
            route("/apps/{id}/session/{sid}/payment", self._payment, "POST"),
            route("/refresh-payment", self._payment, "POST"),
            route("/apps/{id}/session/{sid}/app{rest...}", self._use),
            route("/apps/{id}/app{rest...}", self._single_shot),
            route("/run/{pid}{rest...}", self.through_proxy),
            route("/proxy/{pid}{rest...}", self.through_proxy),
        ]

    async def _reserve(self, _request: web.Request, runner_id: str) -> web.StreamResponse:
        session = self._registry.reserve(runner_id, persistent=True)
        control = f"{self._live.base_url}/apps/{runner_id}/session/{session.session_id}"
        app_url = f"{control}/app"
        if session.runner.entry.proxy:
            grants = self._live.policies.runners
            proxy_id = self._registry.add_proxy(session, session.runner.entry.runner_url, grants)
            app_url = self._live.template.url(proxy_id)
        return said({"app_url": app_url, "control_url": control, "session_id": session.session_id})

    async def _stop(self, _request: web.Request, runner_id: str, session_id: str) -> web.StreamResponse:
        self._registry.end(self._registry.session(runner_id, session_id))
        return said({"ok": True})

    async def _payment(self, _request: web.Request, *_ids: str) -> web.StreamResponse:
        raise Refused(404, "payment unavailable")

    async def _use(self, request: web.Request, runner_id: str, session_id: str, rest: str) -> web.StreamResponse:
        session = self._registry.usable_session(runner_id, session_id)
        return await self._forward(request, session, session.runner.entry.runner_url, self._live.policies.runners, rest)

    async def _single_shot(self, request: web.Request, runner_id: str, rest: str) -> web.StreamResponse:
        session = self._registry.reserve(runner_id, persistent=False)
        try:
            url = session.runner.entry.runner_url
            return await self._forward(request, session, url, self._live.policies.runners, rest)
        finally:
            self._registry.end(session)

    async def through_proxy(self, request: web.Request, proxy_id: str, rest: str) -> web.StreamResponse:
        runner = self._registry.known(proxy_id)
        if runner is not None and runner.entry.proxy and not runner.persistent:
            return await self._single_shot(request, proxy_id, rest)
        session, proxied = self._registry.proxied(proxy_id)
        return await self._forward(request, session, proxied.target, proxied.grants, rest)

    async def _forward(
        self, request: web.Request, session: Session, base_url: str, grants: Grants, rest: str
    ) -> web.StreamResponse:
        if session.ended:
            raise Refused(404, NO_SESSION)
        runner_id, session_id = session.runner.runner_id, session.session_id
        added = {
            "Livepeer-Runner-Route": runner_id,
            "Livepeer-Session-Control": f"{self._live.runner_base_url}/runner/{runner_id}/session/{session_id}",
            "Livepeer-Session-Id": session_id,
            TOKEN: session.token,
        }
        target = target_of(base_url, rest, query_of(request))
        return await self._live.forwarder.forward(request, session, target, grants, added)

"""A daemon with the door live-runner, a container's callbacks on its plain listener, and a restart in the middle."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from orchd.app import App
from orchd.sold.part import SoldPart
from orchd.tasks import spawn
from tests.advertise.rig import until
from tests.ports import free_port
from tests.test_app import app_with


@dataclass
class Container:
    """A runner that asks for its session what it is told to ask.

    Attributes:
        told: of its session, with the last request.
        scheme: of the URL that was asked for last.
    """

    port: int = field(default_factory=free_port)
    told: dict[str, str] = field(default_factory=dict)
    scheme: str = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Container]:
        app = web.Application()
        app.router.add_get("/health", self._healthy)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _healthy(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _answer(self, request: web.Request) -> web.Response:
        self.told = {name: value for name, value in request.headers.items() if name.startswith("Livepeer-")}
        self.scheme = request.headers["X-Forwarded-Proto"]
        return web.json_response({"path": request.path_qs, "body": (await request.read()).decode()})

    async def asks(self, what: str, body: object = None, method: str = "POST") -> tuple[int, Any]:
        """Return status and answer of a callback."""
        url = f"{self.told['Livepeer-Session-Control']}/{what}"
        headers = {"Livepeer-Session-Token": self.told["Livepeer-Session-Token"]}
        return await called(method, url, headers=headers, data=None if body is None else json.dumps(body))


async def called(method: str, url: str, **options: Any) -> tuple[int, Any]:
    """Return status and answer, read as JSON where it is."""
    async with aiohttp.ClientSession() as session, session.request(method, url, **options) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if answer.content_type == "application/json" else text


@dataclass
class Place:
    """Where each daemon of the test listens.

    Attributes:
        url: for clients; `inside`: for containers.
    """

    folder: Path
    container: Container
    port: int = field(default_factory=free_port)
    inner_port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/ai"

    @property
    def inside(self) -> str:
        return f"http://127.0.0.1:{self.inner_port}"

    @asynccontextmanager
    async def daemon(self, **more: Any) -> AsyncIterator[App]:
        public = {
            "listen": [f"127.0.0.1:{self.port}"],
            "url": f"https://127.0.0.1:{self.port}",
            "base_path": "/ai",
            "tls": False,
            "doors": ["live-runner"],
            "runner_listen": f":{self.inner_port}",
        }
        app = app_with(self.folder, public=public, hooks={"order": ["tickets"]}, tickets={"off_chain": "trust"}, **more)
        entry = {"pipeline": "image", "model_id": "org/one", "url": f"http://127.0.0.1:{self.container.port}"}
        (self.folder / "aiModels.json").write_text(json.dumps([{**entry, "mode": "persistent", "price_per_unit": 0}]))
        running = spawn(app.run(), name="daemon")
        try:
            await until("it runs or has failed", lambda: app.accepting or running.done())
            if running.done():
                await running
            await until("the model is ready", lambda: any(model.ready for model in app.snapshot().models.values()))
            yield app
        finally:
            app.stop()
            await running

    def seen(self, told: str) -> str:
        """Return a URL that clients are told as this test reaches it: by plain HTTP."""
        return told.replace("https://", "http://", 1)


async def test_where_there_are_no_containers_none_is_missed(tmp_path: Path) -> None:
    async with Container().running() as container:
        place = Place(tmp_path, container)
        async with place.daemon(docker={"enabled": False}) as app:
            public = app.snapshot().public
            assert public is not None
            assert public.runner_listen == (f"127.0.0.1:{place.inner_port}",)
            assert public.runner_trouble == ""


async def test_a_container_behind_orchd_alone_speaks_for_its_session_over_a_restart(tmp_path: Path) -> None:
    async with Container().running() as container:
        place = Place(tmp_path, container)
        async with place.daemon() as app:
            slug = next(iter(app.snapshot().models)).slug
            status, session = await called("POST", f"{place.url}/apps/{slug}/session", json={})
            assert status == 200, session
            app_url = place.seen(session["app_url"])
            assert (await called("POST", f"{app_url}/begin", data="x"))[0] == 200
            assert container.scheme == "https", "as clients see it, whoever ends TLS"
            assert container.told["Livepeer-Session-Control"].startswith(f"{place.inside}/runner/{slug}/session/")
            status, made = await container.asks("channels", {"channels": [{"name": "out", "mime_type": "text/plain"}]})
            assert status == 200
            (channel,) = made["channels"]
            assert channel["internal_url"].startswith(f"{place.inside}/ai/trickle/")
            assert (await called("POST", f"{channel['internal_url']}/0", data="spoken"))[0] == 200
            assert await called("GET", f"{place.seen(channel['url'])}/0") == (200, "spoken")
            status, proxy = await container.asks("proxy", {})
            assert status == 200
            proxied = place.seen(proxy["url"])
            assert (await called("GET", f"{proxied}/deep?a=b"))[1]["path"] == "/deep?a=b"
            assert (await called("GET", proxied.replace(place.url, place.inside)))[0] == 200
            assert container.scheme == "http"
            for elsewhere in ("/discovery", f"/apps/{slug}/session", "/status", "/"):
                assert (await called("GET", f"{place.inside}{elsewhere}"))[0] == 404
            token = container.told["Livepeer-Session-Token"]
        async with place.daemon() as app:
            assert await called("GET", f"{place.seen(channel['url'])}/next") == (200, "0")
            assert (await called("GET", f"{proxied}/again"))[1]["path"] == "/again"
            assert container.told["Livepeer-Session-Token"] == token
            assert await container.asks("channels", {"channels": [{"name": "out"}]}) == (200, made)
            assert await container.asks("stop") == (200, {"ok": True})
            await until("the session is over", lambda: not app.part(SoldPart).sold.all())
            assert (await called("GET", f"{proxied}/late"))[0] == 404

"""The whole of orchd in this process, with one model that somebody else runs, beside a double of a node."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from orchd import tasks
from orchd.advertise.part import AdvertisePart
from orchd.app import App
from orchd.domain.ids import ModelKey
from orchd.domain.offer import Callback, Published
from orchd.runtime.part import RuntimesPart
from orchd.settings.tree import Settings
from orchd.status_view import Json, readiness, status
from tests.advertise.rig import until
from tests.doubles.golivepeer.node import Node
from tests.doubles.livepeer_node.node import Node as LivepeerNode
from tests.ports import free_port
from tests.test_app import NoRuntimes

MODEL = ModelKey("text-to-image", "acme/xl")
SECRET = "s3cret"


async def _health(_: web.Request) -> web.Response:
    return web.json_response({"status": "OK"})


async def _job(request: web.Request) -> web.Response:
    return web.json_response({"did": request.path, "headers": dict(request.headers)})


@asynccontextmanager
async def worker() -> AsyncIterator[str]:
    """Serve every job and be well; yield the URL."""
    app = web.Application()
    app.add_routes([web.get("/health", _health), web.route("*", "/{rest:.*}", _job)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@dataclass
class Whole:
    """Attributes:
    port: of its job listener.
    url: of the server that runs all models.
    """

    app: App
    port: int
    settings: Settings
    url: str

    def write(self, entries: list[dict[str, Any]]) -> None:
        """Replace aiModels.json, and have it read; the entries have no url."""
        Path(self.settings.models_file).write_text(json.dumps([{"url": self.url, **entry} for entry in entries]))
        self.app.reload()

    @property
    def callback(self) -> Callback:
        node = self.app.snapshot().node
        assert node is not None
        assert node.callback is not None
        return node.callback

    def standing(self, key: ModelKey = MODEL) -> Published | None:
        """Return how a model stands in Live Runner."""
        return self.app.part(AdvertisePart).advertiser.listings.published["live-runner"].get(key)

    async def offered(self, *keys: ModelKey) -> None:
        """Wait until the node has taken the models."""
        for key in keys or (MODEL,):
            await until(f"{key} is offered", lambda key=key: (now := self.standing(key)) and now.published)  # type: ignore[misc]

    def status(self) -> Json:
        return json.loads(json.dumps(status(self.app.snapshot())))  # type: ignore[no-any-return]

    def ready(self) -> tuple[bool, Json]:
        return readiness(self.app.snapshot(), self.app.accepting, "any")

    def metrics(self) -> str:
        return self.app._context.metrics.render().decode()


@asynccontextmanager
async def orchd_beside(
    node: Node | LivepeerNode,
    folder: Path,
    *,
    port: int = 0,
    entries: list[dict[str, Any]] | None = None,
    instance: str = "whole",
    **orchestrator: object,
) -> AsyncIterator[Whole]:
    """Run orchd until the end of the `async with`.

    Args:
        port: of its job listener; 0 = a free one.
        entries: of aiModels.json, each without its url; None = one model.
        orchestrator: settings; `callback_url` is right unless given.
    """
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240 - a folder of the test's own
    (folder / "secret").write_text(SECRET)
    port = port or free_port()
    async with worker() as url:
        models = entries or [{"pipeline": MODEL.pipeline, "model_id": MODEL.model_id, "price_per_unit": 10**9}]
        (folder / "aiModels.json").write_text(json.dumps([{"url": url, **model} for model in models]))
        settings = Settings.model_validate(
            {
                "models_file": str(folder / "aiModels.json"),
                "state_dir": str(folder / "state"),
                "instance": instance,
                "jobs": {"listen": f"127.0.0.1:{port}"},
                "admin": {"listen": f"127.0.0.1:{free_port()}"},
                "shutdown_drain_s": 1,
                "orchestrator": {
                    "service_url": node.service_url,
                    "cli_url": node.cli_url if isinstance(node, Node) else "",
                    "secret_file": str(folder / "secret"),
                    "callback_url": f"http://127.0.0.1:{port}",
                    "poll_s": 0.05,
                    "eth_usd": "3000",
                    **orchestrator,
                },
            }
        )
        app = App(settings, {}, {RuntimesPart: NoRuntimes})
        running = tasks.spawn(app.run(), name="orchd")
        try:
            await until("orchd runs", lambda: app.accepting or running.done())
            yield Whole(app, port, settings, url)
            assert not running.done(), "orchd has ended"
        finally:
            app.stop()
            await running

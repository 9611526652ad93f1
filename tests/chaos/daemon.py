"""orchd as a task: all of `orchd run` but the process around it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from orchd import tasks
from orchd.advertise.part import AdvertisePart
from orchd.app import App
from orchd.domain.ids import ModelKey
from orchd.domain.ports import Runtime
from orchd.domain.runtime_id import RuntimeId
from orchd.reconcile.part import ReconcilePart
from orchd.runtime.part import RuntimesPart
from orchd.settings.tree import Settings
from tests.chaos.entries import ETH_USD, JOB_S
from tests.chaos.in_task import OrchdInTask
from tests.chaos.shelf import Shelf
from tests.doubles.golivepeer.node import Node
from tests.ports import free_port

ROTATION_S = 720.0
"""Of the tokens that the node gets."""


def settings_beside(node: Node, secret: Path, folder: Path) -> Settings:
    port = free_port()
    return Settings.model_validate(
        {
            "models_file": str(folder / "aiModels.json"),
            "models_poll_s": 1,
            "state_dir": str(folder / "state"),
            "instance": "chaos",
            "shutdown_drain_s": 5,
            "jobs": {"listen": [f"127.0.0.1:{port}"], "between_bytes_timeout_s": JOB_S},
            "admin": {"listen": "127.0.0.1:0"},
            "streams": {"idle_s": 10},
            "reconcile": {"failure_limit": 1000, "backoff_max_s": 5},
            "orchestrator": {
                "service_url": node.service_url,
                "cli_url": node.cli_url,
                "secret_file": str(secret),
                "callback_url": f"http://127.0.0.1:{port}",
                "eth_usd": str(ETH_USD),
                "poll_s": 2,
                "recount_s": 120,
                "token_rotation_h": ROTATION_S / 3600,
            },
        }
    )


def runtimes_on(shelf: Shelf) -> type[RuntimesPart]:
    """Return what offers the shelf as the one runtime."""

    class Shelves(RuntimesPart):
        def make(self) -> dict[RuntimeId, Runtime]:
            return {shelf.id: shelf}

    return Shelves


class Orchd(OrchdInTask):
    def __init__(self, settings: Settings, shelf: Shelf) -> None:
        self._settings, self._shelf = settings, shelf
        self._task: asyncio.Task[None] | None = None
        self.app: App | None = None

    async def start(self) -> None:
        self.app = App(self._settings, {}, {RuntimesPart: runtimes_on(self._shelf)})
        self._task = tasks.spawn(self.app.run(), name="orchd")
        while not self.app.accepting:
            self.alive()
            await asyncio.sleep(0.05)

    def alive(self) -> None:
        """Fail if it has ended by itself."""
        if self._task is not None and self._task.done():
            self._task.result()
            raise AssertionError("orchd has ended")

    def most(self, key: ModelKey) -> int:
        """Return the model's maxSessions as orchd knows it; 0 = it does not know the model."""
        assert self.app is not None
        model = self.app.part(ReconcilePart).loop.models().get(key)
        return model.max_sessions if model else 0

    def says_published(self, registry: str) -> set[ModelKey]:
        """Return what `orchd status` calls published."""
        assert self.app is not None
        listings = self.app.part(AdvertisePart).advertiser.listings
        return {key for key, how in listings.published[registry].items() if how.published}

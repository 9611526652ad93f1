"""Entries of aiModels.json that launch the scripted runner, and the way to its control routes past orchd."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.docker_images import RUNNER
from tests.e2e.daemon import PATIENCE_S
from tests.runners.local import SCRIPTED

PIPELINE = "text-to-image"
PROCESS = [sys.executable, "-u", str(SCRIPTED)]

Entry = dict[str, Any]


def process(model_id: str, /, script: dict[str, Any] | None = None, **knobs: Any) -> Entry:
    """An entry with `command`; `knobs` are fields of the entry, and `health` and `env` are added to."""
    return _entry(model_id, script, {"command": PROCESS, **knobs})


def container(model_id: str, /, script: dict[str, Any] | None = None, **knobs: Any) -> Entry:
    """An entry with `image`. The image is there already: no registry is asked."""
    return _entry(model_id, script, {"image": RUNNER, "pull": "never", **knobs})


def _entry(model_id: str, script: dict[str, Any] | None, knobs: dict[str, Any]) -> Entry:
    return {
        "pipeline": PIPELINE,
        "model_id": model_id,
        "warm": True,
        "price_per_unit": 0,
        **knobs,
        "health": {"interval_s": 0.2, **knobs.get("health", {})},
        "env": {"SCRIPT": json.dumps(script or {}), **knobs.get("env", {})},
    }


@dataclass(frozen=True)
class Runner:
    """One scripted runner, asked past orchd."""

    url: str
    client: aiohttp.ClientSession

    async def seen(self, **at_least: int) -> dict[str, Any]:
        """Return its counters as soon as each named one is at least so high."""
        async with self.client.get(f"{self.url}/_seen", params=at_least, timeout=_patience()) as answer:
            counters: dict[str, Any] = await answer.json()
            return counters

    async def open_gate(self, name: str, n: int | None = None) -> None:
        await self._post(f"/_open/{name}" + (f"?n={n}" if n else ""))

    async def script(self, **changes: Any) -> None:
        await self._post("/_script", **changes)

    async def about(self) -> dict[str, Any]:
        """Return its `pid` and `env`."""
        async with self.client.get(f"{self.url}/_env", timeout=_patience()) as answer:
            about: dict[str, Any] = await answer.json()
            return about

    async def _post(self, path: str, **body: Any) -> None:
        async with self.client.post(self.url + path, json=body, timeout=_patience()) as answer:
            assert answer.status == 200


def _patience() -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=PATIENCE_S)

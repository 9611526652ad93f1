"""EDGE. Static runners: registered in batches on the CLI port or from a file, polled for health.

There is no delete, and no threshold: one bad check hides a runner and ends its sessions. Source: live-runner.md 3.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from orchd.tasks import cancel, spawn
from tests.doubles.golivepeer.live_entries import BadEntry, StaticEntry, parse_static
from tests.doubles.golivepeer.live_registry import Runner, random_id
from tests.doubles.shared import go_json
from tests.doubles.shared.answers import json_answer
from tests.doubles.shared.go_http import text_error
from tests.doubles.shared.go_json import GoJsonError

if TYPE_CHECKING:
    from tests.doubles.golivepeer.live_runner import LiveRunners

HEALTH_EVERY_S = 5.0
HEALTH_LIMIT_S = 3.0


class BadDocument(Exception):
    """400 with this text; nothing was changed."""


class StaticRunners:
    def __init__(self, live: LiveRunners) -> None:
        self._live = live
        self._polling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._client = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        self._polling = spawn(self._poll(), name="live-runner-health")

    async def stop(self) -> None:
        if self._polling is not None:
            await cancel(self._polling)
            await self._client.close()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """`POST /registerLiveRunners`. A node that is still starting has no registry yet either."""
        if request.method != "POST":
            return text_error(405, "Method not allowed")
        if not self._live.open:
            return text_error(404, "live runners are not supported")
        try:
            runners = await self.register((await request.read()).decode("utf-8", "replace"))
        except BadDocument as error:
            return text_error(400, str(error))
        return json_answer({"runners": [_shown(runner) for runner in runners]})

    async def register(self, document: str) -> list[Runner]:
        """Validate and check every entry, one after another; only then change anything.

        Raises:
            BadDocument: one entry is bad.
        """
        entries = self._parse(document)
        checks = [await self._healthy(entry) for entry in entries]
        return [self._upsert(entry, healthy) for entry, healthy in zip(entries, checks, strict=True)]

    def _parse(self, document: str) -> list[StaticEntry]:
        try:
            said = go_json.decode(document, stream=True)
        except GoJsonError as error:
            raise BadDocument(str(error)) from error
        listed = go_json.field(said, "runners") if isinstance(said, dict) else said
        if not isinstance(listed, list | None):
            raise BadDocument(f"json: cannot unmarshal {go_json.kind(listed)} into Go struct field .runners")
        entries: list[StaticEntry] = []
        for index, one in enumerate(listed or []):
            try:
                entry = parse_static(one if isinstance(one, dict) else {}, on_chain=self._live.on_chain)
            except (BadEntry, GoJsonError) as error:
                raise BadDocument(f"runners[{index}]: {error}") from error
            if entry.label in [before.label for before in entries]:
                raise BadDocument(f'runners[{index}]: duplicate label "{entry.label}"')
            entries.append(entry)
        return entries

    def _upsert(self, static: StaticEntry, healthy: bool) -> Runner:
        runner = self._live.registry.labelled(static.label)
        if runner is None:
            runner = Runner(f"runner_{random_id(8)}", static.entry)
            self._live.registry.add(runner)
        runner.entry, runner.static = static.entry, static
        runner.priceable = self._live.feed_answers
        self._apply(runner, healthy)
        return runner

    def _apply(self, runner: Runner, healthy: bool) -> None:
        runner.ready = healthy
        if not healthy:
            self._live.registry.release_all(runner)

    async def _healthy(self, static: StaticEntry) -> bool:
        clock = self._live.clock
        try:
            with clock.busy():
                async with clock.timeout(HEALTH_LIMIT_S), self._client.get(static.health_url) as answer:
                    return answer.status == static.healthy_status_code
        except (TimeoutError, aiohttp.ClientError, OSError):
            return False

    async def _poll(self) -> None:
        while True:
            await self._live.clock.sleep(HEALTH_EVERY_S)
            for runner in self._live.registry.runners():
                if runner.static is not None:
                    self._apply(runner, await self._healthy(runner.static))


def _shown(runner: Runner) -> dict[str, Any]:
    static = runner.static
    assert static is not None
    return {
        "runner_id": runner.runner_id,
        "label": static.label,
        "app": runner.entry.app,
        "runner_url": runner.entry.runner_url,
        "mode": runner.entry.mode,
        **({"proxy": True} if runner.entry.proxy else {}),
        "health_url": static.health_url,
        "healthy_status_code": static.healthy_status_code,
        "healthy": runner.ready,
    }

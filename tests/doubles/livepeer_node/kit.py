"""For tests of the double itself: a node with a worker behind it, and a caller in front."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.doubles.livepeer_node.node import Node
from tests.doubles.livepeer_node.settings import NodeSettings
from tests.doubles.livepeer_node.worker import Worker
from tests.doubles.shared import caller
from tests.doubles.shared.caller import Answer
from tests.doubles.shared.clock import Clock

SECRET = {"Authorization": "s3cret"}
RUNNER = "one"
TOKEN = "Livepeer-Session-Token"


@dataclass
class Kit:
    """`secret` is the heartbeat secret of the runner `one`."""

    node: Node
    worker: Worker
    clock: Clock
    secret: str = ""

    @property
    def worker_url(self) -> str:
        return f"http://127.0.0.1:{self.worker.port}"

    async def call(
        self, method: str, target: str, headers: dict[str, str] | None = None, body: str | bytes = b""
    ) -> Answer:
        return await caller.call(self.node.service_url, method, target, headers, body)

    async def post(self, target: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        return await self.call("POST", target, headers, "" if body is None else json.dumps(body))

    async def heartbeat(self, secret: str | None = None, **fields: Any) -> Answer:
        """Send a heartbeat of `one`, with the secret of its first answer, or the node's before that."""
        said = {"runner_id": RUNNER, "runner_url": self.worker_url, "app": "echo/one"} | fields
        bearer = {"Authorization": secret if secret is not None else self.secret or SECRET["Authorization"]}
        answer = await self.post("/runners/heartbeat", said, bearer)
        if answer.status == 200 and said["runner_id"] == RUNNER:
            self.secret = json.loads(answer.text).get("heartbeat_secret", self.secret)
        return answer

    async def reserve(self, runner_id: str = RUNNER) -> str:
        answer = await self.post(f"/apps/{runner_id}/session")
        assert answer.status == 200, answer
        session_id: str = json.loads(answer.text)["session_id"]
        return session_id

    async def listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((await self.call("GET", "/discovery")).text)[0]["runners"]
        return found


@asynccontextmanager
async def kit(**settings: Any) -> AsyncIterator[Kit]:
    """The worker is granted to runners and to session proxies unless the settings say otherwise."""
    clock = Clock()
    worker = Worker(clock)
    granted = (f"127.0.0.1:{worker.port}",)
    defaults: dict[str, Any] = {"runner_grants": granted, "session_proxy_grants": granted, "health_grants": granted}
    await worker.start()
    try:
        async with Node(NodeSettings(**defaults | settings), clock) as node:
            yield Kit(node, worker, clock)
    finally:
        await worker.stop()

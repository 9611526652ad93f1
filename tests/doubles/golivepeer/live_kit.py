"""For tests of the Live Runner double: a kit whose node has the registry, and short ways to use it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.doubles.golivepeer.kit import SECRET, Kit, kit
from tests.doubles.shared.caller import Answer

RUNNER = "one"
PRICE = {"price": 1.2, "currency": "usd", "unit": "hour"}
TOKEN = "Livepeer-Session-Token"


class LiveKit(Kit):
    """`secret` is the heartbeat secret of the runner `one`."""

    secret = ""

    async def heartbeat(self, secret: str | None = None, **fields: Any) -> Answer:
        """Send a heartbeat of `one`, with the secret of its first answer, or the node's before that."""
        said = {"runner_id": RUNNER, "runner_url": self.worker_url, "app": "echo/one"} | fields
        bearer = {"Authorization": secret if secret is not None else self.secret or SECRET["Authorization"]}
        answer = await self.call("POST", "/runners/heartbeat", bearer, json.dumps(said))
        if answer.status == 200 and said["runner_id"] == RUNNER:
            self.secret = json.loads(answer.text).get("heartbeat_secret", self.secret)
        return answer

    async def beats(self, seconds: float, **fields: Any) -> None:
        """Let time pass while heartbeats keep coming."""
        for _ in range(round(seconds / 5)):
            await self.clock.advance(5)
            assert (await self.heartbeat(**fields)).status == 200

    async def post(self, target: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        return await self.call("POST", target, headers, "" if body is None else json.dumps(body))

    async def reserve(self, route: str = RUNNER) -> str:
        answer = await self.post(f"/apps/{route}/session")
        assert answer.status == 200, answer
        session_id: str = json.loads(answer.text)["session_id"]
        return session_id

    async def use(self, session_id: str, path: str = "x", route: str = RUNNER) -> Answer:
        return await self.post(f"/apps/{route}/session/{session_id}/app/{path}", {})

    async def stop(self, session_id: str, route: str = RUNNER) -> Answer:
        return await self.post(f"/apps/{route}/session/{session_id}/stop")

    async def token_of(self, session_id: str) -> dict[str, str]:
        """The session's token comes to the runner with a request, and with nothing else."""
        self.worker.take()
        await self.use(session_id)
        return {TOKEN: dict(self.worker.take()[0][-1].headers)[TOKEN]}

    async def listed(self) -> list[dict[str, Any]]:
        answer = json.loads((await self.call("GET", "/discovery")).text)
        found: list[dict[str, Any]] = answer[0].get("runners", [])
        return found

    async def register_static(self, *entries: dict[str, Any]) -> Answer:
        body = json.dumps({"runners": [self.static_entry(**entry) for entry in entries or ({},)]})
        return await self.cli("/registerLiveRunners", "POST", {}, body)

    def static_entry(self, **fields: Any) -> dict[str, Any]:
        standard = {"label": "lab", "routing": "label", "runner_url": self.worker_url, "health_url": "/health"}
        return standard | {"app": "echo/one", "capacity": 2} | fields


@asynccontextmanager
async def live_kit(**settings: Any) -> AsyncIterator[LiveKit]:
    async with kit(**{"use_live_runners": True} | settings) as running:
        yield LiveKit(running.node, running.worker, running.clock)

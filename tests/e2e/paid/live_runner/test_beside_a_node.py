"""One model is sold at orchd's own door and by a node beside it: each slot once, whoever sells it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.jumping import run_jumping
from tests.doubles.livepeer_node.node import Node
from tests.doubles.livepeer_node.settings import NodeSettings
from tests.doubles.shared import caller
from tests.doubles.shared.clock import RealClock
from tests.e2e.paid.live_runner.cases import refused
from tests.e2e.paid.live_runner.inside import Shop, shop
from tests.e2e.paid.live_runner.models import LIVE, app_of, path_of
from tests.ports import free_port

SECRET = "the-nodes-secret"
QUIET_S = 60.0
"""Longer than it takes until a node is told of anything."""


@dataclass(frozen=True)
class Beside:
    """A node, and the orchd beside it."""

    node: Node
    shop: Shop

    def free_at_the_node(self) -> int:
        """Return how many sessions clients can still reserve there."""
        runners = (each for each in self.node.live_runners.registry.runners() if each.entry.app == app_of(LIVE))
        return sum(max(each.free, 0) for each in runners)

    async def free_here(self) -> int:
        """Return how many of them discovery says there are at orchd's own door."""
        answer = await self.shop.payer().call("/discovery", method="GET", body="")
        listed = (runner for entry in json.loads(answer.text) for runner in entry["runners"])
        return sum(runner["capacity"] - runner["capacity_used"] for runner in listed if runner["app"] == app_of(LIVE))

    async def at_the_node(self, path: str, body: str = "{}") -> caller.Answer:
        return await caller.call(self.node.service_url, "POST", path, {}, body)

    def path_at_the_node(self) -> str:
        """Return where it is reserved there."""
        [runner] = (each for each in self.node.live_runners.registry.runners() if each.entry.app == app_of(LIVE))
        return f"/apps/{runner.entry.runner_id}/session"


@asynccontextmanager
async def beside(folder: Path) -> AsyncIterator[Beside]:
    port = free_port()
    secret = folder / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    settings = NodeSettings(bootstrap_secret=SECRET.encode(), runner_grants=(f"127.0.0.1:{port}",))
    async with Node(settings, RealClock()) as node:
        more: dict[str, Any] = {
            "jobs": {"listen": [f"127.0.0.1:{port}"]},
            "hooks": {"order": ["node-token", "tickets"]},
            "orchestrator": {
                "service_url": node.service_url,
                "secret_file": str(secret),
                "callback_url": f"http://127.0.0.1:{port}",
                "eth_usd": "3000",
                "poll_s": 2,
            },
        }
        async with shop(folder, more, maxSessions=1) as at:
            yield Beside(node, at)


def test_a_slot_is_sold_once_whoever_sells_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with beside(tmp_path) as both:
            at, payer = both.shop, both.shop.payer()
            await at.until("the node offers it", lambda: both.free_at_the_node() == 1, bound_s=QUIET_S)
            assert await both.free_here() == 1
            there = both.path_at_the_node()
            ours = await payer.begin(path_of(LIVE), seconds=200)
            await at.until("the node has none to give", lambda: both.free_at_the_node() == 0, bound_s=QUIET_S)
            assert (await both.at_the_node(there)).status in (404, 409)
            assert (await ours.app()).status == 200
            assert (await ours.stop()).status == 200
            await at.until("the node offers it again", lambda: both.free_at_the_node() == 1, bound_s=QUIET_S)
            theirs = await both.at_the_node(there)
            assert theirs.status == 200, theirs.text
            taken = at.tickets()
            said = json.loads(theirs.text)
            used = await both.at_the_node(said["app_url"].partition(both.node.service_url)[2] + "/echo")
            assert used.status == 200, used.text
            assert at.active(LIVE) == 1
            offered = await payer.offer(path_of(LIVE))
            refused(await payer.send(path_of(LIVE), payer.pay(offered, range(1, 6))), 409)
            assert await both.free_here() == 0
            await asyncio.sleep(10)
            assert at.tickets() == taken
            assert (
                await both.at_the_node(said["control_url"].partition(both.node.service_url)[2] + "/stop")
            ).status in (
                200,
                204,
            )
            await at.until("its slot is free", lambda: not at.active(LIVE), bound_s=QUIET_S)
            assert (await payer.send(path_of(LIVE), payer.pay(offered, range(1, 6)))).status == 200

    run_jumping(story())

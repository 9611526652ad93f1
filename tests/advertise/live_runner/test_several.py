"""Several orchd at one node do not take each other's models away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.advertise.rig import until
from tests.advertise.whole import MODEL, orchd_beside
from tests.doubles.golivepeer.node import Node
from tests.doubles.golivepeer.node import NodeSettings as GoLivepeerSettings
from tests.doubles.livepeer_node.node import Node as LivepeerNode
from tests.doubles.livepeer_node.settings import NodeSettings
from tests.doubles.shared import caller
from tests.doubles.shared.clock import RealClock
from tests.ports import free_port


async def routes(node: Node | LivepeerNode) -> list[str]:
    """Return the URLs under which clients find the model."""
    answer = await caller.call(node.service_url, "GET", "/discovery")
    return [each["url"] for each in json.loads(answer.text)[0].get("runners", []) if each["app"] == str(MODEL)]


async def answers(node: Node | LivepeerNode) -> list[int]:
    """Return the status of a job by each of them."""
    found = [url.removeprefix(node.service_url) for url in await routes(node)]
    return [(await caller.call(node.service_url, "POST", f"{path}/x", {}, b"{}")).status for path in found]


@pytest.mark.parametrize("program", ["go-livepeer", "livepeer-node"])
async def test_of_two_instances_both_are_found_and_both_serve(program: str, tmp_path: Path) -> None:
    ports = free_port(), free_port()
    grants = tuple(f"127.0.0.1:{port}" for port in ports)
    node: Node | LivepeerNode
    if program == "go-livepeer":
        node = Node(GoLivepeerSettings(use_live_runners=True, plain_http=True), RealClock())
    else:
        node = LivepeerNode(NodeSettings(runner_grants=grants), RealClock())
    async with (
        node,
        orchd_beside(node, tmp_path / "a", port=ports[0], instance="a") as one,
        orchd_beside(node, tmp_path / "b", port=ports[1], instance="b") as other,
    ):
        for whole in (one, other):
            await whole.offered()
            await until("its trial is back", lambda whole=whole: whole.callback.by_node)  # type: ignore[misc]
        assert await answers(node) == [200, 200]


async def test_two_of_the_same_instance_do_not_overwrite_each_others_static_records(tmp_path: Path) -> None:
    flags = GoLivepeerSettings(use_live_runners=True, plain_http=True)
    async with (
        Node(flags, RealClock()) as node,
        orchd_beside(node, tmp_path / "a", instance="same", live_runner="static") as one,
        orchd_beside(node, tmp_path / "b", instance="same", live_runner="static") as other,
    ):
        await one.offered()
        await other.offered()
        assert await answers(node) == [200, 200]

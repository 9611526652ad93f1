"""Do jobs reach orchd at `callback_url`? Against the doubles of both programs, with real jobs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from orchd.errors import Code
from orchd.history.ports import Kind
from orchd.history.read import KeptHistory
from tests.advertise.rig import until
from tests.advertise.whole import MODEL, Whole, orchd_beside, worker
from tests.doubles.golivepeer.chain import Chain
from tests.doubles.golivepeer.node import Node
from tests.doubles.golivepeer.node import NodeSettings as GoLivepeerSettings
from tests.doubles.livepeer_node.node import Node as LivepeerNode
from tests.doubles.livepeer_node.settings import NodeSettings
from tests.doubles.shared import caller
from tests.doubles.shared.clock import RealClock
from tests.ports import free_port


@asynccontextmanager
async def livepeer_node(*grants: str, version: str = "1.0.0") -> AsyncIterator[LivepeerNode]:
    settings = NodeSettings(runner_grants=grants, session_proxy_grants=grants, version=version)
    async with LivepeerNode(settings, RealClock()) as node:
        yield node


@asynccontextmanager
async def go_livepeer(**flags: object) -> AsyncIterator[Node]:
    settings = GoLivepeerSettings(use_live_runners=True, plain_http=True, **flags)  # type: ignore[arg-type]
    async with Node(settings, RealClock()) as node:
        yield node


async def job(node: Node | LivepeerNode, whole: Whole) -> int:
    """Have a job done as a client of Live Runner would; return the status."""
    found = [each for each in await listed(node) if each == str(MODEL)]
    assert found, "the model is not in discovery"
    answer = await caller.call(node.service_url, "POST", f"/apps/orchd-whole-{MODEL.slug}/app/x", {}, b"{}")
    return answer.status


async def listed(node: Node | LivepeerNode) -> list[str]:
    answer = await caller.call(node.service_url, "GET", "/discovery")
    return [each["app"] for each in json.loads(answer.text)[0].get("runners", [])]


def runners(node: Node | LivepeerNode) -> list[str]:
    """Return the ids of all runners that the node has, hidden ones too."""
    return [each.runner_id for each in node.live_runners.registry.runners()]


def happened(folder: Path) -> list[str]:
    """Return the kinds of what has happened, as a command reads them."""
    return [event.kind for event in KeptHistory(folder / "state").newest(500, lambda key: True).events]


async def test_a_missing_grant_is_named_with_the_lines_to_add_while_the_model_stays_offered(tmp_path: Path) -> None:
    port = free_port()
    async with livepeer_node() as node:
        with capture_logs() as logs:
            async with orchd_beside(node, tmp_path, port=port, check_s=0.05) as whole:
                await whole.offered()
                await until("the trial has failed", lambda: whole.callback.by_node is False)
                assert whole.callback.code is Code.NODE_GRANT
                grant = f'["127.0.0.1:{port}"]'
                assert f"RunnerGrants = {grant} and SessionProxyGrants = {grant}" in whole.callback.error
                assert await job(node, whole) == 502, "the trial tells the truth"
                ready, said = whole.ready()
                assert not ready
                assert said["reasons"] == [whole.callback.error]
                assert whole.status()["node"]["callback"]["by_us"] is True
                assert 'orchd_callback_reached{by="node"} 0' in whole.metrics()
                assert 'orchd_callback_reached{by="orchd"} 1' in whole.metrics()
        assert [line["code"] for line in logs if line["event"] == "callback_failed"] == ["node_grant"]
    assert happened(tmp_path).count(Kind.CALLBACK_FAILED) == 1


async def test_once_granted_and_started_again_the_node_reaches_orchd_and_all_is_well(tmp_path: Path) -> None:
    port = free_port()
    async with livepeer_node() as node, orchd_beside(node, tmp_path, port=port) as whole:
        await until("the trial has failed", lambda: whole.callback.by_node is False)
        await node.stop()
        await until("the node is seen to be down", lambda: not whole.status()["node"]["up"])
        node.settings = replace(node.settings, runner_grants=(f"127.0.0.1:{port}",))
        await node.start()
        await until("the trial has come back", lambda: whole.callback.by_node)
        await whole.offered()
        await until("the model is in discovery", lambda: f"orchd-whole-{MODEL.slug}" in runners(node))
        assert await job(node, whole) == 200
        assert whole.callback.error == ""
        assert whole.ready()[0]
        assert 'orchd_callback_reached{by="node"} 1' in whole.metrics()
    assert happened(tmp_path).count(Kind.CALLBACK_REACHED) == 1


@pytest.mark.parametrize("version", ["1.0.0", "1.0.1"])
async def test_a_trial_leaves_no_runner_behind_and_takes_no_slot(tmp_path: Path, version: str) -> None:
    port = free_port()
    async with (
        livepeer_node(f"127.0.0.1:{port}", version=version) as node,
        orchd_beside(node, tmp_path, port=port) as whole,
    ):
        await until("the trial has come back", lambda: whole.callback.by_node)
        await whole.offered()
        assert runners(node) == [f"orchd-whole-{MODEL.slug}"]
        assert await job(node, whole) == 200


async def test_a_name_in_the_url_is_said_not_to_be_grantable(tmp_path: Path) -> None:
    port = free_port()
    async with (
        livepeer_node(f"127.0.0.1:{port}") as node,
        orchd_beside(node, tmp_path, port=port, callback_url=f"http://localhost:{port}") as whole,
    ):
        await until("the trial has failed", lambda: whole.callback.by_node is False)
        assert whole.callback.code is Code.NODE_GRANT
        assert f'RunnerGrants = ["127.0.0.1:{port}"]' in whole.callback.error
        assert "in place of the name localhost: names can't be granted" in whole.callback.error


async def test_go_livepeer_needs_no_grant(tmp_path: Path) -> None:
    async with go_livepeer() as node, orchd_beside(node, tmp_path) as whole:
        await until("the trial has come back", lambda: whole.callback.by_node)
        assert whole.callback.error == ""
        await whole.offered()
        assert runners(node) == [f"orchd-whole-{MODEL.slug}"]


@pytest.mark.parametrize("program", ["go-livepeer", "livepeer-node"])
async def test_a_url_at_which_nobody_listens_is_named_beside_either_program(tmp_path: Path, program: str) -> None:
    wrong = f"http://127.0.0.1:{free_port()}"
    node_of = go_livepeer() if program == "go-livepeer" else livepeer_node(wrong.removeprefix("http://"))
    async with node_of as node, orchd_beside(node, tmp_path, callback_url=wrong) as whole:
        await until("the trial has failed", lambda: whole.callback.by_node is False)
        assert (whole.callback.code, whole.callback.by_us) == (Code.CALLBACK_UNREACHABLE, False)
        assert wrong in whole.callback.error
        assert "jobs.listen" in whole.callback.error
        assert not whole.ready()[0]


@pytest.mark.parametrize("program", ["go-livepeer", "livepeer-node"])
async def test_another_server_at_the_url_is_not_taken_for_orchd(tmp_path: Path, program: str) -> None:
    async with worker() as other:
        node_of = go_livepeer() if program == "go-livepeer" else livepeer_node(other.removeprefix("http://"))
        async with node_of as node, orchd_beside(node, tmp_path, callback_url=other) as whole:
            await until("the trial has failed", lambda: whole.callback.by_node is False)
            assert whole.callback.code is Code.CALLBACK_UNREACHABLE
            assert "another server answers there" in whole.callback.error
            assert "Livepeer-Session" not in whole.callback.error, "what it quotes of the node's headers is not shown"


async def test_on_chain_nothing_is_tried_through_the_node_but_orchd_still_asks_itself(tmp_path: Path) -> None:
    wrong = f"http://127.0.0.1:{free_port()}"
    async with go_livepeer(on_chain=Chain()) as node, orchd_beside(node, tmp_path, callback_url=wrong) as whole:
        await whole.offered()
        await until("orchd has asked itself", lambda: whole.callback.by_us is False)
        assert whole.callback.by_node is None
        assert whole.callback.code is Code.CALLBACK_UNREACHABLE
        assert whole.ready()[0], "the node may reach what orchd does not"


async def test_direct_callers_are_served_however_the_node_fares(tmp_path: Path) -> None:
    async with livepeer_node() as node, orchd_beside(node, tmp_path, allow_direct=True) as whole:
        await until("the trial has failed", lambda: whole.callback.by_node is False)
        assert whole.ready()[0]


async def test_a_word_that_is_no_trial_is_told_nothing(tmp_path: Path) -> None:
    async with go_livepeer() as node, orchd_beside(node, tmp_path) as whole:
        await whole.offered()
        answer = await caller.call(f"http://127.0.0.1:{whole.port}", "GET", "/live/orchd/0123")
        assert answer.status == 503
        assert answer.header("Livepeer-Error") == Code.NOT_OFFERED


@pytest.mark.parametrize("program", ["go-livepeer", "livepeer-node"])
async def test_a_node_that_was_started_again_during_a_trial_is_tried_again_and_nobody_is_blamed(
    tmp_path: Path, program: str
) -> None:
    port = free_port()
    async with go_livepeer() if program == "go-livepeer" else livepeer_node(f"127.0.0.1:{port}") as node:
        registry, forgotten = node.live_runners.registry, list[str]()
        add = registry.add

        def forgets(runner: Any) -> None:
            """As a node does that ends between the registration and the job."""
            add(runner)
            if not forgotten and "-trial-" in runner.runner_id:
                forgotten.append(runner.runner_id)
                asyncio.get_running_loop().call_soon(registry.remove, runner)

        registry.add = forgets  # type: ignore[method-assign]
        async with orchd_beside(node, tmp_path, port=port) as whole:
            await until("the runner is forgotten", lambda: forgotten)
            await until("its trial is over", lambda: whole.callback.by_us)
            await node.restart()
            await until("another trial has come back", lambda: whole.callback.by_node)
        assert happened(tmp_path).count(Kind.CALLBACK_FAILED) == 0

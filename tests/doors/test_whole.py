"""The daemon tells its doors which program calls: the whole of orchd beside a double, real sockets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchd.database.beside import DATABASE
from orchd.domain.offer import NodeProgram
from orchd.node.tables import last_program
from tests.advertise.rig import until
from tests.advertise.whole import MODEL, orchd_beside
from tests.doubles.golivepeer.node import Node as GoLivepeer
from tests.doubles.golivepeer.node import NodeSettings as GoLivepeerSettings
from tests.doubles.livepeer_node.node import Node as LivepeerNode
from tests.doubles.livepeer_node.settings import NodeSettings as LivepeerNodeSettings
from tests.doubles.shared import caller
from tests.doubles.shared.clock import RealClock
from tests.ports import free_port


def node_of(program: NodeProgram, port: int) -> GoLivepeer | LivepeerNode:
    if program is NodeProgram.GO_LIVEPEER:
        return GoLivepeer(GoLivepeerSettings(use_live_runners=True, plain_http=True), RealClock())
    return LivepeerNode(LivepeerNodeSettings(runner_grants=(f"127.0.0.1:{port}",)), RealClock())


@pytest.mark.parametrize("program", list(NodeProgram))
async def test_a_clients_path_arrives_as_it_was_and_the_program_is_kept(program: NodeProgram, tmp_path: Path) -> None:
    port = free_port()
    async with node_of(program, port) as node, orchd_beside(node, tmp_path, port=port) as whole:
        await whole.offered()
        app = f"/apps/orchd-whole-{MODEL.slug}/app"
        await until("the runner is there", lambda: f"orchd-whole-{MODEL.slug}" in _runners(node))
        for sent, decoded in (("/a%20b/c", "/a b/c"), ("/50%25", "/50%"), ("/health", "/health")):
            answer = await caller.call(node.service_url, "POST", app + sent, {}, b"{}")
            assert (answer.status, json.loads(answer.text)["did"]) == (200, decoded)
        await until("it is kept", lambda: last_program(tmp_path / "state" / DATABASE) is program)


def _runners(node: GoLivepeer | LivepeerNode) -> list[str]:
    return [each.runner_id for each in node.live_runners.registry.runners()]

"""`orchd export runners`: what it prints is taken by both programs, and jobs go through."""

from __future__ import annotations

import asyncio
import json
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from orchd.cli import main
from orchd.domain.ids import ModelKey
from tests.advertise.rig import until
from tests.advertise.whole import MODEL, Whole, orchd_beside
from tests.doubles.golivepeer.node import Node
from tests.doubles.golivepeer.node import NodeSettings as GoLivepeerSettings
from tests.doubles.livepeer_node.node import Node as LivepeerNode
from tests.doubles.livepeer_node.settings import NodeSettings
from tests.doubles.shared import caller
from tests.doubles.shared.clock import Clock
from tests.ports import free_port

LIVE = ModelKey("llm", 'acme/"live" 図')
ENTRIES: list[dict[str, Any]] = [
    {"pipeline": MODEL.pipeline, "model_id": MODEL.model_id, "price_per_unit": 10**9, "maxSessions": 3},
    {"pipeline": LIVE.pipeline, "model_id": LIVE.model_id, "price_per_unit": 10**9, "mode": "persistent"},
]
PROGRAMS = pytest.mark.parametrize("program", ["node", "go-livepeer"])
CHECK_S = 5.0
"""How often both programs ask for the health of their static runners."""


def flags(whole: Whole) -> list[str]:
    rules = whole.settings.orchestrator
    return [
        *("--models-file", whole.settings.models_file, "--state-dir", str(whole.settings.state_dir)),
        *("--instance", whole.settings.instance, "--orchestrator-callback-url", rules.callback_url),
        *("--orchestrator-eth-usd", rules.eth_usd),
    ]


async def exported(whole: Whole, program: str) -> tuple[str, str]:
    """Return what the command prints, and what it says on stderr."""
    words = ("-m", "orchd", "export", "runners", "--for", program, *flags(whole))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode(), err.decode()


def node_for(program: str, file: Path, address: str, callback: str) -> Node | LivepeerNode:
    if program == "node":
        granted = (callback.removeprefix("http://"),)
        return LivepeerNode(
            NodeSettings(listen=address, runner_config=file, runner_grants=granted, health_grants=granted), Clock()
        )
    return Node(
        GoLivepeerSettings(service=address, live_runner_config=file, use_live_runners=True, plain_http=True), Clock()
    )


@asynccontextmanager
async def beside_an_exported_file(program: str, folder: Path) -> AsyncIterator[tuple[Node | LivepeerNode, Whole]]:
    """Run orchd, have it export, and start a node with that file."""
    address, port = f"127.0.0.1:{free_port()}", free_port()
    callback = f"http://127.0.0.1:{port}"
    file = folder / "runners"
    file.write_text("" if program == "node" else '{"runners":[]}')
    node = node_for(program, file, address, callback)
    rules: dict[str, Any] = {"live_runner": "exported", "service_url": f"http://{address}", "check_s": 0.1}
    async with orchd_beside(node, folder / "orchd", port=port, entries=ENTRIES, **rules) as whole:
        file.write_text((await exported(whole, program))[0])
        async with node:
            await whole.offered(MODEL, LIVE)
            await node.clock.advance(CHECK_S)
            yield node, whole


async def discovered(node: Node | LivepeerNode) -> dict[str, dict[str, Any]]:
    answer = await caller.call(node.service_url, "GET", "/discovery")
    return {each["app"]: each for each in json.loads(answer.text)[0].get("runners", [])}


@PROGRAMS
async def test_the_node_takes_the_file_and_jobs_go_through_until_a_model_leaves(program: str, tmp_path: Path) -> None:
    async with beside_an_exported_file(program, tmp_path) as (node, whole):
        found = await discovered(node)
        assert (found[str(MODEL)]["mode"], found[str(MODEL)]["capacity"]) == ("single-shot", 3)
        assert found[str(LIVE)]["mode"] == "persistent"
        route = f"/apps/orchd-whole-{MODEL.slug}/app/x"
        answer = await caller.call(node.service_url, "POST", route, {}, b"{}")
        assert (answer.status, json.loads(answer.text)["did"]) == (200, "/x")
        reserved = await caller.call(node.service_url, "POST", f"/apps/orchd-whole-{LIVE.slug}/session")
        assert reserved.status == 200

        whole.write(ENTRIES[1:])
        await until("the model has left", lambda: not (now := whole.standing(MODEL)) or not now.published)
        await node.clock.advance(CHECK_S)
        assert str(MODEL) not in await discovered(node)


async def test_it_is_said_that_the_file_holds_secrets_and_nothing_else_is_printed(tmp_path: Path) -> None:
    node = node_for("go-livepeer", tmp_path / "none", "127.0.0.1:1", "")
    async with orchd_beside(node, tmp_path / "orchd", entries=ENTRIES) as whole:
        (toml, of_node), (text, of_go) = [await exported(whole, program) for program in ("node", "go-livepeer")]
        for said in (of_node, of_go):
            assert "chmod 600" in said
            assert "or each model is there twice" in said
            assert "/live/" not in said
        assert [type(each["PriceInfo"]["Price"]) for each in tomllib.loads(toml)["Runners"]] == [float, float]
        assert f'HealthGrants = ["127.0.0.1:{whole.port}"]' in of_node
        assert len(json.loads(text)["runners"]) == 2


def test_without_a_key_there_is_nothing_to_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.json").write_text("[]")
    words = ["--models-file", str(tmp_path / "m.json"), "--state-dir", str(tmp_path / "state")]
    assert main(["export", "runners", "--for", "node", *words]) == 2
    assert capsys.readouterr().err.startswith("orchd: cannot export runners without the key that a daemon keeps")

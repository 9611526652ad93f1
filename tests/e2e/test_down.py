"""`orchd down` after a kill -9, beside each node program: nothing is offered there any more, and nothing runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.beside import GO_LIVEPEER_0_9, LIVEPEER_NODE, NodeProcess, Program, orchd_beside
from tests.e2e.scripts import PIPELINE, process

NAMES = {f"{PIPELINE}/batch", f"{PIPELINE}/session"}


@pytest.mark.parametrize("program", [GO_LIVEPEER_0_9, LIVEPEER_NODE], ids=["go-livepeer", "livepeer-node"])
async def test_what_a_killed_orchd_has_offered_is_taken_back_before_its_runners_end(
    tmp_path: Path, instance: str, program: Program
) -> None:
    has_byoc = program is GO_LIVEPEER_0_9
    entries = process("batch", price_per_unit=10**9), process("session", mode="persistent", price_per_unit=10**9)
    node = NodeProcess(tmp_path / "node", program=program)
    async with node, orchd_beside(node, tmp_path / "orchd", instance, *entries, orchestrator__eth_usd="3000") as daemon:

        async def offered() -> bool:
            at_byoc = set(await node.capabilities()) if has_byoc else NAMES
            return set(await node.runners()) == at_byoc == NAMES

        async def known() -> bool:
            """Whether orchd has kept what it needs to take them back: it says so of a model only then."""
            models = (await daemon.status())["models"]
            return all(one["published"] for model in models for one in model["registries"].values() if one["wanted"])

        await daemon.until("both are offered", offered)
        await daemon.until("orchd has kept what the node answered", known)
        await daemon.kill()
        code, said = await daemon.command("down", *daemon.flags())
        assert code == 0, said
        lines = said.splitlines()
        taken_back = [line for line in lines if line.startswith("withdrawn from the node: ")]
        assert len(taken_back) == (4 if has_byoc else 2), said
        assert [line for line in lines if line.startswith("stopping ")], said
        assert lines.index(taken_back[-1]) < min(n for n, line in enumerate(lines) if line.startswith("stopping "))
        assert not NAMES & set(await node.runners()), "a trial of whether orchd is reached may be under way"
        assert not has_byoc or not await node.capabilities()
        code, said = await daemon.command("down", *daemon.flags())
        assert (code, "withdrawn" in said) == (0, False), "it is told once"

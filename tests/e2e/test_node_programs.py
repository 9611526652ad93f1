"""orchd and the node as real processes, while the node becomes another program; `tests/chaos` has all orders.

Each side is killed with SIGKILL. The three programs take turns on one port, with one file of models and one secret.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.e2e.beside import GO_LIVEPEER_0_9, GO_LIVEPEER_0_10, LIVEPEER_NODE, NodeProcess, Program, orchd_beside
from tests.e2e.daemon import Daemon
from tests.e2e.scripts import PIPELINE, process

BATCH, SESSION = (f"{PIPELINE}/{model_id}" for model_id in ("batch", "session"))
OFFERED = {BATCH, SESSION}
NAMES = {"golivepeer": "go-livepeer", "livepeer_node": "livepeer-node"}


class Scene:
    def __init__(self, node: NodeProcess, daemon: Daemon) -> None:
        self.node, self.daemon = node, daemon
        self.starts = 1
        """Of the node that orchd was there for."""

    async def become(self, program: Program) -> None:
        """Kill the node, and start another program (or the same) in its place."""
        await self.node.kill()
        self.node.program = program
        await self.node.start()
        self.starts += 1

    async def offered(self, *, live_runner: set[str] = OFFERED) -> None:
        """Wait until all is offered that can be, and orchd says so; then see that what is offered is served."""
        program = self.node.program
        byoc = OFFERED if program is GO_LIVEPEER_0_9 else set()

        async def so() -> bool:
            try:
                # orchd's own trial of the way to its jobs may be listed, too, for a moment.
                found = OFFERED & set(await self.node.runners()), set((await self.node.state()).get("capabilities", ()))
            except aiohttp.ClientError:
                return False
            node = (await self.daemon.status())["node"]
            return found == (live_runner, byoc) and (node["up"], node["program"], node["epoch"]) == (
                True,
                NAMES[program.double],
                self.starts,
            )

        await self.daemon.until(f"{program} offers {live_runner} and {byoc}", so)
        runners = await self.node.runners()
        for name in live_runner:
            assert await self._served(runners[name]) == 200
        if byoc:
            assert (await self.node.job(BATCH, "echo"))[0] == 200

    async def _served(self, runner: dict[str, str]) -> int:
        if runner["mode"] == "single-shot":
            return (await self.node.call("POST", f"{runner['url']}/echo"))[0]
        async with self.node.client.post(runner["url"]) as answer:
            session = await answer.json()
        status, _ = await self.node.call("POST", f"{session['app_url']}/echo")
        await self.node.call("POST", f"{session['control_url']}/stop")
        return status

    async def doubts(self) -> list[str]:
        """Return what orchd says is amiss with its models at the node."""
        models = (await self.daemon.status())["models"]
        return [one["error"] for model in models for one in model["registries"].values() if one["error"]]


@asynccontextmanager
async def scene(folder: Path, program: Program, **settings: str) -> AsyncIterator[Scene]:
    entries = process("batch", maxSessions=2), process("session", mode="persistent", maxSessions=2)
    instance = f"t-programs-{secrets.token_hex(4)}"
    async with NodeProcess(folder / "node", program=program) as node:
        # As an operator writes it who will replace the one by the other: no scheme, and a CLI port that only one has.
        both = {"orchestrator__service_url": f"127.0.0.1:{node.port}", "orchestrator__cli_url": node.cli_url}
        async with orchd_beside(node, folder / "orchd", instance, *entries, docker=False, **both | settings) as daemon:
            yield Scene(node, daemon)


async def test_the_three_programs_take_turns_and_each_side_is_killed(tmp_path: Path) -> None:
    async with scene(tmp_path, GO_LIVEPEER_0_9) as told:
        await told.offered()
        for program in (GO_LIVEPEER_0_10, LIVEPEER_NODE, LIVEPEER_NODE, GO_LIVEPEER_0_9):
            await told.become(program)
            await told.offered()
            assert await told.doubts() == []
        await told.daemon.kill()
        await told.become(LIVEPEER_NODE)
        told.starts = 1
        await told.daemon.start()
        await told.offered()
        await told.daemon.kill()
        await told.daemon.start()
        await told.offered()
        assert await told.doubts() == []


async def test_static_registration_is_for_go_livepeer_alone_and_is_there_again_when_it_is(tmp_path: Path) -> None:
    static = {"orchestrator__live_runner": "static", "orchestrator__register": "live-runner"}
    async with scene(tmp_path, GO_LIVEPEER_0_10, **static) as told:
        await told.offered()
        await told.become(LIVEPEER_NODE)
        await told.offered(live_runner=set())
        error = (await told.daemon.status())["node"]["error"]
        assert "orchestrator.live_runner = static" in error, error
        await told.become(GO_LIVEPEER_0_10)
        await told.offered()
        assert await told.doubts() == []

"""The place of the node beside orchd: one address, at which the three programs take turns as an operator lets them."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Any

from tests.doubles.golivepeer.node import Node as GoLivepeer
from tests.doubles.golivepeer.node import NodeSettings as GoLivepeerSettings
from tests.doubles.livepeer_node.node import Node as LivepeerNode
from tests.doubles.livepeer_node.settings import NodeSettings as LivepeerNodeSettings
from tests.doubles.shared.clock import RealClock
from tests.ports import free_port

SECRET = "chaos-orch-secret"


class Program(StrEnum):
    """A program in one version; the value is for people."""

    GO_0_9 = "go-livepeer 0.9"
    GO_0_10 = "go-livepeer 0.10"
    NODE_1_0_0 = "Livepeer Node 1.0.0"
    NODE_1_0_10 = "Livepeer Node 1.0.10"

    @property
    def is_livepeer_node(self) -> bool:
        return self in (Program.NODE_1_0_0, Program.NODE_1_0_10)

    @property
    def upgraded(self) -> Program:
        """Return what an upgrade in place makes of it."""
        return Program.NODE_1_0_10 if self.is_livepeer_node else Program.GO_0_10


class Site:
    """Attributes:
    program: what runs here, or ran last.
    starts: of any program.
    up_since: loop clock; None = nothing runs.
    """

    def __init__(self, folder: Path, jobs_port: int) -> None:
        self.program = Program.GO_0_9
        self.starts = 0
        self.up_since: float | None = None
        self.address, self.cli_url = f"127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
        self._folder, self._jobs_port = folder, jobs_port
        self._go: GoLivepeer | None = None
        self._node: LivepeerNode | None = None

    @property
    def running(self) -> GoLivepeer | LivepeerNode:
        found = self._go or self._node
        assert found is not None
        return found

    async def start(self, program: Program) -> None:
        """Start it where the last one was."""
        self.program = program
        if program.is_livepeer_node:
            grant = f"127.0.0.1:{self._jobs_port}" if program is Program.NODE_1_0_0 else "127.0.0.1"
            self._go, self._node = (
                None,
                LivepeerNode(
                    LivepeerNodeSettings(
                        listen=self.address,
                        bootstrap_secret=SECRET.encode(),
                        runner_grants=(grant,),
                        version=program.value.split()[-1],
                    ),
                    RealClock(),
                ),
            )
        else:
            self._node, self._go = (
                None,
                GoLivepeer(
                    GoLivepeerSettings(
                        service=self.address,
                        cli=self.cli_url.removeprefix("http://"),
                        orch_secret=SECRET,
                        use_live_runners=True,
                        version="0.9.x" if program is Program.GO_0_9 else "0.10.0",
                    ),
                    RealClock(),
                    datadir=self._folder,
                ),
            )
        await self.running.start()
        self.starts += 1
        self.up_since = asyncio.get_running_loop().time()

    async def end(self, *, politely: bool) -> None:
        """As by SIGTERM, or as by SIGKILL."""
        self.up_since = None
        await (self.running.stop() if politely else self.running.kill())

    # What gateways find.

    def runners(self) -> dict[str, dict[str, Any]]:
        """Return what discovery lists, by app."""
        return {shown["app"]: shown for shown in self.running.live_runners.offered()}

    def capabilities(self) -> set[str]:
        """Return what BYOC offers."""
        known = self._go.byoc.capabilities.values() if self._go is not None else ()
        return {capability.name for capability in known if capability.capacity > 0}

    def sessions(self, app: str) -> int:
        """Return how many sessions Live Runner has of an app, jobs among them."""
        registry = self.running.live_runners.registry
        return sum(len(runner.sessions) for runner in registry.runners() if runner.entry.app == app)

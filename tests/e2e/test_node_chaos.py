"""orchd and the node as real processes, killed and cut off in fixed orders; `tests/chaos` has all, in one process.

The node's certificate of the day is pinned, so that each change of it counts. Ten minutes' absence is there too; here
the node is away until orchd has noticed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from orchd.tasks import cancel, spawn
from tests.e2e.beside import NodeProcess, orchd_beside
from tests.e2e.daemon import Daemon
from tests.e2e.scripts import PIPELINE, Runner, process

BATCH, CAM, GUEST = (f"{PIPELINE}/{model_id}" for model_id in ("batch", "cam", "guest"))
FULL = {BATCH: 1, CAM: 1, GUEST: 1}


class Scene:
    """Attributes:
    most: sessions by capability, as aiModels.json has them.
    """

    def __init__(self, node: NodeProcess, daemon: Daemon) -> None:
        self.node, self.daemon = node, daemon
        self.most: dict[str, int] = {}
        self._jobs: list[asyncio.Task[None]] = []

    def write(self, most: dict[str, int]) -> None:
        """Put these models into aiModels.json, with so many sessions."""
        self.most = most
        entries = []
        for name, sessions in most.items():
            model_id = name.removeprefix(f"{PIPELINE}/")
            streams = {"profile": "pytrickle", "inference": {"path": "/live"}} if name == CAM else {}
            entries.append(process(model_id, {"pytrickle": name == CAM}, maxSessions=sessions, **streams))
        self.daemon.write(*entries)

    async def begin_job(self) -> None:
        """Begin a job that does not end by itself."""
        url = (await self.daemon.model("batch"))["runners"][0]["address"]
        runner = Runner(url, self.daemon.client)
        begun = (await runner.seen())["requests"]
        self._jobs.append(spawn(self._job(), name="job"))
        await runner.seen(requests=begun + 1)

    async def _job(self) -> None:
        with suppress(aiohttp.ClientError):
            await self.node.job(BATCH, "hang")

    async def end_jobs(self) -> None:
        """Have their callers leave."""
        await cancel(*self._jobs)
        self._jobs.clear()

    async def start_stream(self) -> None:
        status, text, _ = await self.node.start_stream(CAM, "camera")
        assert status == 200, text

    async def refused(self, name: str) -> None:
        """See that one session more of a model gets 503."""
        if name == CAM:
            status, text, _ = await self.node.start_stream(CAM, "late")
        else:
            status, text = await self.node.job(name, "echo")
        assert (status, json.loads(text)["error"]) == (503, "capacity_exhausted")

    async def true(self, sessions: dict[str, int] | None = None) -> None:
        """Wait until both registries offer what the file says, and orchd counts so many sessions (none unless said).

        They are BYOC's, so Live Runner has what they leave. While there are none, all slots at the node are free too.
        """
        sessions = sessions or {}
        wanted = {name: (most, sessions.get(name, 0)) for name, most in self.most.items()}
        left = {name: most - taken for name, (most, taken) in wanted.items() if most > taken}

        async def holds() -> bool:
            try:
                byoc, live = await self.node.capabilities(), await self.node.runners()
            except aiohttp.ClientError:
                return False
            models = (await self.daemon.status())["models"]
            counted = {f"{m['pipeline']}/{m['model_id']}": m["sessions"] for m in models}
            found = {name: (known["max"], known["active"]) for name, known in counted.items()}
            at_byoc = {name: record["capacity"] for name, record in byoc.items()}
            at_live = {name: record["capacity"] for name, record in live.items()}
            free = bool(sessions) or not any(record["load"] for record in byoc.values())
            return (found, at_byoc, at_live, free) == (wanted, self.most, left, True)

        await self.daemon.until(f"the registries offer {self.most}, and {sessions or 'nothing'} is taken", holds)

    async def unreachable(self) -> None:
        """Wait until orchd has noticed that it can't use the node."""

        async def down() -> bool:
            return not (await self.daemon.status())["node"]["up"]

        await self.daemon.until("orchd knows that the node is away", down)


@pytest.fixture
async def scene(tmp_path: Path, instance: str) -> AsyncIterator[Scene]:
    node = NodeProcess(tmp_path / "node", "--use-live-runners")
    pin = f"pin:{node.certificate}"
    async with node, orchd_beside(node, tmp_path / "orchd", instance, orchestrator__certificate=pin) as daemon:
        scene = Scene(node, daemon)
        scene.write(FULL)
        await scene.true()
        yield scene
        await scene.end_jobs()


async def test_a_node_that_is_killed_twice_and_an_orchd_that_is_killed_between_in_the_middle_of_jobs(
    scene: Scene,
) -> None:
    await scene.begin_job()
    await scene.true({BATCH: 1})
    await scene.refused(BATCH)
    await scene.node.kill()
    await scene.end_jobs()
    await scene.node.start()
    await scene.true()

    await scene.begin_job()
    await scene.daemon.kill()
    await scene.end_jobs()
    await scene.daemon.start()
    await scene.true()

    await scene.node.kill()
    await scene.unreachable()
    await scene.node.start()
    await scene.true()
    assert set((await scene.node.state())["registrations"].values()) == {1}


async def test_an_absent_node_with_another_certificate_and_an_orchd_that_is_killed_and_sees_its_file_edited(
    scene: Scene,
) -> None:
    await scene.node.fault("leave")
    await scene.unreachable()
    await scene.node.fault("certificate")
    await scene.daemon.kill()
    scene.write({BATCH: 2, GUEST: 1})
    await scene.daemon.start()
    await scene.unreachable()
    await scene.node.fault("come_back")
    await scene.true()

    await scene.node.fault("certificate")
    scene.write(FULL)
    await scene.true()


async def test_both_are_killed_while_a_stream_runs_and_the_node_hangs_and_fails_when_it_is_back(scene: Scene) -> None:
    """The node that is back has forgotten the stream, and its stop would never come."""
    await scene.start_stream()
    await scene.true({CAM: 1})
    await scene.refused(CAM)
    await scene.node.kill()
    await scene.daemon.kill()
    await scene.daemon.start()
    await scene.node.start()
    await scene.node.fault("fail")
    await scene.unreachable()
    await scene.node.fault("fail", on=0)
    await scene.true()
    assert (await scene.node.stop_stream(CAM, "camera"))[0] == 200

"""Realtime video from Livepeer's own Python SDK through a session of Live Runner's to a real PyTrickle, and back.

The client brings no media URLs. However it ends, nothing is left: no stream in the container, no slot, no channel.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import pytest_asyncio

from tests.e2e.beside import GO_LIVEPEER_0_10, LIVEPEER_NODE, NodeProcess, orchd_beside
from tests.e2e.daemon import Daemon
from tests.e2e.environments import PYTRICKLE, SDK
from tests.e2e.realtime import BLUE, inverted, name, need, pytrickle
from tests.e2e.sdk_user import SdkUser, sdk_user

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODEL = "one"
PATIENT_NODE = replace(LIVEPEER_NODE, flags=(*LIVEPEER_NODE.flags, "--heartbeat-ttl", "900s"))
"""By default it ends the sessions of an orchd that is away for 30 s: on a busy machine a start may take that long."""
START_URLS = ("publish_url", "subscribe_url", "control_url", "events_url", "data_url")


class Stage:
    """A node, an orchd with one PyTrickle, and clients."""

    def __init__(self, node: NodeProcess, daemon: Daemon) -> None:
        self.node, self.daemon = node, daemon

    @asynccontextmanager
    async def client(self) -> AsyncIterator[SdkUser]:
        """Start one that must get its video back; nothing of it may be left in the end."""
        async with sdk_user(self.node.url, name(MODEL), BLUE) as client:
            yield client
        await self.nothing_left(client.told["channels"])

    async def nothing_left(self, channels: Iterable[str]) -> None:
        await self.daemon.until_model(
            MODEL, "is ready and free", lambda m: m["ready"] and not m["sessions"]["active"] and not m["streams"]
        )

        async def is_offered() -> bool:
            found = (await self.node.runners()).get(name(MODEL))
            return found is not None and (found["capacity"], found["capacity_used"]) == (1, 0)

        async def is_idle() -> bool:
            address = (await self.daemon.model(MODEL))["runners"][0]["address"]
            async with self.daemon.client.get(f"{address}/stream/status") as answer:
                return not (await answer.json())["client_active"]

        async def no_channel() -> bool:
            return {await self.channel(url) for url in channels} <= {404}

        await self.daemon.until("the model is offered again", is_offered)
        await self.daemon.until("no stream is left in the container", is_idle)
        await self.daemon.until("no channel is left", no_channel)

    async def channel(self, url: str) -> int:
        return (await self.node.call("GET", f"{url}/next"))[0]

    async def starts(self) -> tuple[int, list[str]]:
        """Return the container's pid, and the streams that it was asked to start."""
        runner = (await self.daemon.model(MODEL))["runners"][0]
        async with self.daemon.client.get(f"{runner['address']}/seen") as answer:
            found = await answer.json()
            return found["pid"], found["starts"]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    need(PYTRICKLE)
    need(SDK)
    folder, entry = tmp_path_factory.mktemp("live"), pytrickle(MODEL)
    instance = f"t-live-{secrets.token_hex(4)}"
    async with (
        NodeProcess(folder / "node", program=PATIENT_NODE) as node,
        orchd_beside(node, folder / "orchd", instance, entry, streams__idle_s="1") as daemon,
    ):
        stage = Stage(node, daemon)
        await stage.nothing_left(())
        yield stage


async def goes_well(stage: Stage) -> None:
    async with stage.client() as client:
        session = client.told["session"]
        assert client.told["manifest"] == session
        assert len({*client.told["channels"]}) == len(START_URLS)
        shown = await stage.daemon.model(MODEL)
        assert [(s["id"], s["origin"], s["phase"]) for s in shown["streams"]] == [(session, "live-runner", "running")]
        assert shown["sessions"]["active"] == 1
        await client.until("the container has said something", lambda: "send_first_processed_segment" in client.events)
        await client.do('params {"keep": 0}')
        await client.shows((inverted(BLUE)[0], 0, 0))
        await client.do("end")
        assert (await stage.starts())[1][-1] == name(MODEL)


async def test_video_comes_back_and_an_update_a_stop_and_the_end_of_the_session_reach_the_container(
    stage: Stage,
) -> None:
    await goes_well(stage)


async def test_a_client_that_ends_its_session_alone_leaves_nothing(stage: Stage) -> None:
    async with stage.client() as client:
        await client.do("close")


async def test_a_container_that_dies_leaves_nothing_and_the_next_one_serves(stage: Stage) -> None:
    async with stage.client():
        pid, _ = await stage.starts()
        os.kill(pid, signal.SIGKILL)
        await stage.daemon.until_model(MODEL, "is not served", lambda model: not model["ready"])
    assert (await stage.starts())[0] != pid


async def test_a_stream_outlives_a_kill_of_orchd_is_found_again_and_leaves_nothing(stage: Stage) -> None:
    async with stage.client() as client:
        await stage.daemon.kill()
        await client.shows(inverted(BLUE))
        await stage.daemon.start()
        found = await stage.daemon.until_model(MODEL, "has found its stream", lambda model: model["streams"])
        assert [(s["id"], s["phase"]) for s in found["streams"]] == [(client.told["session"], "running")]
        assert found["sessions"]["active"] == 1
        await client.shows(inverted(BLUE))
        await client.do("end")


async def test_a_node_that_dies_leaves_nothing(stage: Stage) -> None:
    async with stage.client():
        await stage.node.kill()
        await stage.node.start()


async def test_it_is_the_same_at_go_livepeer_in_its_place(stage: Stage) -> None:
    await stage.node.kill()
    stage.node.program = GO_LIVEPEER_0_10
    await stage.node.start()
    await stage.nothing_left(())
    await goes_well(stage)

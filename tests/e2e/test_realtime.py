"""Realtime video from a gateway through the node and orchd to a real PyTrickle 0.1.6, and back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import docker
import pytest
import pytest_asyncio

from orchd.tasks import cancel, spawn
from tests.conftest import cannot_run
from tests.doubles.shared.clock import RealClock
from tests.doubles.shared.trickle_clients import NEXT, Publisher, subscribe
from tests.doubles.shared.trickle_server import TrickleServer, serving
from tests.e2e.beside import LIVE_RUNNERS, Media, NodeProcess, orchd_beside
from tests.e2e.daemon import PATIENCE_S, ROOT, Daemon
from tests.e2e.environments import PYTRICKLE
from tests.e2e.realtime import BLUE, ORANGE, Colour, boxed, inverted, name, near, need, pytrickle

pytestmark = pytest.mark.asyncio(loop_scope="module")

MEDIA = ROOT / "tests" / "e2e" / "pytrickle_media.py"
SIZE = {"width": 128, "height": 96}
# Seconds of video; they are sent several times as fast.
SEGMENTS = 400
SEND_EVERY_S = 0.25


@pytest.fixture(scope="module")
def environment() -> None:
    """PyTrickle."""
    need(PYTRICKLE)


@pytest.fixture(scope="module")
def clips(environment: None, tmp_path_factory: pytest.TempPathFactory) -> dict[Colour, list[bytes]]:
    """Segments by colour."""
    found: dict[Colour, list[bytes]] = {}
    for colour in (BLUE, ORANGE):
        folder = tmp_path_factory.mktemp("clip")
        said = ("make", str(folder), str(SEGMENTS), ",".join(map(str, colour)))
        subprocess.run([PYTRICKLE.python, MEDIA, *said], check=True)
        found[colour] = [(folder / f"{number}.ts").read_bytes() for number in range(SEGMENTS)]
    return found


class Stage:
    """One node, one orchd, and a gateway with video."""

    def __init__(self, node: NodeProcess, daemon: Daemon, clips: dict[Colour, list[bytes]]) -> None:
        self.node, self.daemon, self._clips = node, daemon, clips

    async def start(self, model_id: str, stream: str, **body: Any) -> tuple[int, str, Media]:
        return await self.node.start_stream(name(model_id), stream, params={**SIZE, "name": stream}, **body)

    async def stop(self, model_id: str, stream: str) -> None:
        assert (await self.node.stop_stream(name(model_id), stream))[0] == 200

    @asynccontextmanager
    async def stream(self, model_id: str, stream: str, colour: Colour = BLUE) -> AsyncIterator[Processed]:
        """Start a stream that must begin, and feed it; in the end it is stopped."""
        status, text, media = await self.start(model_id, stream)
        assert status == 200, text
        async with self.fed(media, colour) as processed:
            try:
                yield processed
            finally:
                await self.stop(model_id, stream)

    @asynccontextmanager
    async def fed(self, media: Media, colour: Colour = BLUE) -> AsyncIterator[Processed]:
        """Send video all the time; the value has what comes back."""
        async with Publisher(media.publish_url) as publisher:
            feeding = spawn(self._feed(publisher, self._clips[colour]), name="feed")
            try:
                yield Processed(media.subscribe_url)
            finally:
                await cancel(feeding)

    @staticmethod
    async def _feed(publisher: Publisher, segments: list[bytes]) -> None:
        for segment in segments:
            await publisher.publish(segment)
            await asyncio.sleep(SEND_EVERY_S)

    async def free(self, model_id: str, most: int) -> None:
        """Wait until a model is ready, no slot of it is taken, and both of the node's registries offer them all."""
        await self.daemon.until_model(
            model_id, "is ready and free", lambda m: m["ready"] and not m["sessions"]["active"] and not m["streams"]
        )

        async def offered() -> bool:
            registries = await self.node.capabilities(), await self.node.runners()
            return [at.get(name(model_id), {}).get("capacity") for at in registries] == [most, most]

        await self.daemon.until(f"{model_id} is offered with {most} slots", offered)

    async def seen(self, model_id: str, replica: int = 0) -> dict[str, Any]:
        """Return what the runner itself tells, past orchd: its pid, and the streams that it was asked to start."""
        runner = (await self.daemon.model(model_id))["runners"][replica]
        async with self.daemon.client.get(f"{runner['address']}/seen") as answer:
            found: dict[str, Any] = await answer.json()
            return found


class Processed:
    """What a stream's output channel gives."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def colours(self) -> list[list[int]]:
        """Return the mean colour of each frame of a segment that begins from now on."""
        async with asyncio.timeout(PATIENCE_S), contextlib.aclosing(subscribe(self._url, NEXT)) as segments:
            _, data = await anext(segments)
        process = await asyncio.create_subprocess_exec(
            *(PYTRICKLE.python, MEDIA, "colours", "/dev/stdin"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate(data)
        assert process.returncode == 0
        frames: list[list[int]] = json.loads(out)
        return frames

    async def shows(self, colour: Colour) -> None:
        """Fail unless all frames have this colour."""
        frames = await self.colours()
        assert frames
        assert all(near(frame, colour) for frame in frames), frames

    async def will_show(self, colour: Colour) -> None:
        """Wait until all frames have this colour."""
        async with asyncio.timeout(PATIENCE_S):
            while not all(near(frame, colour) for frame in await self.colours()):
                pass


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage(clips: dict[Colour, list[bytes]], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder = tmp_path_factory.mktemp("realtime")
    entries = (pytrickle("one"), pytrickle("two", replicas=2, maxSessions=2))
    async with (
        NodeProcess(folder / "node", LIVE_RUNNERS) as node,
        orchd_beside(
            node, folder / "orchd", f"t-realtime-{secrets.token_hex(4)}", *entries, streams__idle_s="1"
        ) as daemon,
    ):
        stage = Stage(node, daemon, clips)
        await stage.free("one", 1)
        await stage.free("two", 2)
        yield stage


async def test_video_comes_back_processed_and_an_update_reaches_the_model(stage: Stage) -> None:
    async with stage.stream("one", "first") as processed:
        await processed.shows(inverted(BLUE))
        shown = await stage.daemon.model("one")
        assert [(s["id"], s["origin"], s["phase"]) for s in shown["streams"]] == [("first", "byoc", "running")]
        assert shown["sessions"]["active"] == 1
        assert (await stage.node.update_stream(name("one"), "first", keep=0))[0] == 200
        await processed.will_show((inverted(BLUE)[0], 0, 0))
    await stage.free("one", 1)

    async def counted() -> bool:
        return int((await stage.node.capabilities())[name("one")]["load"]) == 0

    await stage.daemon.until("the node counts as we do", counted)
    for _ in range(2):
        await stage.stop("one", "first")  # A gateway may stop three times.
    assert (await stage.seen("one"))["starts"] == ["first"]


async def test_a_stream_that_is_started_again_goes_on_and_its_container_hears_of_it_once(stage: Stage) -> None:
    """PyTrickle would replace it silently."""
    async with stage.stream("one", "repeated") as processed:
        await processed.shows(inverted(BLUE))
        status, text, _ = await stage.start("one", "repeated")
        assert (status, "stream_running" in text) == (503, True), text
        await processed.shows(inverted(BLUE))
        assert (await stage.seen("one"))["starts"].count("repeated") == 1
    await stage.free("one", 1)


async def test_of_two_streams_one_replica_takes_one(stage: Stage) -> None:
    async with stage.stream("one", "alone") as processed:
        status, text, _ = await stage.start("one", "too-much")
        assert (status, "capacity_exhausted" in text) == (503, True), text
        await processed.shows(inverted(BLUE))
    await stage.free("one", 1)
    assert "too-much" not in (await stage.seen("one"))["starts"]


async def test_two_replicas_take_two_streams_and_keep_them_apart(stage: Stage) -> None:
    async with stage.stream("two", "left", BLUE) as blue, stage.stream("two", "right", ORANGE) as orange:
        assert (await stage.start("two", "third"))[0] == 503
        await blue.shows(inverted(BLUE))
        await orange.shows(inverted(ORANGE))
        await stage.stop("two", "left")
        await orange.shows(inverted(ORANGE))
    await stage.free("two", 2)


async def test_a_container_that_dies_in_the_middle_gives_its_slot_back_and_the_next_one_serves(stage: Stage) -> None:
    async with stage.stream("one", "doomed") as processed:
        await processed.shows(inverted(BLUE))
        pid = (await stage.seen("one"))["pid"]
        os.kill(pid, signal.SIGKILL)
        await stage.daemon.until_model("one", "is not served", lambda model: not model["ready"])
        assert (await stage.start("one", "meanwhile"))[0] >= 400
        await stage.free("one", 1)
    assert (await stage.seen("one"))["pid"] != pid
    async with stage.stream("one", "after") as processed:
        await processed.shows(inverted(BLUE))
    await stage.free("one", 1)


async def test_a_stream_outlives_a_kill_of_orchd_and_is_found_and_counted_again(stage: Stage) -> None:
    async with stage.stream("one", "kept") as processed:
        await processed.shows(inverted(BLUE))
        pid = (await stage.seen("one"))["pid"]
        await stage.daemon.kill()
        await processed.shows(inverted(BLUE))
        await stage.daemon.start()
        found = await stage.daemon.until_model("one", "has found its stream", lambda model: model["streams"])
        assert [(s["id"], s["origin"], s["phase"]) for s in found["streams"]] == [("kept", "byoc", "running")]
        assert found["sessions"]["active"] == 1
        status, text, _ = await stage.start("one", "one-more")
        assert (status, "capacity_exhausted" in text) == (503, True), text
        await processed.shows(inverted(BLUE))
        assert (await stage.seen("one"))["pid"] == pid
    await stage.free("one", 1)


async def test_a_start_with_dead_media_frees_its_slot_when_the_container_gives_up(stage: Stage) -> None:
    dead = "http://127.0.0.1:9/none"
    status, text, _ = await stage.start("one", "dead", subscribe_url=dead, publish_url=dead, control_url=dead)
    assert status == 200, text
    assert (await stage.daemon.model("one"))["sessions"]["active"] == 1
    await stage.free("one", 1)
    await stage.stop("one", "dead")
    async with stage.stream("one", "alive") as processed:
        await processed.shows(inverted(BLUE))
    await stage.free("one", 1)


async def test_a_session_of_live_runner_carries_a_stream_until_the_node_lets_it_go(stage: Stage) -> None:
    """Here a container has to bring its media URLs itself: PyTrickle gets them of another trickle server."""
    status, text = await stage.node.call("POST", (await stage.node.listed(name("one")))["url"])
    assert status == 200, text
    session = json.loads(text)
    trickle = TrickleServer(RealClock(), prefix="/")
    for channel in ("in", "out"):
        trickle.create(channel, "video/mp2t")
    async with serving(trickle) as url:
        media = Media(f"{url}/in", f"{url}/out")
        body = {
            "gateway_request_id": "live",
            "subscribe_url": media.publish_url,
            "publish_url": media.subscribe_url,
            "params": {**SIZE, "name": "live"},
        }
        async with stage.fed(media) as processed:
            status, text = await stage.node.call("POST", f"{session['app_url']}/stream/start", json=body)
            assert status == 200, text
            await processed.shows(inverted(BLUE))
            shown = (await stage.daemon.model("one"))["streams"]
            assert [(s["id"], s["origin"], s["phase"]) for s in shown] == [
                (session["session_id"], "live-runner", "running")
            ]
            assert (await stage.start("one", "byoc-too"))[0] == 503, "the slot is one, whoever asks"
            assert (await stage.node.call("POST", f"{session['control_url']}/stop"))[0] == 204
            await stage.free("one", 1)

    async def idle() -> bool:
        address = (await stage.daemon.model("one"))["runners"][0]["address"]
        async with stage.daemon.client.get(f"{address}/health") as got:
            return bool((await got.json())["status"] == "IDLE")

    await stage.daemon.until("the container is idle", idle)


@pytest.mark.docker
async def test_a_container_reaches_the_media_by_the_hosts_name(
    clips: dict[Colour, list[bytes]], api: docker.APIClient, network: str, instance: str, tmp_path: Path
) -> None:
    """The node tells containers `host.docker.internal` (-liveAITrickleHostForRunner), and orchd makes it the host."""
    if sys.version_info[:2] != (3, 11):
        cannot_run("another Python than the base image's 3.11")  # PyTrickle's packages are for one.
    node = NodeProcess(tmp_path / "node", LIVE_RUNNERS, host="0.0.0.0", runners_say="host.docker.internal")
    beside = orchd_beside(node, tmp_path / "orchd", instance, boxed("boxed"), docker=True, docker__network=network)
    async with node, beside as daemon:
        try:
            stage = Stage(node, daemon, clips)
            await stage.free("boxed", 1)
            async with stage.stream("boxed", "inside") as processed:
                await processed.shows(inverted(BLUE))
            await stage.free("boxed", 1)
        finally:
            await daemon.kill()
            for found in api.containers(all=True, filters={"label": f"orchd.instance={instance}"}):
                api.remove_container(found["Id"], v=True, force=True)

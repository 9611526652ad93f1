"""Docker Engine comes late, falls silent, loses its event stream, restarts: orchd goes on, says so, and heals."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.conftest import cannot_run
from tests.docker_images import runner_image
from tests.e2e.conftest import Start
from tests.e2e.daemon import PATIENCE_S, Daemon
from tests.e2e.engines import Dockerd, Proxy
from tests.e2e.scripts import container, process

pytestmark = pytest.mark.docker

NEVER = "3600"
IMPATIENT = {"docker.call_timeout_s": "2"}


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[Proxy]:
    async with Proxy(tmp_path / "docker.sock") as proxy:
        yield proxy


async def docker_is(daemon: Daemon, up: bool) -> str:
    """Wait until orchd says that the engine is up or down, and return the reason it gives."""
    seen: dict[str, Any] = {}

    async def so() -> bool:
        [runtime] = [one for one in (await daemon.status())["runtimes"] if one["kind"] == "container"]
        seen.update(runtime)
        return bool(runtime["up"] is up)

    async def told() -> bool:
        return await daemon.metric("orchd_runtime_up", runtime="container") == int(up)

    await daemon.until(f"the engine is {'up' if up else 'down'}", so)
    await daemon.until("the metric says so, too", told)
    return str(seen["detail"])


async def test_an_engine_that_comes_later(docked: Start, proxy: Proxy) -> None:
    """Everything else works meanwhile; nothing that the engine lacks is held against an entry."""
    async with docked(env={"DOCKER_HOST": proxy.url}, settings={"reconcile.failure_limit": "1"}) as daemon:
        daemon.write(container("boxed"), process("bare"), container("cold", warm=False))
        await daemon.until_state("bare", "ready")
        assert (await daemon.job("bare"))[0] == 200
        reason = await docker_is(daemon, up=False)
        place = f"Docker Engine at {proxy.url}"
        assert reason == f"cannot reach {place}: No such file or directory; does it run? DOCKER_HOST names another"
        assert (await daemon.get("/readyz"))[0] == 200
        for name in ("boxed", "cold"):
            status, body, headers = await daemon.job(name)
            assert (status, headers["Livepeer-Error"]) == (503, "not_ready")
            assert reason in json.loads(body)["message"]
        _, page = await daemon.command("status", *daemon.flags("admin.listen"))
        assert "The container runtime is down" in page
        assert len(daemon.events("runtime_down")) == 1, "said once, not at every look"
        assert daemon.events("event_stream_lost") == []

        await proxy.start()
        model = await daemon.until_state("boxed", "ready")
        assert (await daemon.job("boxed"))[0] == 200
        assert (await daemon.job("cold"))[0] == 200
        assert model["runners"][0]["restarts"] == 0
        assert await docker_is(daemon, up=True) == ""


async def test_an_engine_that_never_answers_delays_neither_the_start_nor_other_models_nor_the_end(
    docked: Start, tmp_path: Path
) -> None:
    """It takes connections and says nothing, and orchd would wait for an hour."""
    asked = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        with contextlib.closing(writer):
            await reader.read()

    door = tmp_path / "silent.sock"
    server = await asyncio.start_unix_server(say_nothing, door)
    daemon = docked(env={"DOCKER_HOST": f"unix://{door}"}, settings={"docker.call_timeout_s": "3600"})
    daemon.write(container("boxed"), process("bare"))
    async with daemon:
        await daemon.until("it says that it is ready", lambda: daemon.events("orchd_ready"))
        await daemon.until_state("bare", "ready")
        assert (await daemon.job("bare"))[0] == 200
        await daemon.until("the engine was asked", asked.is_set)
        daemon.write(process("bare"), process("other"))
        await daemon.until_state("other", "ready")
    assert daemon.process is not None
    assert daemon.process.returncode == 0
    server.close()


async def test_an_engine_that_comes_later_and_belongs_to_another_daemon(
    docked: Start, proxy: Proxy, api: docker.APIClient, instance: str
) -> None:
    """It ends as it would have at its start: with exit code 2, its reason, its own processes, and nothing else."""
    async with docked("first") as first:
        first.write(container("m"))
        handle = (await first.until_state("m", "ready"))["runners"][0]["handle"]
        second = docked("second", env={"DOCKER_HOST": proxy.url})
        second.write(container("m"), process("bare"))
        await second.start()
        await second.until_state("bare", "ready")
        await proxy.start()
        assert second.process is not None
        async with asyncio.timeout(PATIENCE_S):
            assert await second.process.wait() == 2
        last = second.log_text().strip().splitlines()[-1]
        assert last.startswith(f"orchd: cannot run the instance {instance} on Docker Engine at {proxy.url}: process ")
        assert second.events("orchd_stopped")
        assert (await first.job("m"))[0] == 200
        assert [one["Id"] for one in api.containers(filters={"label": f"orchd.instance={instance}"})] == [handle]


async def test_an_engine_that_hangs_or_goes_while_its_containers_serve(
    docked: Start, proxy: Proxy, api: docker.APIClient
) -> None:
    """Jobs go on, nothing is restarted, and an edit made meanwhile is brought about afterwards."""
    await proxy.start()
    async with docked(env={"DOCKER_HOST": proxy.url}, settings=IMPATIENT) as daemon:
        daemon.write(container("m"))
        handle = (await daemon.until_state("m", "ready"))["runners"][0]["handle"]

        proxy.silent = "HTTP/1.1"
        reason = await docker_is(daemon, up=False)
        assert reason.startswith(f"cannot get an answer from Docker Engine at {proxy.url} in time"), reason
        assert (await daemon.job("m"))[0] == 200
        proxy.silent = ""
        await docker_is(daemon, up=True)

        await proxy.stop()
        await docker_is(daemon, up=False)
        daemon.write(container("m"), container("new"))
        await daemon.until_model("new", "waits for the engine", lambda m: "Docker Engine" in m.get("reason", ""))
        assert (await daemon.job("m"))[0] == 200
        await proxy.start()
        await daemon.until_state("new", "ready")
        model = await daemon.model("m")
        assert (model["runners"][0]["handle"], model["runners"][0]["restarts"]) == (handle, 0)
        assert [one["after"] for one in model["history"]].count("ready") == 1
        assert api.inspect_container(handle)["State"]["Running"]


async def test_an_engine_that_falls_silent_in_the_middle_of_a_launch(docked: Start, proxy: Proxy) -> None:
    """It is not the entry's fault: nothing counts as a failure, and nothing is there twice in the end."""
    await proxy.start()
    settings = {**IMPATIENT, "reconcile.failure_limit": "1"}
    async with docked(env={"DOCKER_HOST": proxy.url}, settings=settings) as daemon:
        await docker_is(daemon, up=True)
        for step in ("/containers/create", "/start"):
            proxy.silent = step
            daemon.write(container("m", env={"STEP": step}))
            await daemon.until_model(
                "m",
                f"got stuck at {step}",
                lambda m: any("Docker Engine" in one["why"] for one in m.get("history", ())),
            )
            proxy.silent = ""
            model = await daemon.until_state("m", "ready")
            assert model["runners"][0]["restarts"] == 0
            assert (await daemon.job("m"))[0] == 200
            daemon.write()
            await daemon.until_model("m", "is gone", lambda m: not m)


async def test_a_silent_event_stream_costs_only_time(docked: Start, proxy: Proxy, api: docker.APIClient) -> None:
    """The stream stays open and says nothing: the periodic look sees what died."""
    await proxy.start()
    proxy.silent = "/events"
    async with docked(env={"DOCKER_HOST": proxy.url}) as daemon:
        daemon.write(container("m"))
        before = (await daemon.until_state("m", "ready"))["runners"][0]["handle"]
        api.kill(before)
        model = await daemon.until_model("m", "is back", lambda m: m["ready"] and m["runners"][0]["handle"] != before)
        assert any("it exited with code 137" in one["why"] for one in model["history"])
        assert await daemon.metric("orchd_runtime_events_total", runtime="container") == 0


async def test_a_lost_event_stream_is_taken_up_again(docked: Start, proxy: Proxy, api: docker.APIClient) -> None:
    """The periodic look is switched off here: only the new stream can tell of a death."""
    await proxy.start()
    async with docked(env={"DOCKER_HOST": proxy.url}, settings={"reconcile.period_s": NEVER}) as daemon:
        daemon.write(container("m"))
        before = (await daemon.until_state("m", "ready"))["runners"][0]["handle"]
        await proxy.cut()
        await daemon.until("the loss was told", lambda: daemon.events("event_stream_lost"))
        await daemon.until("there is a new stream", lambda: proxy.streams == 2)
        api.kill(before)
        await daemon.until_model("m", "is back", lambda m: m["ready"] and m["runners"][0]["handle"] != before)
        assert await daemon.metric("orchd_runtime_events_total", runtime="container", event="die") == 1


async def test_containers_that_die_with_their_engine_are_started_anew(
    docked: Start, needs: Callable[[str], str]
) -> None:
    for program in ("dockerd", "ip", "nsenter"):
        needs(program)
    if os.geteuid() != 0:
        cannot_run("no root, for a Docker Engine of the test's own")
    async with Dockerd() as engine:
        await asyncio.to_thread(engine.load, runner_image())
        async with docked(env={"DOCKER_HOST": engine.url}, settings={"on_stop": "stop"}) as daemon:
            daemon.write(container("m"))
            before = (await daemon.until_state("m", "ready"))["runners"][0]["handle"]
            await engine.stop()
            await docker_is(daemon, up=False)
            # Whether orchd saw the container end before the engine went is a matter of milliseconds.
            reasons = ("cannot reach Docker Engine at ", "it fails its health probes")
            await daemon.until_model("m", "is not ready", lambda m: not m["ready"] and m["reason"].startswith(reasons))
            status, _, headers = await daemon.job("m")
            assert (status, headers["Livepeer-Error"]) == (503, "not_ready")

            await engine.start()
            model = await daemon.until_state("m", "ready")
            assert model["runners"][0]["handle"] != before
            assert (await daemon.job("m"))[0] == 200
            with engine.api() as api:
                assert len(api.containers(all=True)) == 1

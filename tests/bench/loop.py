"""What the loop takes: from an edit to a runner, from a death to a model that is not ready, and to start again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import docker

from tests.bench.report import Section, spread
from tests.bench.waits import Json, all_ready, fresh_daemon, none_left, started
from tests.docker_images import RUNNER
from tests.e2e.daemon import Daemon

HEAD = ("", "median", "range")
DOCKER_SECTIONS = ("From the saved file to a container", "From a container's death to not ready", "Start-up")


async def edit_to_process(daemon: Daemon, times: int) -> Section:
    """Measure with a daemon that knows no model."""
    took_ms = []
    for number in range(times):
        stamp = daemon.folder / f"started-{number}"
        command = ["/bin/sh", "-c", f"date +%s.%N > {stamp}; exec sleep 600"]
        saved_at = time.time()
        daemon.write(_entry(number, {"command": command}))

        def written(stamp: Path = stamp) -> str:
            return stamp.read_text() if stamp.exists() else ""

        took_ms.append((float(await daemon.until("the process runs", written)) - saved_at) * 1000)
        daemon.write()
        await none_left(daemon)
    return Section(
        "From the saved file to a process",
        f"A model is added to aiModels.json; until its program's first line has run ({times} times).",
        HEAD,
        (spread("running", took_ms, "ms", 0),),
    )


@contextlib.asynccontextmanager
async def docker_daemon(folder: Path, client: docker.APIClient) -> AsyncIterator[Daemon]:
    """A daemon on the engine; in the end nothing of it is left there."""
    daemon = fresh_daemon(folder, docker=True)
    try:
        await daemon.start()
        yield daemon
    finally:
        await daemon.end()
        code, text = await daemon.command("down", *daemon.flags())
        for network in client.networks(filters={"label": f"orchd.instance={daemon.instance}"}):
            client.remove_network(network["Id"])
        assert code == 0, text


async def edit_to_container(daemon: Daemon, client: docker.APIClient, times: int) -> Section:
    """Measure with a daemon that knows no model."""
    created_ms, started_ms = [], []
    for number in range(times):
        saved_at = time.time()
        daemon.write(_container(number))
        runner = await started(daemon, f"m-{number}")
        created_ms.append((_event_at(client, runner["handle"], "create", saved_at) - saved_at) * 1000)
        started_ms.append((_event_at(client, runner["handle"], "start", saved_at) - saved_at) * 1000)
        daemon.write()
        await none_left(daemon)
    return Section(
        DOCKER_SECTIONS[0],
        f"A model whose image is there is added to aiModels.json; until the engine's events ({times} times).",
        HEAD,
        (spread("created", created_ms, "ms", 0), spread("started", started_ms, "ms", 0)),
    )


async def death_to_not_ready(daemon: Daemon, client: docker.APIClient, times: int) -> Section:
    """Measure with a daemon that knows no model; each model dies once."""
    daemon.write(*map(_container, range(times)))
    took_ms = []
    for model in await all_ready(daemon, times):
        [runner] = model["runners"]
        killed_at = time.time()
        client.kill(runner["handle"])

        async def left_ready(model_id: str = model["model_id"]) -> float | None:
            found = next(each for each in (await daemon.status())["models"] if each["model_id"] == model_id)
            return next((each["at"] for each in found["history"] if each["before"] == "ready" != each["after"]), None)

        not_ready_at = await daemon.until("the model is not ready", left_ready)
        took_ms.append((not_ready_at - _event_at(client, runner["handle"], "die", killed_at)) * 1000)
    daemon.write()
    await none_left(daemon)
    return Section(
        DOCKER_SECTIONS[1],
        f"`docker kill` of a ready model's container; from the engine's event until no session begins ({times} times).",
        HEAD,
        (spread("not ready", took_ms, "ms", 0),),
    )


async def start_up(daemon: Daemon, count: int, times: int) -> Section:
    """Measure with a daemon that knows no model: it is ended and started again."""
    empty_s = [(await _restarted(daemon, 0))[0] for _ in range(times)]
    daemon.write(*map(_container, range(count)))
    before = _handles(await all_ready(daemon, count))
    listening_s, ready_s = zip(*[await _restarted(daemon, count) for _ in range(times)], strict=True)
    assert _handles(await all_ready(daemon, count)) == before, "adopted, not started anew"
    return Section(
        DOCKER_SECTIONS[2],
        f"From exec of `orchd run` after an orderly end, which keeps {count} containers to adopt ({times} times).",
        HEAD,
        (
            spread("listening, nothing to adopt", empty_s, "s", 2),
            spread(f"listening, {count} to adopt", listening_s, "s", 2),
            spread(f"all {count} adopted and ready", ready_s, "s", 2),
        ),
    )


async def _restarted(daemon: Daemon, count: int) -> tuple[float, float]:
    """End and start it; return after how many seconds it listened, and was ready with `count` models."""
    await daemon.end()
    began = time.perf_counter()
    await daemon.start()
    listening = time.perf_counter() - began
    if count:
        await all_ready(daemon, count)
    return listening, time.perf_counter() - began


def _handles(models: list[Json]) -> set[str]:
    return {runner["handle"] for model in models for runner in model["runners"]}


def _event_at(client: docker.APIClient, container: str, name: str, since: float) -> float:
    """Return the Unix time of the first such event of the container."""
    events = client.events(
        since=int(since), until=int(time.time()) + 1, filters={"container": container, "event": name}, decode=True
    )
    return float(min(event["timeNano"] for event in events)) / 1e9


def _container(number: int) -> Json:
    return _entry(number, {"image": RUNNER, "pull": "never"})


def _entry(number: int, launch: Json) -> Json:
    return {"pipeline": "bench", "model_id": f"m-{number}", **launch, "warm": True, "price_per_unit": 0}

"""What the recorded files need beside their own steps: the node's flags, its past, what went on between requests.

For the on-chain files see `stages_onchain`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp

from tests.doubles.golivepeer.replay import Replay, Stage
from tests.doubles.shared.caller import Answer
from tests.doubles.shared.recordings import Differs, eventually, expect, load

SECRET = {"Authorization": "s3cret"}


async def post(replay: Replay, target: str, body: Mapping[str, Any], *, listener: str = "service") -> Answer:
    """Send JSON with the orchestrator's secret; worker addresses in it are the recorded ones."""
    answer = await replay.exchange(listener, "POST", target, SECRET, replay.ours(json.dumps(body)).encode())
    expect(answer.status, 200, f"preparing with {target}")
    return answer


async def register(replay: Replay, name: str, capacity: int, **more: Any) -> None:
    await post(
        replay, "/capability/register", {"name": name, "url": "http://127.0.0.1:9901", "capacity": capacity, **more}
    )


async def register_static(replay: Replay) -> None:
    entry = {
        "label": "one",
        "routing": "label",
        "runner_url": "http://127.0.0.1:9901",
        "health_url": "/health",
        "app": "a",
    }
    await post(replay, "/registerLiveRunners", {"runners": [entry]}, listener="cli")


# byoc-job.json


async def four_at_once(replay: Replay, step: Mapping[str, Any]) -> None:
    """Four jobs, each longer than an upsert that comes while they run."""
    job = next(s for s in load("byoc-job.json") if s["step"] == "job")
    header = {"Livepeer": job["request"]["headers"]["Livepeer"]}
    asleep = replay.worker.sleeping
    async with asyncio.TaskGroup() as tasks:
        jobs = [
            tasks.create_task(replay.send("service", "POST", "/process/request/sleep1", header, b"{}"))
            for _ in range(4)
        ]
        await eventually(lambda: replay.worker.sleeping == asleep + 4, "all four are at the worker")
        await register(replay, "echo/one", 1, token="tok1")
        await replay.clock.advance(1.0)
    expect([job.result().status for job in jobs], step["statuses"], "statuses")
    _, peak = replay.worker.take()
    expect(peak, step["peak_concurrency_at_worker"], "most jobs at once")
    free = replay.node.byoc.capabilities["echo/one"].free
    expect(free, step["available_capacity_after_all_ended"], "free slots")


# byoc-connections.json


async def big_body(replay: Replay, step: Mapping[str, Any]) -> None:
    await register(replay, "raw/close", 2)
    job = next(s for s in load("byoc-connections.json") if s["step"].startswith("caller hangs up"))
    header = {"Livepeer": job["request"]["headers"]["Livepeer"]}
    size = int("".join(char for char in step["step"] if char.isdigit()))
    answer = await replay.exchange("service", "POST", "/process/request/x", header, b"x" * size)
    expect((answer.status, answer.text), (step["response"]["status"], step["response"]["body"]), "answer")


# restart.json


async def before_restart(replay: Replay) -> None:
    await register(replay, "echo/one", 2)
    await register_static(replay)
    sentinel = "/setPriceForBroadcaster?broadcasterEthAddr=0x00000000000000000000000000000000deadbeef"
    await replay.exchange("cli", "GET", f"{sentinel}&pricePerUnit=5&pixelsPerUnit=1", {}, b"")
    replay.known["certificate before"] = await _fingerprint(replay)


async def _fingerprint(replay: Replay) -> str:
    port = int(replay.node.service_url.rpartition(":")[2])
    served = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(served)).hexdigest()


async def killed_and_started(replay: Replay, step: Mapping[str, Any]) -> None:
    """The recorded order: CLI port, registry, service port."""
    await replay.node.kill()
    await replay.node.start()
    for listener, target in (("cli", "/status"), ("service", "/healthz")):
        expect((await replay.exchange(listener, "GET", target, {}, b"")).status, 200, target)
    answer = await replay.exchange("cli", "POST", "/registerLiveRunners", {}, b'{"runners": []}')
    if answer.status == 404:
        raise Differs("live runners are not there")
    expect(min(step["seen"], key=step["seen"].get), "cli answers", "what comes first")


async def certificate_changed(replay: Replay, step: Mapping[str, Any]) -> None:
    same = await _fingerprint(replay) == replay.known["certificate before"]
    expect(same, step["before"] == step["after"], "the certificate stayed")


# live-runner-dynamic.json


async def three_at_once(replay: Replay, step: Mapping[str, Any]) -> None:
    asleep = replay.worker.sleeping
    async with asyncio.TaskGroup() as tasks:
        jobs = [
            tasks.create_task(replay.send("service", "POST", "/apps/orchd-one/app/sleep1", {}, b"{}")) for _ in range(3)
        ]
        await eventually(lambda: sum(job.done() for job in jobs) == 2, "two are refused")
        await eventually(lambda: replay.worker.sleeping == asleep + 1, "one is at the worker")
        meanwhile = await replay.send("service", "GET", "/discovery", {}, b"")
        await replay.clock.advance(1.0)
    answers = sorted((job.result().status, job.result().text) for job in jobs)
    expect(answers, sorted((a["status"], a["body"]) for a in step["answers"]), "answers")
    expect(meanwhile.text, step["discovery_meanwhile"], "discovery")
    expect(replay.worker.take()[1], step["peak_concurrency_at_worker"], "most jobs at once")


# live-runner-dynamic-more.json


async def websocket_runner(replay: Replay) -> None:
    runner = {
        "runner_id": "orchd-ws",
        "runner_url": "http://127.0.0.1:9901",
        "app": "echo/ws",
        "mode": "single-shot",
        "capacity": 1,
    }
    await post(replay, "/runners/heartbeat", runner)


async def websocket(replay: Replay, step: Mapping[str, Any]) -> None:
    url = replay.node.service_url + "/apps/orchd-ws/app/ws"
    headers = {"Authorization": "Bearer c"}
    async with aiohttp.ClientSession() as client, client.ws_connect(url, ssl=False, headers=headers) as socket:
        await socket.send_str("hello")
        expect((await socket.receive_str()), "hello", "echo")
    replay.saw(step)
    await eventually(lambda: replay.node.connections == 0, "the WebSocket is closed")


# live-runner-static.json


async def unhealthy(replay: Replay, step: Mapping[str, Any]) -> None:
    """Health is polled about every 5 s: hidden after the next poll, not before."""
    replay.worker.health_status = 500
    start = replay.clock.now()
    while '"runners"' in (await replay.exchange("service", "GET", "/discovery", {}, b"")).text:
        await replay.clock.advance(0.5)
        if replay.clock.now() - start > 6:
            raise Differs("still listed after 6 s")
    assert step["hidden_after_seconds"] <= 6


async def healthy_again(replay: Replay) -> None:
    replay.worker.health_status = 200
    await replay.clock.advance(5.5)


async def one_slow_probe(replay: Replay) -> None:
    replay.worker.health_delay_s = 3.5
    await replay.clock.advance(9.0)
    replay.worker.health_delay_s = 0.0
    await replay.clock.advance(6.0)


async def just_before_a_sweep(replay: Replay) -> None:
    """The recorded sweep came between 20.1 and 21.6 s after the heartbeat."""
    await replay.clock.advance(4.0)


STAGES: dict[str, Stage] = {
    "byoc-job.json": Stage(
        instead={
            "4 jobs at once against capacity 1; one upsert of the same capability while they run": four_at_once,
        }
    ),
    "byoc-connections.json": Stage(instead={"job with a body of 41,943,040 bytes": big_body}),
    "restart.json": Stage(
        prepare=before_restart,
        instead={
            "process killed and started again; seconds until each was seen": killed_and_started,
            "sha256 of the server certificate": certificate_changed,
        },
    ),
    "live-runner-dynamic.json": Stage(instead={"3 jobs at once against capacity 1": three_at_once}),
    "live-runner-dynamic-more.json": Stage(
        prepare=websocket_runner,
        instead={"WebSocket through /apps/orchd-ws/app/ws; the runner saw": websocket},
    ),
    "live-runner-expiry.json": Stage(prepare=just_before_a_sweep),
    "live-runner-static.json": Stage(
        before={
            "one failed check and one good one later: the session is gone": healthy_again,
            "one probe slower than 3 s: the session is gone": one_slow_probe,
        },
        instead={"health_url turned 500; discovery polled every 0.1 s": unhealthy},
    ),
}

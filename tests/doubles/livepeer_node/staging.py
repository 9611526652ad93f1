"""What several stages need: to register and read beside the recorded requests, and to have work under way."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.doubles.livepeer_node.kit import SECRET
from tests.doubles.livepeer_node.replay import RawConnection, Replay
from tests.doubles.shared.caller import Answer
from tests.doubles.shared.recordings import Differs, eventually, expect

TOKEN = "Livepeer-Session-Token"
LISTED_S = 0.2
"""How exactly the recordings know when discovery changed."""


async def register(replay: Replay, runner_id: str, *, secret: str = "", **said: Any) -> str:
    """Send a heartbeat with the recorded worker's address; return the runner's secret."""
    entry = {"runner_id": runner_id, "runner_url": "http://127.0.0.1:9901", "app": "echo/one", "version": "1"} | said
    bearer = {"Authorization": secret} if secret else SECRET
    body = replay.ours(json.dumps(entry)).encode()
    answer = await replay.send("service", "POST", "/runners/heartbeat", bearer, body)
    expect(answer.status, 200, f"registering {runner_id}")
    found: str = json.loads(answer.text).get("heartbeat_secret", secret)
    return found


async def get(replay: Replay, target: str, listener: str = "service") -> Answer:
    return await replay.send(listener, "GET", target, {})


async def reserve(replay: Replay, runner_id: str) -> str:
    answer = await replay.send("service", "POST", f"/apps/{runner_id}/session", {})
    expect(answer.status, 200, f"reserving {runner_id}")
    found: str = json.loads(answer.text)["session_id"]
    return found


async def working(replay: Replay, target: str, listener: str = "service") -> asyncio.Task[Answer]:
    """Begin a job that sleeps at a worker; it is there when this returns."""
    workers = (replay.worker, replay.second)
    asleep = sum(worker.sleeping for worker in workers)
    job = asyncio.get_running_loop().create_task(replay.send(listener, "POST", target, {}, b"{}"))
    await eventually(lambda: sum(worker.sleeping for worker in workers) > asleep, "the job is at the worker")
    return job


def learn_token(replay: Replay, name: str) -> None:
    """The session's token came to a worker with the last request there."""
    seen = replay.worker.take()[0] or replay.second.take()[0]
    if not seen:
        raise Differs("no request came to a worker")
    replay.known[name] = dict(seen[-1].headers)[TOKEN]


async def session_of(replay: Replay, stream: RawConnection, runner_id: str, session: str, path: str) -> None:
    """Ask for an SSE answer of a session; its first event is there when this returns."""
    head = f"POST /apps/{runner_id}/session/{session}/app/{path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    stream.write(head.encode())
    await stream.until("data: ")

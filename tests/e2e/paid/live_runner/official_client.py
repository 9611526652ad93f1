"""A client with Livepeer's Python SDK, in `environments.SDK`: it finds an orchestrator's models, and pays for them.

ORCHESTRATOR SIGNER LIVE JOB FIXED   names of a model of sessions, of jobs by the second, and of jobs for a fixed sum

It prints a JSON object a line, and goes on at each line of its standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from livepeer_gateway import (  # type: ignore[import-not-found]
    call_runner,
    discover_runners,
    reserve_session,
    runner_selector,
)

TIMEOUT_S = 60.0
"""Its own is 5 s, and the machine may be busy."""


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


async def told() -> None:
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def session(orchestrator: str, signer: str, app: str) -> None:
    async with await reserve_session(
        orchestrators=[orchestrator], signer_url=signer, app=app, timeout=TIMEOUT_S
    ) as held:
        answer = await call_runner(f"{held.app_url}/echo", payload={"say": "hello"}, timeout=TIMEOUT_S)
        say(session=held.session_id, app_url=held.app_url, target=answer.data["target"])
        await told()
        answer = await call_runner(f"{held.app_url}/echo", payload={}, timeout=TIMEOUT_S)
        say(released=held.released, paying=not held._payment_task.done(), target=answer.data["target"])
    say(closed=True)


async def job(orchestrator: str, signer: str, app: str) -> None:
    [candidate] = (await runner_selector(orchestrators=[orchestrator], app=app)).candidates
    done = await call_runner(runner=candidate, payload={"say": "hello"}, signer_url=signer, timeout=TIMEOUT_S)
    say(job=app, length=done.data["length"], headers=[name for name, _ in done.data["headers"]])


async def streamed_job(orchestrator: str, signer: str, app: str) -> None:
    [candidate] = (await runner_selector(orchestrators=[orchestrator], app=app)).candidates
    async with await call_runner(runner=candidate, payload={}, signer_url=signer, stream=True) as stream:
        lines = [line async for line in stream.aiter_lines() if line]
        say(stream=len(lines), released=stream.released)


async def main(orchestrator: str, signer: str, live: str, by_second: str, fixed: str) -> None:
    found = await discover_runners(discovery_url=f"{orchestrator}/discovery")
    say(apps=sorted(runner["app"] for entry in found for runner in entry["runners"]))
    listed = await discover_runners(signer_url=signer)
    say(listed=sorted(runner["app"] for entry in listed for runner in entry["runners"]))
    await session(orchestrator, signer, live)
    for app in (by_second, fixed):
        await job(orchestrator, signer, app)
    await told()
    await streamed_job(orchestrator, signer, by_second)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

"""A client of Live Runner's as `docs/how-to/realtime.md` has one, with Livepeer's Python SDK, in `environments.SDK`.

ORCHESTRATOR APP R,G,B [SIGNER]   reserve a session of the app there, start a stream, send frames of one colour

It prints a JSON object a line: {"session", "app_url", "channels"} of each stream, {"frame": [r, g, b]} for each that
comes back, and {"event": type, "why"}. On stdin it takes a line `params JSON`, `again` (the stream, in the same
session), `end` (the stream and the session, and itself), or `close` (the session alone, and itself). It answers
{"done": word}.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import traceback
from collections.abc import Coroutine
from fractions import Fraction
from pathlib import Path
from typing import Any

import av  # type: ignore[import-not-found]
from livepeer_gateway import (  # type: ignore[import-not-found]
    LiveRunnerSession,
    LiveVideoToVideo,
    MediaPublishConfig,
    VideoOutputConfig,
    call_runner,
)

WIDTH, HEIGHT, RATE = 128, 96, 10
# Its own is 5 s, and a container may need longer to begin.
TIMEOUT_S = 60.0
LAST = ("again", "end", "close")
PAGE: dict[str, Any] = {}
_TEXT = (Path(__file__).parents[2] / "docs" / "how-to" / "realtime.md").read_text()
exec(re.findall(r"^```python\n(.*?)^```$", _TEXT, re.MULTILINE | re.DOTALL)[0], PAGE)


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


async def send(job: LiveVideoToVideo, colour: tuple[int, ...]) -> None:
    config = MediaPublishConfig(tracks=[VideoOutputConfig(fps=RATE, keyframe_interval_s=1.0)])
    media = job.start_media(config)
    number = 0
    while True:
        frame = av.VideoFrame(WIDTH, HEIGHT, "rgb24")
        frame.planes[0].update(bytes(colour) * (WIDTH * HEIGHT))
        frame.pts, frame.time_base = number, Fraction(1, RATE)
        await media.write_frame(frame)
        number += 1
        await asyncio.sleep(1 / RATE)


async def show(job: LiveVideoToVideo) -> None:
    async with job.media_output() as output:
        async for decoded in output.frames():
            if decoded.kind == "video":
                shown = bytes(decoded.frame.reformat(format="rgb24").planes[0])
                say(frame=[round(sum(shown[n::3]) / len(shown[n::3])) for n in range(3)])


async def tell(job: LiveVideoToVideo) -> None:
    async for event in job.events():
        said = event.get("event", event)
        say(event=said.get("type", "?"), why=said.get("reason"))


async def as_long_as_it_lasts(work: Coroutine[Any, Any, None]) -> None:
    """Carry it out. What it can't overcome, a restart of the orchestrator for one, does not end the others."""
    try:
        await work
    except Exception:  # noqa: BLE001 - whatever the SDK raises
        traceback.print_exc()


async def obey(session: LiveRunnerSession, job: LiveVideoToVideo, sending: asyncio.Task[None]) -> str:
    """Do what is said on stdin until that ends the stream; return the word that did."""
    loop = asyncio.get_running_loop()
    while line := str(await loop.run_in_executor(None, sys.stdin.readline)):
        word, _, rest = line.strip().partition(" ")
        if word in LAST:  # `write_frame` raises as soon as the job's close has begun.
            sending.cancel()
            await asyncio.wait((sending,))
        if word == "params":
            await call_runner(f"{session.app_url}/stream/params", payload=json.loads(rest), timeout=TIMEOUT_S)
        elif word == "end":
            await PAGE["end"](session, job)
        elif word == "close":
            await job.close()
            await session.aclose()
        if word != "again":
            say(done=word)
        if word in LAST:
            return word
    return ""


async def main(orchestrator: str, app: str, colour: tuple[int, ...], signer: str | None = None) -> None:
    params = {"width": WIDTH, "height": HEIGHT, "name": app}
    session, job = await PAGE["start"](orchestrator, app, params, signer)
    while True:
        channels = [job.publish_url, job.subscribe_url, job.control_url, job.events_url, job.raw["data_url"]]
        say(session=session.session_id, manifest=job.manifest_id, app_url=session.app_url, channels=channels)
        async with asyncio.TaskGroup() as others:
            works = (send(job, colour), show(job), tell(job))
            tasks = [others.create_task(as_long_as_it_lasts(work)) for work in works]
            word = await obey(session, job, tasks[0])
            for task in tasks:
                task.cancel()
        if word != "again":
            return
        job = await PAGE["again"](session, job, params)
        say(done=word)


async def run() -> None:
    orchestrator, app, colour, *signer = sys.argv[1:]
    try:
        await main(orchestrator, app, tuple(map(int, colour.split(","))), *signer)
    except Exception as exc:  # noqa: BLE001 - told to the test, whatever it is
        traceback.print_exc()
        say(failed=repr(exc))
    finally:
        os._exit(0)  # The SDK's threads would go on.


if __name__ == "__main__":
    asyncio.run(run())

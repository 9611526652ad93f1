"""What node-o2r.json needs: a reader of the event channel, one request a segment, that waits at the live edge."""

from __future__ import annotations

import asyncio

from tests.doubles.livepeer_node.replay import Replay, Stage
from tests.doubles.shared.caller import Answer
from tests.doubles.shared.recordings import Step, eventually, expect

CLOSED = "Lp-Trickle-Closed"


class Reader:
    """Reads a channel from segment 0 to its end."""

    def __init__(self, replay: Replay, channel: str) -> None:
        self._replay = replay
        self._channel = channel
        self.got: list[Answer] = []
        self.shown = 0
        """How many of them a step has compared."""
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while not self.got or self.got[-1].header(CLOSED) is None:
            target = f"/ai/trickle/{self._channel}/{len(self.got)}"
            self.got.append(await self._replay.send("service", "GET", target, {}))

    def waits(self) -> bool:
        """Whether it waits for the next segment at the live edge."""
        channel = self._replay.node.trickle.channels.get(self._channel)
        segment = channel.held(len(self.got)) if channel is not None else None
        return segment is not None and bool(segment.watchers)


_READERS: dict[Replay, Reader] = {}


def name_of(replay: Replay, runner_id: str) -> str:
    return replay.live.events[runner_id].name


async def reading(replay: Replay) -> None:
    """The reader began before the first session, and waits again before each step that makes an event."""
    if replay not in _READERS:
        _READERS[replay] = Reader(replay, name_of(replay, "orchd-two"))
    reader = _READERS[replay]
    if not reader.task.done():
        await eventually(reader.waits, "the reader waits")


async def keep_alive(replay: Replay, step: Step) -> None:
    """Let time pass up to the recorded moment of the last segment."""
    await replay.clock.advance(step["segments"][-1]["after_seconds"] - replay.clock.now())
    await got(replay, step)


async def got(replay: Replay, step: Step) -> None:
    """Compare with the last segments that the reader has."""
    reader, segments = _READERS[replay], step["segments"]
    if segments:
        last = segments[-1]["segment"]
        await eventually(lambda: len(reader.got) > last, f"segment {last} was read")
    expect(len(reader.got), segments[-1]["segment"] + 1 if segments else reader.shown, "segments")
    for one in segments:
        replay.same(one["response"], reader.got[one["segment"]])
    reader.shown = len(reader.got)
    if step.get("reader_ended"):
        await reader.task
        del _READERS[replay]


async def four_more_jobs(replay: Replay) -> None:
    for _ in range(4):
        answer = await replay.exchange("service", "POST", "/apps/orchd-three/app/x", {}, b"{}")
        expect(answer.status, 200, "a job")


STAGES: dict[str, Stage] = {
    "node-o2r.json": Stage(
        before={
            "reserve": reading,
            "stop": reading,
            "o2r: anybody may publish": reading,
            "unregister with two sessions while the reader waits": reading,
            "five jobs done: next": four_more_jobs,
        },
        instead={
            "o2r read from segment 0 on, one request a segment": keep_alive,
            "what the reader got": got,
        },
    )
}

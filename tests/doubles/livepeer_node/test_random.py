"""Random stories, time jumping: whatever callers, runners and the node itself do, nothing is left behind by it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest

from orchd.tasks import cancel
from tests.chaos.jumping import run_jumping
from tests.doubles.livepeer_node.kit import SECRET, TOKEN
from tests.doubles.livepeer_node.node import Node
from tests.doubles.livepeer_node.settings import NodeSettings
from tests.doubles.livepeer_node.worker import Worker
from tests.doubles.shared.clock import RealClock
from tests.soak import examples

STEPS = 100
RUNNERS = ("s1", "s2", "p1", "p2")
PATHS = ("x", "sleep3", "sleep70", "sse", "endless", "break", "garbage", "early2", "trailer")


class Story:
    """Attributes:
    secrets: heartbeat secrets by runner.
    sessions: those that a client believes to have: runner and id.
    under_way: requests that nobody waits for.
    """

    def __init__(self, node: Node, worker: Worker, client: aiohttp.ClientSession, seed: int) -> None:
        self.node, self.worker, self.client = node, worker, client
        self.random = random.Random(seed)
        self.secrets: dict[str, str] = {}
        self.sessions: list[tuple[str, str]] = []
        self.under_way: set[asyncio.Task[None]] = set()

    async def say(self, method: str, target: str, body: object = None, **headers: str) -> tuple[int, str]:
        """Status and text; 0 = there was no answer."""
        try:
            data = None if body is None else json.dumps(body)
            async with self.client.request(method, self.node.service_url + target, data=data, headers=headers) as got:
                return got.status, await got.text()
        except (aiohttp.ClientError, OSError):
            return 0, ""

    def begin(self, method: str, target: str) -> None:
        async def run() -> None:
            await self.say(method, target, {} if method == "POST" else None)

        task = asyncio.get_running_loop().create_task(run())
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)

    def runner(self) -> str:
        return self.random.choice(RUNNERS)

    # What happens.

    async def beats(self) -> None:
        for name in RUNNERS:
            if self.random.random() < 0.8:
                await self.beat(name)

    async def beat(self, name: str) -> None:
        entry = {
            "runner_id": name,
            "app": "x",
            "runner_url": f"http://127.0.0.1:{self.worker.port}",
            "mode": "single-shot" if name.startswith("s") else "persistent",
            "capacity": self.random.randint(1, 4),
            "status": self.random.choice(("ready",) * 9 + ("loading",)),
        }
        secret = self.secrets.get(name, SECRET["Authorization"])
        status, text = await self.say("POST", "/runners/heartbeat", entry, Authorization=secret)
        if status == 200:
            self.secrets[name] = json.loads(text).get("heartbeat_secret", secret)
        elif status == 401:
            self.secrets.pop(name, None)

    async def job(self) -> None:
        self.begin("POST", f"/apps/{self.runner()}/app/{self.random.choice(PATHS)}")

    async def reserve(self) -> None:
        name = self.runner()
        status, text = await self.say("POST", f"/apps/{name}/session")
        if status == 200:
            self.sessions.append((name, json.loads(text)["session_id"]))

    async def use(self) -> None:
        if self.sessions:
            name, session = self.random.choice(self.sessions)
            self.begin("POST", f"/apps/{name}/session/{session}/app/{self.random.choice(PATHS)}")

    async def channel(self) -> None:
        for runner in self.node.live_runners.registry.runners():
            for session in tuple(runner.sessions.values()):
                wanted = {"channels": [{"name": f"n{self.random.randint(0, 5)}"}]}
                target = f"/runner/{runner.runner_id}/session/{session.session_id}/channels"
                await self.say("POST", target, wanted, **{TOKEN: session.token})

    async def listen(self) -> None:
        for name in self.node.trickle.channels.names():
            self.begin("GET", f"/ai/trickle/{name}/{self.random.choice((0, -1, -2))}")

    async def silence(self) -> None:
        for events in list(self.node.live_runners.events.values())[:1]:
            await self.say("POST", f"/ai/trickle/{events.name}/-1", {})

    async def stop(self) -> None:
        if self.sessions:
            name, session = self.sessions.pop(self.random.randrange(len(self.sessions)))
            await self.say("POST", f"/apps/{name}/session/{session}/stop")

    async def unregister(self) -> None:
        name = self.runner()
        await self.say("POST", f"/runners/{name}/unregister", Authorization=self.secrets.get(name, ""))

    async def callers_leave(self) -> None:
        await cancel(*self.random.sample(sorted(self.under_way, key=id), len(self.under_way) // 2))

    async def restart(self) -> None:
        await self.random.choice((self.node.kill, self.node.stop))()
        await self.node.start()

    async def away(self) -> None:
        await self.node.leave()
        await asyncio.sleep(2)
        await self.node.come_back()

    async def time_passes(self) -> None:
        await asyncio.sleep(self.random.choice((0.1, 1, 4)))

    async def silent_runners(self) -> None:
        await asyncio.sleep(self.random.choice((29, 31, 36)))

    async def live(self) -> None:
        often: list[Callable[[], Awaitable[None]]] = [self.beats, self.job, self.reserve, self.use, self.time_passes]
        seldom = [self.channel, self.listen, self.silence, self.stop, self.unregister, self.callers_leave]
        seldom += [self.restart, self.away]
        seldom += [self.silent_runners]
        for _ in range(STEPS):
            await self.random.choice(often if self.random.random() < 0.85 else seldom)()
            self.check()

    # What must be so.

    def check(self) -> None:
        registry, names = self.node.live_runners.registry, set(self.node.trickle.channels.names())
        runners = {runner.runner_id: runner for runner in registry.runners()}
        assert set(self.node.live_runners.events) == set(runners)
        channels = {name for r in runners.values() for s in r.sessions.values() for name in s.channels.values()}
        assert names <= channels | {events.name for events in self.node.live_runners.events.values()}
        single_shot = sum(len(runner.sessions) for name, runner in runners.items() if name.startswith("s"))
        assert single_shot <= self.node.places.taken["stream"], "a job's session outlived the job"
        for shown in self.node.live_runners.offered():
            runner = runners[shown["url"].split("/")[4]]
            assert shown["capacity_used"] == len(runner.sessions) < shown["capacity"]

    async def end(self) -> None:
        """All callers go, all runners fall silent: the node is as it was."""
        await cancel(*self.under_way)
        await asyncio.sleep(80)
        assert self.node.places.taken == {"stream": 0, "control": 0}
        assert self.node.live_runners.registry.session_count == 0
        assert self.node.trickle.channels.names() == ()


@contextlib.asynccontextmanager
async def story(seed: int) -> AsyncIterator[Story]:
    clock = RealClock()
    worker = Worker(clock)
    await worker.start()
    granted = f"127.0.0.1:{worker.port}"
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=None)
    try:
        async with (
            Node(NodeSettings(runner_grants=(granted,)), clock) as node,
            aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(force_close=True, limit=0)) as client,
        ):
            yield Story(node, worker, client, seed)
    finally:
        await worker.stop()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(examples(40)))
def test_nothing_is_left_behind_whatever_happens(seed: int) -> None:
    async def live() -> None:
        async with story(seed) as told:
            await told.live()
            await told.end()

    run_jumping(live())

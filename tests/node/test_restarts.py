"""Whatever the node does, each restart is counted once, and nothing else is: both programs, on the virtual clock."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchd.advertise.settings import OrchestratorSettings
from orchd.domain.offer import NodeProgram, NodeStatus
from orchd.node.identity import SWEPT_S
from orchd.node.ports import Discovered
from orchd.node.watch import NodeWatch
from orchd.tasks import cancel, spawn
from tests.fakes.stored import FakeSecretStore
from tests.node.tiny import TinyNode
from tests.soak import examples
from tests.virtual_time import run_virtual

GO, NODE = NodeProgram.GO_LIVEPEER, NodeProgram.LIVEPEER_NODE
BEAT_S, SETTLED_S = 5.0, 8.0
AGAIN_S = 1.0
"""From the node's answering to all runners' being known to it again."""

KINDS: tuple[dict[str, Any], ...] = (
    {"program": NODE},
    {"program": NODE, "tls": True},
    {"program": GO},
    {"program": GO, "tls": True},
    {"program": GO, "cli": True},
    {"program": GO, "tls": True, "cli": True},
)


@dataclass
class Runner:
    """One of ours, kept at the node by heartbeats as `live_runner` does it."""

    name: str
    credential: int | None = None
    taken_at: float = 0.0
    since: float = 0.0
    busy: bool = False


class Ours:
    """What orchd has beside the watch: it beats, and sees what is missing."""

    def __init__(self, node: TinyNode, watch: NodeWatch, count: int) -> None:
        self.node, self.watch = node, watch
        self.runners = [Runner(f"runner{number}") for number in range(count)]
        self.silent = False
        self._since = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        watch.polled.connect(self._polled)
        watch.discovered.connect(self._discovered)

    @property
    def all_known(self) -> bool:
        return all(runner.credential == self.node.known.get(runner.name) for runner in self.runners)

    async def run(self) -> None:
        while True:
            self._beat(self.runners)
            await asyncio.sleep(BEAT_S)

    def _polled(self, status: NodeStatus) -> None:
        if status.up and status.since != self._since:
            self._since = status.since
            self._beat(self.runners)

    def _discovered(self, found: Discovered) -> None:
        [listing] = found.answer.json()
        self._beat([r for r in self.runners if r.name not in listing["runners"] and r.since < found.asked_at])

    def _beat(self, runners: list[Runner]) -> None:
        for runner in runners:
            if not runner.busy and not self.silent:
                task = spawn(self._say(runner), name="beat")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _say(self, runner: Runner) -> None:
        runner.busy = True
        asked_at = asyncio.get_running_loop().time()
        if runner.credential is not None and await self.node.beat(runner.name, runner.credential) is False:
            self.watch.suspect(runner.taken_at)
            runner.credential, asked_at = None, asyncio.get_running_loop().time()
        if runner.credential is None:
            runner.credential = await self.node.register(runner.name)
            runner.since = asyncio.get_running_loop().time()
        if runner.credential is not None and self.node.reachable:
            runner.taken_at = asked_at
        runner.busy = False

    async def close(self) -> None:
        await cancel(*self._tasks)


class World:
    """Attributes:
    restarts: those that must have been counted.
    """

    def __init__(self, kind: dict[str, Any]) -> None:
        self.kind = kind
        self.restarts = 0
        self.node = TinyNode()
        self.node.start(**kind)
        rules = OrchestratorSettings.model_validate(
            {"service_url": "http://127.0.0.1:8935", "cli_url": "http://127.0.0.1:7935"}
        )
        self.watch = NodeWatch(self.node, FakeSecretStore(), rules)

    @property
    def blind(self) -> bool:
        """A go-livepeer that shows nothing by which to tell it from another."""
        return self.kind["program"] is GO and not self.shows_more

    @property
    def shows_more(self) -> bool:
        """Its certificate or a sentinel tells one process from another."""
        return bool(self.kind["program"] is GO and (self.kind.get("tls") or self.kind.get("cli")))

    async def step(self, name: str, seconds: float, ours: Ours) -> None:
        match name:
            case "restart":
                await self._away(seconds)
                self.node.start(**self.kind)
                self.restarts += 1
            case "away" if not self.blind:
                await self._away(seconds)
            case "replace":
                await self._away(seconds)
                other = {"program": GO if self.kind["program"] is NODE else NODE, "tls": self.kind.get("tls", False)}
                self.kind = other
                self.node.start(**self.kind)
                self.restarts += 1
            case "certificate" if self.kind["program"] is NODE or self.kind.get("cli"):
                self.node.certificate = f"renewed {seconds}"
            case "suspect":
                self.watch.suspect()
            case "swept":
                ours.silent = True
                await asyncio.sleep(SWEPT_S + 1)
                self.node.known.clear()
                ours.silent = False
            case "lost_one" if self.kind.get("cli"):
                self.node.known.pop(ours.runners[0].name, None)
        self.node.reachable = True

    async def _away(self, seconds: float) -> None:
        if seconds:
            self.node.reachable = False
            await asyncio.sleep(seconds)


STEPS = ("restart", "away", "replace", "certificate", "suspect", "swept", "lost_one")
happenings = st.lists(
    st.tuples(st.sampled_from(STEPS), st.sampled_from((0.0, 0.1, 0.9, 3.0, 40.0)), st.sampled_from((0.0, 0.5, None))),
    max_size=6,
)


async def _live(kind: dict[str, Any], count: int, story: list[tuple[str, float, float | None]]) -> None:
    world = World(kind)
    ours = Ours(world.node, world.watch, count)
    tasks = [spawn(world.watch.run(), name="watch"), spawn(ours.run(), name="ours")]
    try:
        await asyncio.sleep(SETTLED_S)
        assert world.watch.status.epoch == 1
        counted, since = 1, list[str]()
        for name, seconds, pause_s in story:
            since.append(name)
            await world.step(name, seconds, ours)
            if pause_s is not None:
                await asyncio.sleep(pause_s)
                continue
            if name in ("restart", "replace"):
                await asyncio.sleep(AGAIN_S)
                assert ours.all_known, "all is registered again in a second"
            await asyncio.sleep(SETTLED_S)
            status = world.watch.status
            assert status.up
            assert status.program is world.kind["program"]
            # What we were silent about for so long may have been forgotten without a restart, or with one.
            if "swept" not in since or since == ["swept"]:
                assert (status.epoch > counted) is (world.restarts > 0), "each restart is seen"
                assert status.epoch - counted <= world.restarts, "and nothing else is"
            counted, world.restarts, since = status.epoch, 0, []
    finally:
        await cancel(*tasks)
        await ours.close()


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(str(each) for each in kind.values()) + str(len(kind)))
def test_each_restart_is_counted_once_and_nothing_else(kind: dict[str, Any]) -> None:
    @settings(max_examples=examples(40), deadline=None)
    @given(count=st.integers(1, 3), story=happenings)
    @example(count=3, story=[(name, 0.0, None) for name in STEPS])
    @example(count=3, story=[("restart", 0.0, None), ("restart", 0.0, None), ("away", 3.0, None), ("swept", 0.0, None)])
    @example(
        count=1, story=[("away", 40.0, None), ("restart", 40.0, None), ("replace", 0.0, None), ("restart", 0.0, None)]
    )
    def live(count: int, story: list[tuple[str, float, float | None]]) -> None:
        run_virtual(_live(kind, count, story))

    live()

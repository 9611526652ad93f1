"""orchd, whole, beside a node that is killed, upgraded and replaced by another program; time jumps.

As in `world.py` the truth is read from the node and the containers. Here only what may be wrong after the node was
changed is looked at, and so how fast it must be right: within a second.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from orchd import tasks
from orchd.advertise.part import AdvertisePart
from orchd.domain.ids import ModelKey
from orchd.domain.offer import NodeProgram
from orchd.settings.tree import Settings
from tests.chaos.daemon import Orchd
from tests.chaos.entries import JOB_S
from tests.chaos.shelf import Shelf
from tests.chaos.site import SECRET, Program, Site
from tests.doubles.golivepeer.kit import job_header
from tests.doubles.shared.trickle_clients import trusting
from tests.ports import free_port

BYOC, LIVE_RUNNER = "byoc", "live-runner"
BATCH, SESSION, SICKLY = (ModelKey("llm", f"acme/{name}") for name in ("batch", "session", "sickly"))
MOST = {BATCH: 3, SESSION: 1, SICKLY: 1}
"""Most sessions at once. Of BATCH at most one is a job of BYOC here, and one of Live Runner."""

OF_MODELS = ("runner_state",)
"""Events that tell what is so in these stories: a model is ill."""

LOOK_S = 0.05
"""How often it is looked whether something holds."""
AGAIN_S = 1.1
"""From the node's port being open to all being true, while orchd and its models are well: a second, and a look of ours
that came too early."""
RETURN_S = 15.0
"""The same from orchd's start, or from a change of a model's health: its probes come before it can be offered."""
STEADY_S = 3.0
CHECKED_S = 25.0
"""Longer than two of `CHECK_S`, and than go-livepeer keeps a silent runner."""
CHECK_S = 10


@dataclass
class Kind:
    """What a story begins with."""

    program: Program
    static: bool = False

    def __str__(self) -> str:
        return f"{self.program.value}, {'static' if self.static else 'dynamic'}"


def settings_of(kind: Kind, site: Site, secret: Path, folder: Path, jobs_port: int) -> Settings:
    return Settings.model_validate(
        {
            "models_file": str(folder / "aiModels.json"),
            "models_poll_s": 1,
            "state_dir": str(folder / "state"),
            "instance": "turns",
            "shutdown_drain_s": 5,
            "jobs": {"listen": [f"127.0.0.1:{jobs_port}"], "between_bytes_timeout_s": JOB_S},
            "admin": {"listen": "127.0.0.1:0"},
            "reconcile": {"failure_limit": 1000, "backoff_max_s": 5},
            "orchestrator": {
                "service_url": site.address,
                "cli_url": site.cli_url,
                "secret_file": str(secret),
                "callback_url": f"http://127.0.0.1:{jobs_port}",
                "live_runner": "static" if kind.static else "dynamic",
                "eth_usd": "3000",
                "check_s": CHECK_S,
            },
        }
    )


def entries() -> list[dict[str, Any]]:
    return [
        {
            "pipeline": key.pipeline,
            "model_id": key.model_id,
            "image": "some/image:1",
            "maxSessions": most,
            "warm": True,
            "price_per_unit": 7,
            "mode": "persistent" if key == SESSION else "single-shot",
            "inference": {"timeout_s": JOB_S},
        }
        for key, most in MOST.items()
    ]


@dataclass
class Turns:
    """Attributes:
    seen: starts of the node that this start of orchd must have seen.
    unproved: others, of which nothing is left to see.
    said: what orchd has logged of the node as a warning or worse since `said` was cleared.
    """

    kind: Kind
    site: Site
    orchd: Orchd
    shelf: Shelf
    client: aiohttp.ClientSession
    seen: int = 0
    unproved: int = 0
    said: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    _calls: set[asyncio.Task[int]] = field(default_factory=set)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    @property
    def now(self) -> float:
        return self._loop.time()

    def keep(self, _logger: object, level: str, event: MutableMapping[str, Any]) -> str:
        """Keep a line of orchd's log; after structlog's processors, in whatever thread."""
        line = f"{self.now:9.2f} s  {level} {dict(event)}"
        self.log.append(line)
        if level in ("warning", "error", "critical") and event["event"] not in OF_MODELS:
            self.said.append(line)
        raise structlog.DropEvent

    # What a gateway does.

    async def call(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
        """Return status and text; 0 = there was no answer."""
        url = path if path.startswith("http") else self.site.running.service_url + path
        try:
            async with self.client.post(url, json={}, headers=headers) as answer:
                return answer.status, await answer.text()
        except aiohttp.ClientError:
            return 0, ""

    async def begin(self, key: ModelKey, path: str, headers: dict[str, str] | None = None) -> None:
        """Begin a job that ends when its container is told so, and wait until it is there."""
        before = self.shelf.work(key)

        async def run() -> int:
            return (await self.call(path, headers))[0]

        call = tasks.spawn(run(), name=f"job of {key}")
        self._calls.add(call)
        await self.until(f"a job of {key} has begun", lambda: call.done() or self.shelf.work(key) > before, RETURN_S)
        assert not call.done(), f"a job of {key}, which is offered, got {call.result()}\n{self.picture()}"

    async def end_jobs(self) -> None:
        for container in self.shelf.containers.values():
            for finish in container.jobs:
                finish.set()
        await asyncio.gather(*self._calls)
        self._calls.clear()

    async def live_job(self, key: ModelKey) -> None:
        await self.begin(key, self.site.runners()[str(key)]["url"] + "/x")

    async def byoc_job(self, key: ModelKey) -> None:
        await self.begin(key, "/process/request/x", job_header(str(key), timeout_seconds=JOB_S))

    async def session(self) -> None:
        """Reserve one, and have one request served in it."""
        status, text = await self.call(self.site.runners()[str(SESSION)]["url"])
        assert status == 200, f"a session of {SESSION}, which is offered, got {status} {text}\n{self.picture()}"
        await self.begin(SESSION, json.loads(text)["app_url"] + "/x")
        await self.end_jobs()

    async def end_sessions(self) -> None:
        for runner in self.site.running.live_runners.registry.runners():
            for session in list(runner.sessions) if runner.entry.app == str(SESSION) else ():
                await self.call(f"/apps/{runner.runner_id}/session/{session}/stop")

    # What is there, and what should be.

    def taken(self, key: ModelKey) -> int:
        """Return how many slots are taken, in truth."""
        return self.site.sessions(str(key)) if key == SESSION else self.shelf.work(key)

    def servable(self) -> set[str]:
        """Return what has a slot free, by name."""
        return {str(key) for key, most in MOST.items() if key not in self.shelf.sick and self.taken(key) < most}

    def well(self) -> set[str]:
        return {str(key) for key in MOST if key not in self.shelf.sick}

    @property
    def unspoken(self) -> bool:
        """Static registration needs a CLI port, which Livepeer Node has not."""
        return self.kind.static and self.site.program.is_livepeer_node

    def offered(self) -> dict[str, tuple[set[str], set[str]]]:
        """Return what is offered, and what should be, by registry."""
        program, runners = self.site.program, self.site.runners()
        free = {app for app, shown in runners.items() if shown["capacity"] > shown["capacity_used"]}
        return {
            LIVE_RUNNER: (free, set() if self.unspoken else self.servable()),
            BYOC: (self.site.capabilities(), self.well() if program is Program.GO_0_9 else set()),
        }

    def true(self) -> bool:
        """What is offered is what can be served; orchd says so, counts the same slots, and knows the program."""
        if any(found != should for found, should in self.offered().values()):
            return False
        if any(self.orchd.slots_taken(key) != self.taken(key) for key in MOST):
            return False
        assert self.orchd.app is not None
        node = self.orchd.app.part(AdvertisePart).advertiser.listings.node
        program = NodeProgram.LIVEPEER_NODE if self.site.program.is_livepeer_node else NodeProgram.GO_LIVEPEER
        told = "live_runner = static" in node.error if self.unspoken else node.error == ""
        return (node.up, node.program, told) == (True, program, True) and not self.doubts()

    def doubts(self) -> list[str]:
        """Return what orchd says is amiss, though it is well."""
        assert self.orchd.app is not None
        listings = self.orchd.app.part(AdvertisePart).advertiser.listings
        return [
            f"{registry} {key}: {how}"
            for registry, models in listings.published.items()
            for key, how in models.items()
            if not (self.unspoken and registry == LIVE_RUNNER)
            and (how.error or (how.wanted and (not how.published or how.confirmed is False)))
        ]

    # Invariants.

    async def until(self, what: str, holds: Callable[[], object], bound_s: float) -> None:
        end = self.now + bound_s
        while not holds():
            self.orchd.alive()
            assert self.now < end, f"{what}: not within {bound_s:g} s\n{self.picture()}"
            await asyncio.sleep(LOOK_S)

    async def check(self, bound_s: float) -> None:
        """Wait until all is true, and see that it stays so, that nothing is said against it, and no start is missed."""
        await self.until("all is true", self.true, bound_s)
        self.said.clear()
        await self.stays_true(STEADY_S)

    async def stays_true(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            assert self.true(), f"it was true, and then not\n{self.picture()}"
            await asyncio.sleep(LOOK_S * 5)
        assert not self.said, "said though all is well:\n" + "\n".join([*self.said, self.picture()])
        assert self.orchd.app is not None
        epoch = self.orchd.app.part(AdvertisePart).advertiser.listings.node.epoch
        most = self.seen + self.unproved
        assert self.seen <= epoch <= most, f"{epoch} starts seen of {self.seen} to {most}\n{self.picture()}"

    def picture(self) -> str:
        """Return everything that a person wants to know when it is wrong."""
        lines = [f"at {self.now:.2f} s; {self.site.program.value} up since {self.site.up_since}; began as {self.kind}"]
        lines += [f"{name} offers {sorted(f)}, should {sorted(s)}" for name, (f, s) in self.offered().items()]
        if self.orchd.app is not None:
            lines += [f"node for orchd: {self.orchd.app.part(AdvertisePart).advertiser.listings.node}", *self.doubts()]
            lines += [f"{key}: {self.orchd.slots_taken(key)} for orchd, {self.taken(key)} in truth" for key in MOST]
        return "\n".join([*lines, "what has happened:", *self.story, "what orchd said at last:", *self.log[-30:]])


@asynccontextmanager
async def some_turns(folder: Path, kind: Kind) -> AsyncIterator[Turns]:
    """Everything up, and true."""
    secret = folder / "orch-secret"
    secret.write_text(SECRET)
    (folder / "aiModels.json").write_text(json.dumps(entries()))
    jobs_port = free_port()
    site, shelf = Site(folder, jobs_port), Shelf(allowed=Counter(MOST))
    connector = aiohttp.TCPConnector(ssl=trusting(), force_close=True, limit=0)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:
        turns = Turns(kind, site, Orchd(settings_of(kind, site, secret, folder, jobs_port), shelf), shelf, client)
        structlog.configure(processors=[turns.keep])
        try:
            await site.start(kind.program)
            await turns.orchd.start()
            turns.seen, turns.unproved = 1, 0
            yield turns
        finally:
            structlog.reset_defaults()
            try:
                await turns.orchd.stop()
            finally:
                await site.end(politely=False)
                await shelf.clear()
                await tasks.cancel(*turns._calls)

"""An engine whose containers are small servers on the test's own loop. They outlive orchd, as Docker's do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection
from dataclasses import dataclass, field

from aiohttp import web

from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.model import Model, RunnerKind, StopSpec
from orchd.domain.ports import HostSeen, SightedAs, Sighting, StopReport
from orchd.domain.runs import EndedRun, LogView
from orchd.domain.runtime_id import RuntimeId
from orchd.domain.whereabouts import Whereabouts
from orchd.errors import LaunchError

DOCKER = RuntimeId(RunnerKind.CONTAINER)
HOST = HostSeen()


class Container:
    """A runner: each other POST is a job that lasts until it is told to end; a stream lasts from its start to its stop.

    Attributes:
        streams: ids that run here.
        jobs: under way; each ends when its event is set.
    """

    def __init__(self, shelf: Shelf, runner: RunnerId) -> None:
        self._shelf = shelf
        self._runner: web.AppRunner | None = None
        self.runner = runner
        self.status = SightedAs.CREATED
        self.port = 0
        self.streams: set[str] = set()
        self.jobs: set[asyncio.Event] = set()

    @property
    def address(self) -> Address | None:
        return Address("127.0.0.1", self.port) if self.status is SightedAs.RUNNING else None

    @property
    def work(self) -> int:
        return len(self.jobs) + len(self.streams)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_post("/stream/start", self._start)
        app.router.add_post("/stream/stop", self._stop)
        app.router.add_post("/{rest:.*}", self._job)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.status = SightedAs.RUNNING

    async def die(self) -> None:
        """End, as by a signal: every connection is cut."""
        self.status = SightedAs.EXITED
        self.streams.clear()
        if self._runner is not None:
            assert self._runner.server is not None
            for connection in self._runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()
            await self._runner.cleanup()
            self._runner = None

    async def _health(self, _request: web.Request) -> web.Response:
        if self.runner.key in self._shelf.sick:
            return web.json_response({"status": "ERROR"}, status=500)
        return web.json_response({"status": "OK" if self.streams else "IDLE"})

    async def _start(self, request: web.Request) -> web.Response:
        said = await request.json() if request.can_read_body else {}
        name = request.headers.get("Livepeer-Session-Id") or request.headers.get("X-Stream-Id") or str(said)
        self.streams.add(name)
        self._shelf.began(self.runner.key)
        return web.json_response({"status": "success"})

    async def _stop(self, request: web.Request) -> web.Response:
        name = request.headers.get("Livepeer-Session-Id") or request.headers.get("X-Stream-Id")
        if name is None:
            self.streams.clear()  # It carries one, and stops that.
        self.streams.discard(name or "")
        return web.json_response({"status": "success"})

    async def _job(self, request: web.Request) -> web.Response:
        await request.read()
        finish = asyncio.Event()
        self.jobs.add(finish)
        self._shelf.began(self.runner.key)
        try:
            await finish.wait()
        finally:
            self.jobs.discard(finish)
        return web.json_response({"ok": True})


@dataclass
class Shelf:
    """After `ports.Runtime`.

    Attributes:
        sick: models whose health is bad, whatever is started anew.
        allowed: most that may be at work at once, by model.
        too_many: said once for each time that more was at work.
    """

    id: RuntimeId = DOCKER
    host_seen: HostSeen = HOST
    sick: set[ModelKey] = field(default_factory=set)
    allowed: Counter[ModelKey] = field(default_factory=Counter)
    too_many: list[str] = field(default_factory=list)
    containers: dict[str, Container] = field(default_factory=dict)
    hurry: Callable[[], None] | None = None

    def of(self, key: ModelKey) -> list[Container]:
        """Return the running ones of a model."""
        return [c for c in self.containers.values() if c.runner.key == key and c.status is SightedAs.RUNNING]

    def work(self, key: ModelKey) -> int:
        """Return how many jobs and streams are at work for a model."""
        return sum(container.work for container in self.of(key))

    def began(self, key: ModelKey) -> None:
        if self.work(key) > self.allowed[key]:
            self.too_many.append(f"{self.work(key)} at work for {key}, where {self.allowed[key]} are allowed")

    async def crash(self, key: ModelKey) -> bool:
        """End the first container of a model behind orchd's back; return whether there was one."""
        found = self.of(key)[:1]
        for container in found:
            await container.die()
        if self.hurry is not None:
            self.hurry()
        return bool(found)

    async def clear(self) -> None:
        for container in self.containers.values():
            await container.die()

    # What orchd asks of it.

    async def open(self) -> None: ...

    async def sightings(self) -> tuple[Sighting, ...]:
        return tuple(
            Sighting(c.runner, handle, c.status, c.address, 137 if c.status is SightedAs.EXITED else None)
            for handle, c in self.containers.items()
        )

    async def prepare(self, model: Model, runner: RunnerId, progress: Callable[[str], None]) -> str:
        self.containers.setdefault(str(runner), Container(self, runner))
        return str(runner)

    async def check(self, model: Model, progress: Callable[[str], None]) -> None: ...

    async def start(self, handle: str) -> Address:
        container = self.containers.get(handle)
        if container is None:
            raise LaunchError(f"cannot start {handle}: it is gone")
        if container.status is not SightedAs.RUNNING:
            await asyncio.sleep(0.5)
            await container.start()
        assert container.address is not None
        return container.address

    async def resume(self, handle: str) -> None: ...

    async def stop(self, handle: str, stop: StopSpec) -> StopReport:
        container = self.containers.get(handle)
        if container is None or container.status is not SightedAs.RUNNING:
            return StopReport("already_gone")
        await container.die()
        return StopReport("signal", 0)

    async def remove(self, handle: str) -> None:
        if (container := self.containers.pop(handle, None)) is not None:
            await container.die()

    def whereabouts(self, handle: str) -> Whereabouts | None:
        return None

    async def why_unreachable(self, handle: str, model: Model, address: Address) -> str:
        return ""

    async def tail(self, handle: str, lines: int) -> tuple[str, ...]:
        return ()

    async def log(self, handle: str, view: LogView) -> AsyncGenerator[bytes, None]:
        yield b""

    async def keep_log(self, handle: str, run: EndedRun, secrets: Collection[str]) -> None: ...

    async def watch(self, hurry: Callable[[], None]) -> None:
        self.hurry = hurry
        await asyncio.Event().wait()

    async def close(self) -> None:
        self.hurry = None

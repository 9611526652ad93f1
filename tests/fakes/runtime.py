"""A Runtime in memory: keeps its containers over the death of a loop, as Docker does, and fails as it is told to."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Collection
from dataclasses import dataclass, field

from orchd.domain.ids import Address, RunnerId
from orchd.domain.model import ContainerLaunch, Model, RunnerKind, StopSpec
from orchd.domain.ports import HostSeen, SightedAs, Sighting, StopReport
from orchd.domain.runs import EndedRun, LogView
from orchd.domain.runtime_id import RuntimeId
from orchd.domain.whereabouts import Whereabouts
from orchd.errors import EngineUnavailable, LaunchError, LogGone, OrchdError

DOCKER = RuntimeId(RunnerKind.CONTAINER)
HOST = HostSeen()


@dataclass
class FakeContainer:
    handle: str
    runner: RunnerId
    status: SightedAs = SightedAs.CREATED
    port: int = 0
    exit_code: int | None = None
    oom_killed: bool = False
    on_network: bool = True
    host: str = "fake"

    @property
    def address(self) -> Address | None:
        runs = self.status in (SightedAs.RUNNING, SightedAs.PAUSED)
        return Address(self.host, self.port) if runs and self.on_network else None


@dataclass
class FakeRuntime:
    """Attributes:
    trouble: by image, what its prepare raises.
    bad_images: images whose prepare fails. `unstartable`: images whose start fails.
    delay_s: of each call, on the loop clock.
    calls: (name, runner or handle), in order.
    """

    id: RuntimeId = DOCKER
    delay_s: float = 0.1
    down: bool = False
    ignores_signals: bool = False
    last_words: tuple[str, ...] = ("a last word",)
    bad_images: set[str] = field(default_factory=set)
    unstartable: set[str] = field(default_factory=set)
    containers: dict[str, FakeContainer] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    trouble: dict[str, OrchdError] = field(default_factory=dict)
    kept: list[EndedRun] = field(default_factory=list)
    pulled: list[tuple[str, str]] = field(default_factory=list)
    hurry: Callable[[], None] | None = None
    host_seen: HostSeen = HOST
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def _call(self, name: str, what: str) -> None:
        self.calls.append((name, what))
        await asyncio.sleep(self.delay_s)
        if self.down:
            raise EngineUnavailable("cannot reach the fake engine: it was told to be down")

    def named(self, runner: RunnerId) -> FakeContainer | None:
        return next((c for c in self.containers.values() if c.runner == runner), None)

    def count(self, name: str) -> int:
        return sum(call == name for call, _ in self.calls)

    async def open(self) -> None:
        await self._call("open", "")

    async def sightings(self) -> tuple[Sighting, ...]:
        await self._call("sightings", "")
        return tuple(
            Sighting(c.runner, c.handle, c.status, c.address, c.exit_code, c.oom_killed)
            for c in self.containers.values()
        )

    async def prepare(self, model: Model, runner: RunnerId, progress: Callable[[str], None]) -> str:
        progress("pulling")
        await self._call("prepare", str(runner))
        assert isinstance(model.launch, ContainerLaunch)
        if (trouble := self.trouble.get(model.launch.image)) is not None:
            raise trouble
        if model.launch.image in self.bad_images:
            raise LaunchError(f"cannot pull {model.launch.image}: not found")
        if model.launch.pull == "always":
            self.pulled.append((model.launch.image, "prepare"))
        if (known := self.named(runner)) is not None:
            assert known.status is SightedAs.CREATED, f"prepared over a {known.status} container"
            return known.handle
        handle = f"c{next(self._ids)}"
        self.containers[handle] = FakeContainer(handle, runner)
        return handle

    async def check(self, model: Model, progress: Callable[[str], None]) -> None:
        progress("pulling")
        await self._call("check", str(model.key))
        assert isinstance(model.launch, ContainerLaunch)
        if model.launch.image in self.bad_images:
            raise LaunchError(f"cannot pull {model.launch.image}: not found")
        self.pulled.append((model.launch.image, "check"))

    async def start(self, handle: str) -> Address:
        await self._call("start", handle)
        if handle not in self.containers:
            raise LaunchError(f"cannot start {handle}: it is gone")
        container = self.containers[handle]
        if str(container.runner) in self.unstartable:
            raise LaunchError("cannot start: refused")
        container.status = SightedAs.RUNNING
        container.port = container.port or 10_000 + next(self._ids)
        assert container.address is not None
        return container.address

    async def resume(self, handle: str) -> None:
        await self._call("resume", handle)
        if handle in self.containers and self.containers[handle].status is SightedAs.PAUSED:
            self.containers[handle].status = SightedAs.RUNNING

    async def stop(self, handle: str, stop: StopSpec) -> StopReport:
        await self._call("stop", handle)
        container = self.containers.get(handle)
        if container is None or container.status is SightedAs.EXITED:
            return StopReport("already_gone", container.exit_code if container else None)
        container.status, container.exit_code = SightedAs.EXITED, 137 if self.ignores_signals else 0
        return StopReport("killed" if self.ignores_signals else "signal", container.exit_code)

    async def remove(self, handle: str) -> None:
        await self._call("remove", handle)
        self.containers.pop(handle, None)

    async def tail(self, handle: str, lines: int) -> tuple[str, ...]:
        return self.last_words

    async def log(self, handle: str, view: LogView) -> AsyncGenerator[bytes, None]:
        if handle not in self.containers:
            raise LogGone(f"cannot find {handle}")
        for word in self.last_words:
            yield word.encode() + b"\n"

    async def keep_log(self, handle: str, run: EndedRun, secrets: Collection[str]) -> None:
        self.kept.append(run)

    def whereabouts(self, handle: str) -> Whereabouts | None:
        return Whereabouts(name=f"orchd-{handle}", image="image:1", image_id="sha256:1", port=8000)

    async def why_unreachable(self, handle: str, model: Model, address: Address) -> str:
        return ""

    async def watch(self, hurry: Callable[[], None]) -> None:
        self.hurry = hurry
        await asyncio.Event().wait()

    async def close(self) -> None:
        pass

    # What the world does behind orchd's back.

    def kill(self, handle: str, exit_code: int = 137, oom: bool = False) -> None:
        container = self.containers[handle]
        container.status, container.exit_code, container.oom_killed = SightedAs.EXITED, exit_code, oom
        self._stir()

    def vanish(self, handle: str) -> None:
        del self.containers[handle]
        self._stir()

    def pause(self, handle: str) -> None:
        self.containers[handle].status = SightedAs.PAUSED
        self._stir()

    def _stir(self) -> None:
        if self.hurry is not None:
            self.hurry()

"""The real loop, table and poller over a fake engine and prober, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from orchd import tasks
from orchd.domain.events import DesiredChanged, RestartAsked, StartWanted
from orchd.domain.ids import ModelKey
from orchd.domain.lifecycle import RunnerState
from orchd.domain.model import Model
from orchd.domain.ports import SightedAs
from orchd.domain.runtime_id import RuntimeId
from orchd.domain.state import DesiredState, ModelStatus, RunnerStatus, Snapshot, Stopped
from orchd.errors import StoreError
from orchd.exposition import MetricsRegistry
from orchd.reconcile.loop import Loop, LoopPorts
from orchd.reconcile.orders import OrderBook
from orchd.reconcile.ports import Orders
from orchd.reconcile.runtime_watch import watch_runtime
from orchd.reconcile.snapshots import Snapshots
from orchd.reconcile.tables import StoppedTable
from orchd.sessions.session import Session, SessionKind
from orchd.sessions.slots import QueuePlace
from orchd.sessions.table import SessionTable
from orchd.settings.tree import Settings
from tests.collectors import Metrics
from tests.fakes.history import FakeHistory
from tests.fakes.prober import FakeProber
from tests.fakes.runtime import FakeContainer, FakeRuntime


class _KeptStops(StoppedTable):
    """What is stopped, kept in the world."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def save(self, stopped: Mapping[ModelKey, Stopped]) -> None:
        await self._room()
        self._world.stopped = {**stopped, **self._world.stopped}

    async def forget(self, keys: Iterable[ModelKey]) -> None:
        await self._room()
        for key in keys:
            self._world.stopped.pop(key, None)

    async def _room(self) -> None:
        await asyncio.sleep(self._world.keeps_in_s)
        if self._world.disk_is_full:
            raise StoreError("cannot write the database: No space left on device")


@dataclass
class World:
    """One machine. `loop` dies and is made anew by `orchd()`; runtime and prober live on."""

    settings: Settings = field(default_factory=Settings)
    runtime: FakeRuntime = field(default_factory=FakeRuntime)
    prober: FakeProber = field(default_factory=FakeProber)
    history: FakeHistory = field(default_factory=FakeHistory)
    models: dict[ModelKey, Model] = field(default_factory=dict)
    generations: dict[tuple[ModelKey, str], Model] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=lambda: Metrics(MetricsRegistry(), "test"))
    stopped: dict[ModelKey, Stopped] = field(default_factory=dict)
    keeps_in_s: float = 0.0
    disk_is_full: bool = False
    _loop: Loop | None = None
    _snapshots: Snapshots | None = None
    _orders: OrderBook | None = None
    _table: SessionTable | None = None

    @property
    def loop(self) -> Loop:
        assert self._loop is not None
        return self._loop

    @property
    def orders(self) -> OrderBook:
        assert self._orders is not None
        return self._orders

    @property
    def table(self) -> SessionTable:
        assert self._table is not None
        return self._table

    @property
    def snapshots(self) -> Snapshots:
        assert self._snapshots is not None
        return self._snapshots

    def snapshot(self) -> Snapshot:
        return self.snapshots.now()

    @asynccontextmanager
    async def orchd(self, *models: Model) -> AsyncIterator[World]:
        """One life of the daemon; ends as by a kill."""
        clock = asyncio.get_running_loop().time
        self._table = SessionTable(
            on_drained=lambda runner: self.loop.drained(runner),
            on_wanted=lambda key: self.loop.post(StartWanted(key)),
            clock=clock,
        )
        self.metrics = metrics = Metrics(MetricsRegistry(), "test")
        runtimes: Mapping[RuntimeId, FakeRuntime] = {self.runtime.id: self.runtime}
        ports = LoopPorts(runtimes, self.prober, self._table, metrics.fleet, self.history)
        self._loop = Loop(self.settings, ports, self.generations, jitter=lambda: 0.0, stopped=dict(self.stopped))
        self._orders = OrderBook(self._loop, _KeptStops(self))
        self._snapshots = Snapshots(self._loop)
        if models:
            self.want(*models)
        elif self.models:
            self.want(*self.models.values())
        root = [
            tasks.spawn(self._loop.run(), name="loop"),
            tasks.spawn(
                watch_runtime(self.runtime, self.settings.reconcile.period_s, self._loop.post), name="watch the runtime"
            ),
        ]
        try:
            yield self
        finally:
            await tasks.cancel(*root)

    def want(self, *models: Model) -> None:
        """The file asks for exactly these now."""
        self.models = {m.key: m for m in models}
        self.generations |= {(m.key, m.generation): m for m in models}
        self.loop.post(DesiredChanged(DesiredState(models=self.models, file_hash="applied")))

    def restart(self, key: ModelKey) -> None:
        self.loop.post(RestartAsked(key))

    async def stop(self, *models: Model) -> Orders:
        return await self.orders.stop([model.key for model in models], "alice")

    async def start(self, *models: Model) -> Orders:
        return await self.orders.start([model.key for model in models], "bob")

    def readiness(self, key: ModelKey) -> tuple[bool, str]:
        """As `reconcile.ports.Reconciler`."""
        stand = self.loop.standing(key)
        return stand.ready, stand.reason

    def status(self, model: Model | ModelKey) -> ModelStatus:
        return self.snapshot().models[model.key if isinstance(model, Model) else model]

    def runners(self, model: Model) -> tuple[RunnerStatus, ...]:
        snapshot = self.snapshot()
        return snapshot.models[model.key].runners if model.key in snapshot.models else ()

    def states(self, model: Model) -> list[RunnerState]:
        return [r.state for r in self.runners(model)]

    def running(self, model: Model | None = None) -> list[FakeContainer]:
        """Containers that run; of this very generation, if one is given."""
        return [
            c
            for c in self.runtime.containers.values()
            if c.status is SightedAs.RUNNING
            and (model is None or (c.runner.key, c.runner.generation) == (model.key, model.generation))
        ]

    async def until(self, what: str, seconds: float = 600.0, *, holds: object) -> None:
        """Wait until the callable `holds` is true, at most so many virtual seconds."""
        assert callable(holds)
        for _ in range(int(seconds / 0.05)):
            if holds():
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"never: {what}; {self.snapshot()}")

    async def until_states(self, model: Model, states: Iterable[RunnerState]) -> None:
        wanted = list(states)
        await self.until(f"{model.key} in {wanted}", holds=lambda: self.states(model) == wanted)

    async def until_quiet(self) -> None:
        await self.until("converged", 3600, holds=lambda: self.snapshot().converged)

    def begin(self, model: Model) -> Session:
        session = self.table.begin(model.key, SessionKind.JOB)
        assert isinstance(session, Session)
        return session

    def wait_for(self, model: Model) -> asyncio.Future[object]:
        """Take a place in the queue of a cold model."""
        place = self.table.begin(model.key, SessionKind.JOB)
        assert isinstance(place, QueuePlace)
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        place.resolve = future.set_result
        return future

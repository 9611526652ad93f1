"""The loop that makes what runs what is desired, as a part, with the tasks that look at the runtimes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from orchd import tasks
from orchd.catalog.ports import DesiredModels
from orchd.database.database import HasDatabase
from orchd.domain.details import HostGpu
from orchd.domain.events import DesiredChanged, StartWanted
from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import Model, RunnerKind
from orchd.domain.ports import ProbeWord
from orchd.domain.signal import Signal
from orchd.errors import StoreError
from orchd.health.ports import Probes
from orchd.history.ports import History
from orchd.part import Context, Part, Roots
from orchd.reconcile.loop import Loop, LoopPorts
from orchd.reconcile.metrics import ReconcileCollector, StandingCollector
from orchd.reconcile.orders import OrderBook
from orchd.reconcile.runtime_watch import watch_runtime
from orchd.reconcile.snapshots import Snapshots
from orchd.reconcile.tables import StoppedTable
from orchd.runtime.ports import Runtimes
from orchd.sessions.ports import Sessions

log = structlog.get_logger("orchd.reconcile")


class ReconcilePart(Part):
    """After `ports.Reconciler`."""

    name = "reconcile"
    loop: Loop
    snapshots: Snapshots
    orders: OrderBook

    def __init__(
        self,
        context: Context,
        runtimes: Runtimes,
        health: Probes,
        sessions: Sessions,
        catalog: DesiredModels,
        history: History,
        database: HasDatabase,
    ) -> None:
        self._context = context
        self._runtimes = runtimes
        self._health = health
        self._sessions = sessions
        self._catalog = catalog
        self._history = history
        self._database = database
        self.probed: Signal[RunnerId, Model, ProbeWord, float] = Signal()
        self._first_turn: asyncio.Task[Any] | None = None
        self._all_ended = False
        self._left = ""

    async def open(self) -> None:
        stored = self._catalog.stored
        generations = {(s.model.key, s.model.generation): s.model for s in stored}
        # A runner bears the name that the version which made it gave to the generation.
        generations = {(s.model.key, s.generation): s.model for s in stored} | generations
        table = StoppedTable(self._database.database)
        metrics = ReconcileCollector(
            self._context.metrics, self._health.collector.probed, self._runtimes.collector.runtime_up
        )
        loop = self.loop = Loop(
            self._context.settings,
            LoopPorts(
                self._runtimes.by_id,
                self._health.prober,
                self._sessions.table,
                metrics,
                self._history,
                self._context.lag,
            ),
            generations,
            heard=self.probed.emit,
            stopped=await table.stopped(),
        )
        self.orders = OrderBook(loop, table)
        StandingCollector(
            self._context.metrics,
            held_over=lambda: loop.state.desired.held_over,
            leaving=lambda: loop.state.models.keys() - loop.state.wanted.keys(),
            converged=loop.converged,
        )
        self.snapshots = Snapshots(loop)
        self.probed.connect(self._sessions.letting_go.probed)
        self._sessions.drained.connect(loop.drained)
        self._sessions.wanted.connect(lambda key: loop.post(StartWanted(key)))
        self._catalog.desired.connect(lambda desired: loop.post(DesiredChanged(desired)))

    async def start(self) -> None:
        self._first_turn = tasks.spawn(self.loop.changed(), name="wait for the first turn")  # Before there can be one.

    def roots(self) -> Roots:
        period_s = self._context.settings.reconcile.period_s
        # These open the runtimes, too: an engine that is slow, hangs or is away delays nothing but its own runners.
        looking = {
            f"look at {id}": watch_runtime(runtime, period_s, self.loop.post)
            for id, runtime in self._runtimes.by_id.items()
        }
        return {"loop": self.loop.run(), "tidy": self._tidy(), **looking}

    async def turned(self) -> None:
        assert self._first_turn is not None
        await asyncio.wait({self._first_turn})

    def readiness(self, key: ModelKey) -> tuple[bool, str]:
        stand = self.loop.standing(key)
        return stand.ready, stand.reason

    def hurry(self, runner: RunnerId) -> None:
        self.loop.poller.hurry(runner)

    async def gpus(self) -> Sequence[HostGpu]:
        return await self._runtimes.gpus()

    async def end_all(self, tell: Callable[[str], None]) -> tuple[str, ...]:
        """As `ports.Reconciler.end_all`; `drain` then has nothing left to do."""
        try:
            return await self.loop.end(frozenset(RunnerKind), tell, strays=True)
        finally:
            self._all_ended = True

    async def drain(self, deadline: float) -> None:
        """Stop the runners that must not outlive us; how long that may take is the loop's own matter."""
        if self._all_ended or self._first_turn is None:
            return
        stop = self._context.settings.on_stop == "stop"
        kinds = frozenset(kind for kind in RunnerKind if kind.launched and (stop or kind.ends_with_orchd))
        await self.loop.end(kinds, self._runners_left)

    def waits_for(self) -> str:
        return f"runners to stop: {self._left}" if self._left else ""

    async def close(self) -> None:
        if self._first_turn is not None:
            await tasks.cancel(self._first_turn)

    def _runners_left(self, text: str) -> None:
        self._left = text
        log.info("stopping_runners", left=text)

    async def _tidy(self) -> None:
        """Forget former definitions once no runner of theirs is left."""
        known: frozenset[tuple[ModelKey, str]] = frozenset()
        while True:
            await self.loop.changed()
            if not (self.loop.converged() and self.loop.applied()):
                continue
            live = self.loop.generations()
            if live is not known and live != known:
                try:
                    await self._catalog.forget_generations(live)
                    known = live
                except StoreError as exc:
                    log.warning("store_not_tidied", reason=exc.message)

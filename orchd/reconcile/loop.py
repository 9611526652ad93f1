"""The single writer. Takes events one by one, moves states, asks the plan what to do next, and has it done.

A turn costs what has changed. Each event names its model, and only models that something has changed for are planned
and published. From time to time all models are, so that a lost event costs a delay and not a leak.

A turn is made of steps. A step takes a few events and plans a few models without an await, so that nobody sees a model
half-changed, and a slot is never given on a replica that is being closed. Between two steps others run: an applied file
of a thousand entries holds up no job. The turn is over when every event has been taken in and every model planned.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from orchd.domain import events
from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.lifecycle import RunnerState
from orchd.domain.model import Model, RunnerKind
from orchd.domain.ports import Prober, ProbeWord, Runtime
from orchd.domain.runtime_id import RuntimeId
from orchd.domain.state import Stopped
from orchd.health.poller import Poller, RunnerFacts
from orchd.history.ports import History, Kind
from orchd.lag import LoopLag
from orchd.reconcile import call_results as results
from orchd.reconcile.ending import Ending
from orchd.reconcile.execute import Executor
from orchd.reconcile.intake import Intake
from orchd.reconcile.metrics import ReconcileCollector
from orchd.reconcile.planner import Planner
from orchd.reconcile.publish import Publisher
from orchd.reconcile.runtime_calls import RuntimeCalls
from orchd.reconcile.sightings import Sightings
from orchd.reconcile.standing import Standing
from orchd.reconcile.startup_wait import StartupWait
from orchd.reconcile.state import NOT_SEEN, ReconcileState
from orchd.sessions.table import SessionTable
from orchd.settings.tree import Settings

log = structlog.get_logger("orchd.reconcile")

LOOK_CLOSER_S = 2.0
"""Longest time for a hint why a runner can't be reached: its next probe waits for it."""
STEP = 4
"""Work of one step: each event that is taken counts, each model that is planned, and each action of its plan. The last
model may exceed it. A unit takes 0.1 ms; most of what takes longer is the log line of a state."""
LEAST_WAIT_S = 0.001
"""Shortest wait for a time that has not come yet: event loops round their timers, uvloop to a millisecond."""
READ_STEP = 10
"""Most entries of a new file compared, and most models looked at in what a runtime shows, in one step."""


@dataclass(frozen=True, slots=True)
class LoopPorts:
    """What the loop works on.

    Attributes:
        runtimes: a model of a kind that none of them launches is refused.
        lag: how long orchd itself stood still.
    """

    runtimes: Mapping[RuntimeId, Runtime]
    prober: Prober
    table: SessionTable
    metrics: ReconcileCollector
    history: History
    lag: LoopLag = field(default_factory=LoopLag)


class Loop:
    """Owns desired state, fleet and the opening of replicas.

    Args:
        generations: definitions by (key, generation), so that runners of an earlier orchd can be adopted though an
            edit has come since.
        heard: called with the result of each probe; see `Poller`. `stopped`: what an earlier orchd was told to stop.
    """

    def __init__(
        self,
        settings: Settings,
        ports: LoopPorts,
        generations: Mapping[tuple[ModelKey, str], Model],
        jitter: Callable[[], float] = random.random,
        heard: Callable[[RunnerId, Model, ProbeWord, float], None] | None = None,
        stopped: Mapping[ModelKey, Stopped] | None = None,
    ) -> None:
        runtimes, table, metrics, lag, history = ports.runtimes, ports.table, ports.metrics, ports.lag, ports.history
        self.state = state = ReconcileState(settings, runtimes, table, generations, lag.stalls, history, stopped or {})
        self._settings = settings
        self._runtimes = runtimes
        self._told_down: dict[RuntimeId, str] = {}
        self._startup_wait = StartupWait(waits=settings.jobs.start_wait_s > 0)
        self._calls = RuntimeCalls(runtimes, ports.prober, self.post)
        self.poller = Poller(
            ports.prober,
            RunnerFacts(
                progress_at=table.progress_at,
                lost_s=lag.lost_s,
                look_closer=self._look_closer,
                letting_go=lambda runner: table.letting_go_on(runner) > 0,
            ),
            report=self.post,
            on_probe=metrics.probed,
            heard=heard,
        )
        executor = Executor(state.fleet, table, self._calls, self.poller, metrics, settings.reconcile)
        self._sightings = Sightings(state, executor, self._calls)
        self._intake = Intake(state, executor, self._sightings, jitter)
        self._publisher = Publisher(state, metrics, self._startup_wait)
        self._ending = Ending(state, runtimes, self._calls, self._sightings, self)
        self.planner = Planner(state, executor, self._sightings, self._publisher)
        self._queue: deque[events.Event | results.CallResult] = deque()
        self._wake = asyncio.Event()
        self._waiting: set[asyncio.Event] = set()

    # -- from outside ------------------------------------------------------------------------------------------------

    def post(self, event: events.Event | results.CallResult) -> None:
        """Tell the loop something; it takes it in its next step."""
        self._queue.append(event)
        self._wake.set()

    def drained(self, id: RunnerId) -> None:
        """Plan the model of a draining runner whose last session has ended."""
        runner = self.state.fleet.runners.get(id)
        if runner is not None and runner.state is RunnerState.DRAINING:
            self.state.agenda.changed(id.key)
            self._wake.set()

    def models(self) -> Mapping[ModelKey, Model]:
        """Return what jobs may ask for: the desired models and those that still drain."""
        return self.state.models

    def converged(self) -> bool:
        """Return whether nothing is under way, and nothing more would happen unless something changes."""
        state = self.state
        known = not self._queue and state.is_read and state.agenda.is_settled and NOT_SEEN not in state.down.values()
        return known and self._publisher.at_rest

    def applied(self) -> bool:
        """Whether a models file has applied since orchd was started."""
        return bool(self.state.desired.file_hash)

    def knows(self, runner: RunnerId) -> bool:
        """Return whether there is such a runner, or it can't be known yet."""
        return runner in self.state.fleet.runners or NOT_SEEN in self.state.down.values()

    def serves(self, runner: RunnerId) -> bool:
        """Return whether a runner answers the sessions that it has: it is ready, or drains."""
        found = self.state.fleet.runners.get(runner)
        return found is not None and found.state in (RunnerState.READY, RunnerState.DRAINING)

    def given_up(self, runner: RunnerId) -> str:
        """Return why nothing can be expected of a runner any more that is not replaced; empty = it serves."""
        found = self.state.fleet.runners.get(runner)
        return "" if found is None else self.state.given_up(found)

    def model_of(self, runner: RunnerId) -> Model | None:
        """Return the definition that a runner serves; None = there is no such runner."""
        found = self.state.fleet.runners.get(runner)
        return None if found is None else found.model

    def generations(self) -> frozenset[tuple[ModelKey, str]]:
        """Return of which definitions there are runners; the very same object until that changes."""
        return self.state.fleet.generations()

    def standing(self, key: ModelKey) -> Standing:
        """Return how a model of `models()` stands.

        Raises:
            KeyError: it is not one of them.
        """
        return self.state.standing(key)

    @property
    def turns(self) -> int:
        """How many turns it has made."""
        return self.planner.counts.turns

    async def changed(self) -> None:
        """Return after the loop's next turn: everything that was posted before has been taken in then."""
        turned = asyncio.Event()
        self._waiting.add(turned)
        try:
            await turned.wait()
        finally:
            self._waiting.discard(turned)

    async def run(self) -> None:
        """Take events until cancelled."""
        over = asyncio.get_running_loop().call_later(self._settings.jobs.start_wait_s, self._startup_over)
        try:
            while True:
                await self._turn()
                await self._wait()
        finally:
            over.cancel()
            await self._calls.close()
            await self.poller.close()

    async def end(
        self, kinds: frozenset[RunnerKind], tell: Callable[[str], None], *, strays: bool = False
    ) -> tuple[str, ...]:
        """Drain, stop and remove all runners of `kinds`, while `run` goes on; see `Ending.end`."""
        self.state.end(kinds & {runtime.kind for runtime in self._runtimes})
        self._wake.set()
        return await self._ending.end(kinds, tell, strays=strays)

    # -- turning -----------------------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        state = self.state
        self.planner.note_what_is_due()
        while True:
            taken = 0
            while taken < STEP and self._queue:
                await self._take(self._queue.popleft())
                taken += 1
            self.planner.read(READ_STEP)
            # One at least: events that never end must not keep models from being planned.
            self.planner.counts.step(taken + self.planner.plan(max(1, STEP - taken)))
            if not self._queue and state.is_read and state.agenda.is_empty:
                break
            await asyncio.sleep(0)
        self._wake.clear()  # In the same step in which nothing was left, so no event is missed.
        self._publisher.end_turn()
        self.planner.counts.turns += 1
        for turned in self._waiting:
            turned.set()

    async def _wait(self) -> None:
        # What became due while the turn went on is due at once.
        now = asyncio.get_running_loop().time()
        until, at = self.planner.next_full_at, self.planner.deadlines.next()
        until = until if at is None else min(at, until)
        # A loop's timers may fire early, by as much as its clock resolves. Just before `until` nothing is due yet, and
        # without a least wait the loop would turn again and again until it is.
        wait_s = max(LEAST_WAIT_S, until - now) if until > now else 0.0
        over = asyncio.get_running_loop().call_later(wait_s, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            over.cancel()

    async def _look_closer(self, id: RunnerId) -> str:
        """Return what its runtime knows about why a runner can't be reached; empty = nothing, or not in time."""
        runner = self.state.fleet.runners.get(id)
        if runner is None or runner.runtime is None or runner.handle is None or runner.address is None:
            return ""
        try:
            async with asyncio.timeout(LOOK_CLOSER_S):
                return await self._runtimes[runner.runtime].why_unreachable(runner.handle, runner.model, runner.address)
        except TimeoutError:
            return ""

    def _startup_over(self) -> None:
        self._startup_wait.over()
        self.state.agenda.routine(self.state.keys())
        self._wake.set()

    # -- events ------------------------------------------------------------------------------------------------------

    async def _take(self, event: events.Event | results.CallResult) -> None:
        state = self.state
        match event:
            case events.DesiredChanged(desired):
                state.desire(desired, also=self._sightings.strays.keys())
                self._tell_what_is_down()
            case events.StartWanted(key):
                state.agenda.changed(key)
            case events.RestartAsked(key):
                self.planner.restart(key)
            case events.StopChanged(key, stopped):
                self.planner.stop(key, stopped)
            case events.HealthChanged():
                self._intake.health(event)
            case results.RunnersListed():
                await self._look(event)
            case results.RuntimeDown(runtime, reason):
                state.set_down(runtime, reason)
                self._tell_what_is_down()
            case results.StrayRemoval(_, handle, gone):
                if gone:
                    self._sightings.stray_gone(handle)
            case _:
                if event.id in state.fleet.runners:
                    self._intake.call(event)

    def _tell_what_is_down(self) -> None:
        """Log each runtime that can't be used and that a model needs, once for each reason."""
        for runtime, reason in self.state.down.items():
            if reason == NOT_SEEN or runtime.kind not in self.state.needed():
                continue
            if self._told_down.get(runtime) != reason:
                self._told_down[runtime] = reason
                log.warning("runtime_down", runtime=str(runtime), reason=reason)
                self.state.history.note(Kind.RUNTIME_DOWN, f"{runtime}: {reason}")

    async def _look(self, event: results.RunnersListed) -> None:
        self._told_down.pop(event.runtime, None)
        for count, _ in enumerate(self._sightings.look(event), 1):
            if count % READ_STEP == 0:
                await asyncio.sleep(0)
        # Only now, when all that the runtime shows has been adopted: until then it can't be known what is not there.
        if self.state.set_up(event.runtime):
            log.info("runtime_up", runtime=str(event.runtime))
            self.state.history.note(Kind.RUNTIME_UP, str(event.runtime))

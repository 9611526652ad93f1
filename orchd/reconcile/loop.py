"""The single writer. Takes events one by one, moves states, asks the plan what to do next, and has it done.

Everything here is synchronous, save waiting for the next event: between two events nobody sees a half-made change,
and a slot is never given on a replica that is being closed.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Mapping

import structlog

from orchd.domain import events
from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.lifecycle import RunnerState
from orchd.domain.model import Model, RunnerKind
from orchd.domain.ports import Prober, ProbeWord, Runtime
from orchd.domain.state import DesiredState, Snapshot
from orchd.errors import EngineUnavailable
from orchd.health.poller import Poller
from orchd.lag import LoopLag
from orchd.metrics import Metrics
from orchd.reconcile import calls, plan, view
from orchd.reconcile.act import Hands
from orchd.reconcile.first_look import FirstLook
from orchd.reconcile.fleet import Fleet
from orchd.reconcile.hear import Ears
from orchd.reconcile.runner import Runner
from orchd.reconcile.standing import Standing, standing
from orchd.reconcile.strays import spared
from orchd.sessions.table import SessionTable
from orchd.settings.tree import Settings

log = structlog.get_logger("orchd.reconcile")

S = RunnerState

NOT_SEEN = "its runtime has not answered yet since orchd was started"
END_MARGIN_S = 45.0
"""For the calls to the engine around a stop, beside the drain and the grace."""
LOOK_CLOSER_S = 2.0
"""Longest time for a hint why a runner can't be reached: its next probe waits for it."""
MOST_ROUNDS = 100
"""Plans made in a row for one event; more would mean that plan and loop disagree for ever."""


class Loop:
    """Owns desired state, fleet and the opening of replicas.

    Args:
        runtimes: by kind; a kind that is absent is refused when a model needs it.
        generations: definitions by (key, generation), so that runners of an earlier orchd can be adopted though an
            edit has come since.
        heard: what each probe said; see `Poller`.
        lag: how long orchd itself stood still.
    """

    def __init__(
        self,
        settings: Settings,
        runtimes: Mapping[RunnerKind, Runtime],
        prober: Prober,
        table: SessionTable,
        metrics: Metrics,
        generations: Mapping[tuple[ModelKey, str], Model],
        jitter: Callable[[], float] = random.random,
        heard: Callable[[RunnerId, Model, ProbeWord, float], None] | None = None,
        lag: LoopLag | None = None,
    ) -> None:
        self._lag = lag or LoopLag()
        self._settings = settings
        self._table = table
        self._metrics = metrics
        self._runtimes = runtimes
        self._generations = dict(generations)
        self._desired = DesiredState()
        self._planned: plan.World
        self._desired_at = 0.0
        self._models: Mapping[ModelKey, Model] = {}
        self._down: dict[RunnerKind, str] = dict.fromkeys(runtimes, NOT_SEEN)
        self._told_down: dict[RunnerKind, str] = {}
        self._fleet = Fleet(table)
        self._first_look = FirstLook(waits=settings.jobs.start_wait_s > 0)
        self._calls = calls.Calls(runtimes, prober, self.post)
        self.poller = Poller(
            prober,
            report=self.post,
            progress_at=table.progress_at,
            on_probe=metrics.probed,
            heard=heard,
            lost_s=self._lag.lost_s,
            look_closer=self._look_closer,
            letting_go=lambda runner: table.letting_go_on(runner) > 0,
        )
        rules = settings.reconcile
        self._hands = Hands(self._fleet, table, self._calls, self.poller, metrics, rules)
        self._why_spared = spared(self._desired)
        self._ears = Ears(
            self._fleet,
            table,
            self._hands,
            self._calls,
            self._generations,
            self._down,
            rules,
            jitter,
            lambda key: self._why_spared(key),
        )
        self._ending: frozenset[RunnerKind] = frozenset()
        self._queue: deque[events.Event | calls.CallNews] = deque()
        self._stirred = asyncio.Event()
        self._changed: set[asyncio.Event] = set()

    # -- from outside ------------------------------------------------------------------------------------------------

    def post(self, event: events.Event | calls.CallNews) -> None:
        """Tell the loop something; it takes it in its next turn."""
        self._queue.append(event)
        self._stirred.set()

    def drained(self, id: RunnerId) -> None:
        """Hear that the last session on a runner that takes no more has ended."""
        runner = self._fleet.runners.get(id)
        if runner is not None and runner.state is S.DRAINING:
            self._stirred.set()

    def models(self) -> Mapping[ModelKey, Model]:
        """Return what jobs may ask for: the desired models and those that still drain."""
        return self._models

    def snapshot(self) -> Snapshot:
        """Return everything a reader may know."""
        return view.snapshot(
            self._desired,
            self.models(),
            self._fleet,
            self._table,
            self._down,
            tuple(self._runtimes),
            self._engine_down,
            self._why_spared,
            self._desired_at,
            self.converged(),
        )

    def converged(self) -> bool:
        """Whether nothing is under way, and nothing more would happen if the world stood still."""

        def at_rest(runner: Runner) -> bool:
            if runner.state is S.COLD:
                return not runner.model.warm and not self._engine_down(runner.model)
            return runner.state in (S.READY, S.FAILED) or (runner.state is S.UNHEALTHY and not runner.model.managed)

        if self._queue or NOT_SEEN in self._down.values():
            return False
        known = {r.id.key for r in self._fleet.runners.values()}
        return set(self._desired.models) <= known and all(map(at_rest, self._fleet.runners.values()))

    def applied(self) -> bool:
        """Whether a models file has applied since orchd was started."""
        return bool(self._desired.file_hash)

    def knows(self, runner: RunnerId) -> bool:
        """Return whether there is such a runner, or nobody can say yet."""
        return runner in self._fleet.runners or NOT_SEEN in self._down.values()

    def generations(self) -> frozenset[tuple[ModelKey, str]]:
        """Return what runners there are of."""
        return frozenset((r.key, r.generation) for r in self._fleet.runners)

    def standing(self, key: ModelKey) -> Standing:
        """Return how a model of `models()` stands.

        Raises:
            KeyError: it is not one of them.
        """
        model = self.models()[key]
        leaving = key not in self._desired.models
        return standing(
            model,
            self._fleet.of(key),
            leaving=leaving,
            engine_down=self._engine_down(model),
            spared=self._why_spared(key),
        )

    async def changed(self) -> None:
        """Return after the loop's next turn."""
        turned = asyncio.Event()
        self._changed.add(turned)
        try:
            await turned.wait()
        finally:
            self._changed.discard(turned)

    async def run(self) -> None:
        """Take events until cancelled."""
        over = asyncio.get_running_loop().call_later(self._settings.jobs.start_wait_s, self._first_look_over)
        try:
            while True:
                self._turn()
                await self._wait()
        finally:
            over.cancel()
            await self._calls.close()
            await self.poller.close()

    async def end(
        self, kinds: frozenset[RunnerKind], tell: Callable[[str], None], *, strays: bool = False
    ) -> tuple[str, ...]:
        """Drain, stop and remove all runners of `kinds`, while `run` goes on; returns when done or out of time.

        Time is what a drain and the longest grace take, and `END_MARGIN_S`.

        Args:
            tell: is given a line whenever there is news.
            strays: those too that no definition explains.

        Returns:
            What may still run, each in words; empty = a look that began after the last one was removed shows nothing.
        """
        self._ending = kinds & self._runtimes.keys()
        self._stirred.set()
        unseen = set(self._ending)
        unknown: list[str] = []
        told = ""
        try:
            async with asyncio.timeout(self._longest_end_s(kinds)):
                while True:
                    if strays:
                        self._remove_strays(tell)
                    if left := self._left(strays):
                        if (text := ", ".join(left)) != told:
                            tell(text)
                            told = text
                        await self.changed()
                    elif unseen:
                        unknown += await self._look_again(unseen.pop(), tell)
                    else:
                        return tuple(unknown)
        except TimeoutError:
            still = (*self._left(strays, why=True), *unknown)
            log.warning("runners_left_behind", left=", ".join(still))
            return still

    def _longest_end_s(self, kinds: frozenset[RunnerKind]) -> float:
        graces = (m.stop.grace_s for m in self._generations.values() if m.kind in kinds)
        # Streams are closed before the signal, for at most half the grace.
        return self._settings.reconcile.drain_timeout_s + 1.5 * max(graces, default=0.0) + END_MARGIN_S

    def _left(self, strays: bool, *, why: bool = False) -> list[str]:
        """Return what is to end and still there; `why`: with what is known of the reason."""
        runners = [r for r in self._fleet.runners.values() if r.model.kind in self._ending]
        details = [f": {r.detail}" if why and r.detail else "" for r in runners]
        left = [f"{r.id.key} {r.state}{detail}" for r, detail in zip(runners, details, strict=True)]
        return [*left, *(handle[:12] for handle in (self._calls.strays() if strays else ()))]

    def _remove_strays(self, tell: Callable[[str], None]) -> None:
        for stray in self._ears.strays.all():
            if stray.sighting.handle not in self._calls.strays():
                tell(f"{stray.sighting.runner.key} {stray.sighting.handle[:12]}: no definition explains it; removed")
                self._ears.remove_stray(stray)

    async def _look_again(self, kind: RunnerKind, tell: Callable[[str], None]) -> list[str]:
        """Have the loop take in what is there now; return why that can't be known, if it matters."""
        at = asyncio.get_running_loop().time()
        try:
            self.post(calls.Looked(kind, at, await self._runtimes[kind].sightings()))
        except EngineUnavailable as exc:
            reason = self._down.get(kind, exc.message)
            reason = exc.message if reason == NOT_SEEN else reason
            if any(model.kind is kind for model in self._generations.values()):
                return [f"any {kind}: {reason}"]
            tell(f"{kind} runners were not looked for, since no model is one: {reason}")
            return []
        await self.changed()
        return []

    # -- turning -----------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._stirred.clear()
        while self._queue:
            self._take(self._queue.popleft())
        for _ in range(MOST_ROUNDS):
            self._planned = self._world()
            todo = plan.plan(self._planned)
            if not todo:
                break
            for action in todo:
                self._hands.do(action)
        else:
            log.error("plan_never_ends", todo=[repr(a) for a in todo[:5]])
        self._publish()

    async def _wait(self) -> None:
        # By the world of the plan: what became due since, while the turn went on, is due at once.
        deadline = plan.next_deadline(self._planned)
        patience = self._settings.reconcile.period_s
        if deadline is not None:
            patience = min(patience, max(0.0, deadline - asyncio.get_running_loop().time()))
        try:
            async with asyncio.timeout(patience):
                await self._stirred.wait()
        except TimeoutError:
            pass

    def _world(self) -> plan.World:
        held = {r: n for r in self._fleet.runners if (n := self._table.running_on(r))}
        desired = self._desired.models
        if self._ending:
            desired = {k: m for k, m in desired.items() if m.kind not in self._ending}
        return plan.World(
            desired=desired,
            runners=self._fleet.runners,
            sessions=held,
            letting_go=frozenset(r for r in self._fleet.runners if self._table.letting_go_on(r)),
            idle_since={r: since for r in self._fleet.runners if (since := self._table.idle_since(r))},
            awaited=frozenset(k for k in desired if self._table.waiting(k)),
            up=frozenset(kind for kind in self._runtimes if kind not in self._down),
            stalls=self._lag.stalls(),
            now=asyncio.get_running_loop().time(),
            settings=self._settings.reconcile,
            unwanted_why="orchd takes its runners down" if self._ending else "it left aiModels.json",
            spared=frozenset(key for key in {r.key for r in self._fleet.runners} if self._why_spared(key)),
            ending=self._ending,
        )

    async def _look_closer(self, id: RunnerId) -> str:
        """Return what its runtime knows about why a runner can't be reached; empty = nothing, or not in time."""
        runner = self._fleet.runners.get(id)
        runtime = None if runner is None else self._runtimes.get(runner.model.kind)
        if runner is None or runtime is None or runner.handle is None or runner.address is None:
            return ""
        try:
            async with asyncio.timeout(LOOK_CLOSER_S):
                return await runtime.why_unreachable(runner.handle, runner.model, runner.address)
        except TimeoutError:
            return ""

    def _engine_down(self, model: Model) -> str:
        """Why `model`'s runtime can't be used now; empty = it can."""
        if not model.managed:
            return ""
        if model.kind not in self._runtimes:
            return f"cannot launch a {model.kind} here: switched off by the settings (docker.enabled)"
        return self._down.get(model.kind, "")

    def _publish(self) -> None:
        leaving = {r.id.key: r.model for r in self._fleet.runners.values() if r.id.key not in self._desired.models}
        models = self._models = {**leaving, **self._desired.models}
        for key in set(self._table.keys()) - set(models):
            self._table.forget(key)
            self._metrics.forget(key)
        for key, model in models.items():
            self._metrics.define(key, model.max_sessions)
            runners = self._fleet.of(key)
            stand = self.standing(key)
            waits = stand.startable or self._first_look.awaited(
                key,
                stand,
                runners,
                down=self._engine_down(model) not in ("", NOT_SEEN),
                leaving=bool(self._ending) or key in leaving,
            )
            self._table.set_closed(key, startable=waits, code=stand.code, reason=stand.reason)
            counts: dict[str, int] = {}
            for runner in runners:
                counts[runner.state] = counts.get(runner.state, 0) + 1
            self._metrics.state(key, counts, stand.ready, stand.startable)
        for kind in self._runtimes:
            if (down := self._down.get(kind)) != NOT_SEEN:
                self._metrics.runtime_up(kind, down is None, self._needs(kind))
        for changed in self._changed:
            changed.set()

    def _first_look_over(self) -> None:
        self._first_look.over()
        self._stirred.set()

    def _needs(self, kind: RunnerKind) -> bool:
        """Whether a model is of this kind: a host without Docker is nothing to complain of while nobody wants one."""
        return any(m.kind is kind for m in (*self._desired.models.values(), *self._models.values()))

    # -- events ------------------------------------------------------------------------------------------------------

    def _take(self, event: events.Event | calls.CallNews) -> None:
        match event:
            case events.DesiredChanged(desired):
                self._desire(desired)
            case events.StartWanted():
                pass  # the plan looks at the table itself
            case events.RestartAsked(key):
                model = self._desired.models.get(key)
                for runner in self._fleet.of(key):
                    # A former generation is there because this one can't be: it serves on while this is tried again.
                    if model is not None and runner.id.generation == model.generation:
                        self._fleet.note(runner.id, restart_asked=True)
            case events.HealthChanged():
                self._ears.health(event)
            case calls.Looked():
                self._told_down.pop(event.kind, None)
                if self._down.pop(event.kind, None) is not None:
                    log.info("runtime_up", runtime=event.kind)
                self._ears.look(event)
            case calls.EngineDown(kind, reason):
                self._down[kind] = reason
                if self._needs(kind) and self._told_down.get(kind) != reason:
                    self._told_down[kind] = reason
                    log.warning("runtime_down", runtime=kind, reason=reason)
            case calls.StrayDone(_, handle, gone):
                if gone:
                    self._ears.stray_gone(handle)
            case _:
                if event.id in self._fleet.runners:
                    self._ears.call(event)

    def _desire(self, desired: DesiredState) -> None:
        for key, model in desired.models.items():
            if self._desired.models.get(key) != model or not self._table.known(key):
                self._table.define(key, model.max_sessions, self._settings.jobs.hold_limit)
            self._generations[key, model.generation] = model
        self._desired = desired
        self._desired_at = time.time()
        self._why_spared = spared(desired)
        self._ears.explain()

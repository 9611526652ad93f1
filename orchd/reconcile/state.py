"""What the loop knows: what the file asks for, which runners there are, and which runtimes can be used.

Owned by the loop; the parts of the loop share it. All of it changes in the loop's own steps alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from orchd.domain.changes import Changes
from orchd.domain.ids import ModelKey
from orchd.domain.lifecycle import RunnerState
from orchd.domain.model import Model, RunnerKind
from orchd.domain.ports import Runtime
from orchd.domain.runtime_id import RuntimeId
from orchd.domain.stalls import Stall, lost_s
from orchd.domain.state import BY_OPERATOR, DesiredState, Stopped
from orchd.errors import Code
from orchd.history.ports import History
from orchd.reconcile.agenda import Agenda
from orchd.reconcile.definitions import Definitions
from orchd.reconcile.fleet import Fleet
from orchd.reconcile.plan_input import PlanInput
from orchd.reconcile.runner import Runner
from orchd.reconcile.standing import Standing, standing
from orchd.reconcile.strays import spared
from orchd.sessions.table import SessionTable
from orchd.settings.tree import Settings

NOT_SEEN = "its runtime has not answered yet since orchd was started"


class ReconcileState:
    """What the loop knows: what is desired, and what of it has been taken in.

    Args:
        by_id, runtimes: those that there are.
        definitions: by which runners of an earlier orchd can be adopted.
        stalls: returns when orchd itself stood still.
        history: is told what becomes of runners.
        stopped: the models that were stopped under an earlier orchd.

    Attributes:
        desired: what the last file asked for. A file of many entries is taken in piece by piece: `wanted` is what has
            been taken in so far.
        models: what jobs may ask for: the wanted models and those that still drain. Never changed, only replaced.
        down: why a runtime can't be used; one that is absent can be, and is in `up`.
        ending: kinds of runners that are all taken down now, on order.
        changes: models whose standing or whose runners have changed.
        stopped: models that an operator has stopped; some may not be in the file. Never changed, only replaced.
        why_spared: returns why nothing of a model may be taken away now; empty = it may be.
    """

    def __init__(
        self,
        settings: Settings,
        runtimes: Mapping[RuntimeId, Runtime],
        table: SessionTable,
        definitions: Mapping[tuple[ModelKey, str], Model],
        stalls: Callable[[], tuple[Stall, ...]],
        history: History,
        stopped: Mapping[ModelKey, Stopped],
    ) -> None:
        self.settings = settings
        self.by_id = runtimes
        self.runtimes = tuple(runtimes)
        self.table = table
        self.definitions = Definitions(definitions)
        self.desired = DesiredState()
        self.desired_at = 0.0
        self.wanted: dict[ModelKey, Model] = {}
        self.models: Mapping[ModelKey, Model] = {}
        self.down: dict[RuntimeId, str] = dict.fromkeys(self.runtimes, NOT_SEEN)
        self.up: frozenset[RuntimeId] = frozenset()
        self.ending: frozenset[RunnerKind] = frozenset()
        self.why_spared = spared(self.desired)
        self.stopped = stopped
        self.agenda = Agenda()
        self._unread: dict[ModelKey, None] = {}
        self._read: dict[ModelKey, tuple[bool, str]] = {}
        self.changes: Changes[ModelKey] = Changes()
        self.history = history
        self.fleet = Fleet(table, self._on_runner, history)
        self._stalls = stalls
        self._needed_by: tuple[Mapping[ModelKey, Model], Mapping[ModelKey, Model], frozenset[ModelKey]]
        self._needed_by = self.desired.models, self.models, frozenset()
        self._needed: frozenset[RunnerKind] = frozenset()

    def _on_runner(self, key: ModelKey) -> None:
        self.agenda.changed(key)
        self.changes.touch(key)

    def desire(self, desired: DesiredState, also: Iterable[ModelKey]) -> None:
        """A file was read: have each of its models, each that it no longer names, and those in `also` taken in."""
        self.desired, self.desired_at = desired, time.time()
        self.why_spared = spared(desired)
        self._unread.update(dict.fromkeys(self.keys()))
        self._unread.update(dict.fromkeys(also))

    @property
    def is_read(self) -> bool:
        """All of the last file has been taken in."""
        return not self._unread

    def unread(self) -> ModelKey | None:
        """Return a model of which the last file has not been taken in; None = there is none left."""
        return next(iter(self._unread), None)

    def take_in(self, key: ModelKey) -> bool:
        """Let what the last file asks for hold for one model; return whether that changes anything for it."""
        self._unread.pop(key, None)
        model, before = self.desired.models.get(key), self.wanted.get(key)
        read = key in self.desired.held_over, self.why_spared(key)
        changed = read != self._read.get(key) or (model is not before and model != before)
        if model is None:
            self.wanted.pop(key, None)
        elif changed or not self.table.known(key):
            if model != before or not self.table.known(key):
                self.table.define(key, model.max_sessions, self.settings.jobs.hold_limit)
            self.wanted[key] = model
            self.definitions.add(model)
        if changed:
            self._read[key] = read
            self.changes.touch(key)
            self.agenda.edited((key,))
        return changed

    def forget(self, key: ModelKey) -> None:
        """Nothing is left of a model that is not wanted."""
        self._read.pop(key, None)
        self.changes.touch(key)

    def set_down(self, runtime: RuntimeId | None, reason: str) -> None:
        """Note that a runtime can't be used, and why."""
        if runtime is not None and self.down.get(runtime) != reason:
            self.down[runtime] = reason
            self.up -= {runtime}
            self._concerns(runtime)

    def set_up(self, runtime: RuntimeId) -> bool:
        """Note that a runtime can be used; return whether that is news."""
        if self.down.pop(runtime, None) is None:
            return False
        self.up |= {runtime}
        self._concerns(runtime)
        return True

    def stop(self, key: ModelKey, stopped: Stopped | None) -> None:
        """Note that an operator has stopped a model, or has started it again (None)."""
        others = {known: each for known, each in self.stopped.items() if known != key}
        self.stopped = others if stopped is None else {**others, key: stopped}
        if stopped is not None:
            self.table.turn_away(key, Code.STOPPED, BY_OPERATOR)
            for id in [*self.fleet.by_id(key)]:  # The order that came last holds.
                self.fleet.note(id, restart_asked=False, checking=False)
        self.agenda.changed(key)
        self.changes.touch(key)

    def restart(self, key: ModelKey) -> None:
        """Note that an operator has asked for a restart of a model."""
        model = self.wanted.get(key)
        if model is None or key in self.stopped:
            return
        for runner in self.fleet.of(key):
            # A former generation is there because this one can't be: it serves on while this is tried again.
            if runner.id.generation == model.generation:
                self.fleet.note(runner.id, restart_asked=True)

    def end(self, kinds: frozenset[RunnerKind]) -> None:
        """Have all runners of these kinds taken down."""
        self.ending = kinds
        self.agenda.edited(self.keys())

    def _concerns(self, runtime: RuntimeId) -> None:
        keys = [key for key, model in self.models.items() if model.kind is runtime.kind]
        keys += {id.key for id, runner in self.fleet.runners.items() if runner.runtime == runtime} - {*keys}
        self.agenda.edited(keys)

    def keys(self) -> Collection[ModelKey]:
        """Return every model that is wanted, or of which something is there."""
        return {**self.wanted, **self.desired.models, **self.models, **dict.fromkeys(self.fleet.keys())}.keys()

    def needed(self) -> frozenset[RunnerKind]:
        """Return the kinds that a model is of. A host without Docker is no trouble while no model needs it.

        A model that an operator has stopped needs nothing, once nothing of it is left.
        """
        by_id = self.fleet.by_id
        idle = frozenset(key for key in self.stopped if all(r.state is RunnerState.COLD for r in by_id(key).values()))
        desired, models, left_out = self._needed_by
        if desired is not self.desired.models or models is not self.models or left_out != idle:
            self._needed_by = self.desired.models, self.models, idle
            both = (self.desired.models, self.models)
            self._needed = frozenset(m.kind for models in both for key, m in models.items() if key not in idle)
        return self._needed

    def engine_down(self, model: Model) -> str:
        """Return why no runtime can be used now that could launch the model; empty = one can."""
        if not model.managed:
            return ""
        reasons = [self.down.get(runtime, "") for runtime in self.runtimes if runtime.kind is model.kind]
        if not reasons:
            return f"cannot launch a {model.kind} here: switched off by the settings (docker.enabled)"
        return reasons[0] if all(reasons) else ""

    def given_up(self, runner: Runner) -> str:
        """Return why nothing can be expected of a runner any more that is not replaced; empty = it serves.

        Nobody replaces one that somebody else runs, nor any while its runtime can't be used.
        """
        model = runner.model
        if model.managed and runner.runtime not in self.down:
            return ""
        since, limit_s, what = runner.since, model.health.restart_after_s, "unhealthy"
        if runner.state is RunnerState.LOADING and runner.loading_since is not None:
            since, limit_s, what = runner.loading_since, model.loading_timeout_s, "loading"
        elif runner.state is not RunnerState.UNHEALTHY or self.table.letting_go_on(runner.id):
            return ""
        over = asyncio.get_running_loop().time() >= since + limit_s + lost_s(self._stalls(), since)
        return f"its runner has been {what} for {limit_s:g} s" if over else ""

    def standing(self, key: ModelKey) -> Standing:
        """Return how a model of `models` stands.

        Raises:
            KeyError: it is not one of them.
        """
        model = self.models[key]
        return standing(
            model,
            self.fleet.of(key),
            leaving=key not in self.wanted,
            engine_down=self.engine_down(model),
            spared=self.why_spared(key),
            stopped=key in self.stopped,
        )

    def plan_input(self, key: ModelKey, now: float) -> PlanInput:
        """Return all that the plan of one model is made from. `now`: loop clock, seconds."""
        model = self.wanted.get(key)
        if model is not None and model.kind in self.ending:
            model = None
        table, runners = self.table, self.fleet.by_id(key)
        replicas = table.replicas(key)
        return PlanInput(
            desired={} if model is None else {key: model},
            runners=runners,
            sessions={each.runner: each.running for each in replicas if each.running},
            expected=frozenset(table.expected(key)),
            letting_go=frozenset([each.runner for each in replicas if each.letting_go]),
            idle_since={each.runner: each.idle_since for each in replicas if each.idle_since},
            awaited=frozenset((key,)) if model is not None and table.awaited(key) else frozenset(),
            up=self.up,
            stalls=self._stalls(),
            now=now,
            settings=self.settings.reconcile,
            unwanted_why="orchd takes its runners down" if self.ending else "it left aiModels.json",
            spared=frozenset((key,)) if runners and self.why_spared(key) else frozenset(),
            ending=self.ending,
            stopped=frozenset((key,)) if key in self.stopped else frozenset(),
        )

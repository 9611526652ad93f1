"""Carries out what the plan asks for: each action is a move of the fleet, often with a call to a runtime."""

from __future__ import annotations

import asyncio
from typing import Any

from orchd.domain.ids import Address
from orchd.domain.lifecycle import PROBED, RunnerEvent, RunnerState, accepts
from orchd.domain.model import ExternalLaunch
from orchd.health.poller import Poller
from orchd.reconcile import actions, plan
from orchd.reconcile.fleet import Fleet
from orchd.reconcile.metrics import ReconcileCollector
from orchd.reconcile.runner import Leaving, Runner
from orchd.reconcile.runtime_calls import RuntimeCalls
from orchd.reconcile.settings import ReconcileSettings
from orchd.sessions.table import SessionTable

E = RunnerEvent
S = RunnerState


class Executor:
    """A part of the loop: called only from its steps."""

    def __init__(
        self,
        fleet: Fleet,
        table: SessionTable,
        calls: RuntimeCalls,
        poller: Poller,
        metrics: ReconcileCollector,
        rules: ReconcileSettings,
    ) -> None:
        self._fleet = fleet
        self._table = table
        self._calls = calls
        self._poller = poller
        self._metrics = metrics
        self._rules = rules

    def do(self, action: actions.Action) -> None:
        """Take one step of the plan."""
        fleet = self._fleet
        if isinstance(action, actions.Create):
            fleet.add(action.id, action.model, action.runtime)
            return
        runner = fleet.runners[action.id]
        now = asyncio.get_running_loop().time()
        match action:
            case actions.Forget():
                fleet.drop(runner.id)
            case actions.Update(_, model):
                runner = fleet.note(runner.id, model=model)
                if runner.state in PROBED:
                    self._poller.update(runner.id, model)
                if runner.state is S.READY and runner.address is not None:
                    self._table.open(runner.id, runner.address, model.sessions_per_replica)
            case actions.Prepare():
                why = "its wait is over" if runner.state is S.BACKOFF else "it is to run"
                changes: dict[str, Any] = {"busy": True, "fault": "", "detail": "", "restart_asked": False}
                changes |= {"checking": False, "checked": False}
                self._calls.prepare(fleet.move(runner.id, E.PREPARE, why, **changes), checked=runner.checked)
            case actions.Check():
                self._calls.check(fleet.note(runner.id, checking=True))
            case actions.Start():
                self._calls.start(fleet.move(runner.id, E.START, "nothing stands in its way", busy=True))
            case actions.Attach():
                assert isinstance(runner.model.launch, ExternalLaunch)
                changes = {"address": runner.model.launch.address, "launched_at": now, "restart_asked": False}
                self.probe(fleet.move(runner.id, E.ATTACH, "somebody else runs it", **changes))
            case actions.Unpause():
                self._calls.resume(fleet.note(runner.id, busy=True))
            case actions.Drain(_, leaving, why):
                if leaving is Leaving.RESTART:
                    self._metrics.restarted(runner.id.key, "operator")
                until = now + self._rules.drain_timeout_s
                fleet.move(runner.id, E.DRAIN, why, leaving=leaving, leaving_why=why, drain_until=until)
            case actions.Resume():
                self.probe(fleet.move(runner.id, E.RESUME, "it is wanted again", leaving=None, leaving_why=""))
            case actions.Stop(_, why):
                self._table.abort(runner.id, why)
                self.end(fleet.move(runner.id, E.STOP, why, leaving_why=runner.leaving_why or why))
            case actions.GiveUp(_, why):
                word = "unhealthy" if runner.state is S.UNHEALTHY else "loading_timeout"
                self.fail(runner, E.GIVE_UP, word, why)
            case actions.Reset(_, why):
                forget: dict[str, Any] = {"failures": (), "unready_failures": 0, "failed_starts": 0, "last_failure": ""}
                if why == plan.NOT_AWAITED:
                    forget = {}
                fleet.move(runner.id, E.RESET, why, **forget)

    def fail(self, runner: Runner, move: RunnerEvent, word: str, why: str, *, passing: bool = False) -> None:
        """Take a runner down that failed by itself. `word`: for the metric; `passing`: see `Runner`."""
        if not accepts(runner.state, move):
            return
        # A runner that was leaving anyway has nothing to make good.
        fault = "" if runner.state in (S.DRAINING, S.STOPPING) else why
        if fault:
            self._metrics.restarted(runner.id.key, word)
        failures = self.forgiven(runner)
        self.end(self._fleet.move(runner.id, move, why, fault=fault, detail=why, failures=failures, passing=passing))

    def end(self, runner: Runner) -> None:
        """Have a runner in STOPPING stopped and removed."""
        self._poller.unwatch(runner.id)
        self._calls.end(self._fleet.note(runner.id, busy=True, checking=False))

    def probe(self, runner: Runner) -> None:
        """Begin to poll its health, or begin again."""
        assert runner.address is not None
        self._poller.unwatch(runner.id)
        self._poller.watch(runner.id, runner.model, runner.address, since=runner.launched_at)

    def started(
        self, runner: Runner, address: Address | None, move: RunnerEvent = E.STARTED, why: str = "it was started"
    ) -> None:
        """Note that it runs, at this address, and begin to probe it."""
        now = asyncio.get_running_loop().time()
        changes: dict[str, Any] = {"address": address, "busy": False, "launched_at": now, "called_at": now}
        changes["was_ready"] = False
        self.probe(self._fleet.move(runner.id, move, why, loading_since=None, **changes))

    def forgiven(self, runner: Runner) -> tuple[float, ...]:
        """Its failures, unless it was ready long enough for them to be forgotten."""
        now = asyncio.get_running_loop().time()
        stable = runner.state is S.READY and now - runner.since >= self._rules.backoff_reset_s
        return () if stable else runner.failures

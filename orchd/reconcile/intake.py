"""Takes in what is reported of runners: verdicts of health, looks at the runtimes, and the ends of our own calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import structlog

from orchd.domain.events import HealthChanged
from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.lifecycle import PROBED, RunnerEvent, RunnerState, accepts
from orchd.domain.model import RunnerKind, StopSpec
from orchd.domain.ports import SightedAs, Sighting, Verdict
from orchd.health.verdict import FAILURES
from orchd.reconcile import backoff, observe
from orchd.reconcile import call_results as results
from orchd.reconcile.execute import Executor
from orchd.reconcile.hints import how_it_stopped, why_it_failed
from orchd.reconcile.runner import Runner
from orchd.reconcile.runtime_calls import RuntimeCalls
from orchd.reconcile.state import ReconcileState
from orchd.reconcile.strays import STRAY_GRACE_S, Stray, Strays

log = structlog.get_logger("orchd.reconcile")

E = RunnerEvent
S = RunnerState

OFF_NETWORK = "it runs, but is not on the shared network"
REMEMBERED_S = 300.0
"""A look that began before a runner was removed may still show it; no look takes this long."""


class Intake:
    """A part of the loop: called only from its steps.

    Args:
        pending: the calls to the runtimes that are under way.
        jitter: 0 to 1.
    """

    def __init__(
        self, state: ReconcileState, executor: Executor, pending: RuntimeCalls, jitter: Callable[[], float]
    ) -> None:
        self._state = state
        self._fleet = state.fleet
        self._table = state.table
        self._executor = executor
        self._calls = pending
        self._rules = state.settings.reconcile
        self._jitter = jitter
        self._removed: dict[str, float] = {}
        self.strays = Strays()

    def health(self, event: HealthChanged) -> None:
        """Take in the verdict of a runner's health."""
        runner = self._fleet.runners.get(event.runner)
        if runner is None or runner.state not in PROBED:
            return
        now = asyncio.get_running_loop().time()
        said = f"probe: {event.evidence}"
        loading_since = None
        changes: dict[str, Any] = {}
        match event.verdict:
            case Verdict.READY:
                move = E.PROBE_READY
                changes = {"unready_failures": 0, "failed_starts": 0, "last_failure": "", "was_ready": True}
            case Verdict.LOADING:
                move = E.PROBE_LOADING
                loading_since = runner.loading_since
                if loading_since is None and event.word not in FAILURES:
                    loading_since = now
            case Verdict.ERROR if runner.model.managed and runner.state is not S.DRAINING:
                self._executor.fail(runner, E.GIVE_UP, "error", f"it says that it is in error ({event.evidence})")
                return
            case _:
                move = E.PROBE_FAILED
        self._fleet.move(
            runner.id,
            move,
            f"health is {event.verdict}",
            event.evidence,
            detail="" if event.verdict is Verdict.READY else said,
            loading_since=loading_since,
            failures=self._executor.forgiven(runner),
            **changes,
        )

    def look(self, event: results.RunnersListed) -> Iterator[ModelKey]:
        """Take in what one runtime shows, model by model; yields after each, so that others can run in between."""
        self._removed = {handle: at for handle, at in self._removed.items() if at >= event.at - REMEMBERED_S}
        seen: dict[ModelKey, list[Sighting]] = {}
        for sighting in event.sightings:
            seen.setdefault(sighting.runner.key, []).append(sighting)
        strays: set[str] = set()
        for key in {**seen, **dict.fromkeys(self._fleet.keys())}:
            fresh = [s for s in seen.get(key, ()) if self._removed.get(s.handle, -1.0) < event.at]
            self._look_at(key, fresh, event, strays)
            yield key
        self.strays.keep_only(event.kind, frozenset(strays))
        for stray in self.strays.due(self._state.why_spared, asyncio.get_running_loop().time()):
            if stray.kind is event.kind:
                self.remove_stray(stray)

    def _look_at(self, key: ModelKey, fresh: list[Sighting], event: results.RunnersListed, strays: set[str]) -> None:
        for news in observe.observe(event.kind, fresh, self._fleet.by_id(key), event.at):
            match news:
                case observe.Found(sighting):
                    if not self._adopt(event.kind, sighting):
                        strays.add(sighting.handle)
                case observe.Doubled(sighting):
                    if not self._state.why_spared(sighting.runner.key):
                        self._calls.remove_stray(event.kind, sighting.handle, StopSpec())
                case observe.Gone(id, why, out_of_memory):
                    word = "out_of_memory" if out_of_memory else "exited"
                    self._executor.fail(self._fleet.runners[id], E.EXITED, word, why)
                case observe.SeenRunning(id, sighting, unasked):
                    self._see_running(id, sighting, unasked)

    def _see_running(self, id: RunnerId, sighting: Sighting, unasked: bool) -> None:
        runner = self._fleet.note(id, paused=sighting.status is SightedAs.PAUSED)
        if unasked and sighting.address is None:
            self._executor.fail(runner, E.EXITED, "exited", OFF_NETWORK)
        elif unasked:
            self._fleet.move(id, E.START, "somebody else started it")
            self._on_started(self._fleet.runners[id], sighting)
        elif sighting.address is not None and sighting.address != runner.address:
            moved = self._fleet.note(id, address=sighting.address)
            self._executor.probe(moved)
            if runner.state is S.READY:
                self._table.open(id, sighting.address, runner.model.sessions_per_replica)

    def explain(self, key: ModelKey) -> None:
        """Adopt the model's strays that a definition explains now, before the plan makes others in their place."""
        for stray in self.strays.of(key):
            if self._adopt(stray.kind, stray.sighting):
                self.strays.forget(stray.sighting.handle)

    def stray_gone(self, handle: str) -> None:
        """It was removed; a look that began before may still show it."""
        self.strays.forget(handle)
        self._removed[handle] = asyncio.get_running_loop().time()

    def remove_stray(self, stray: Stray) -> None:
        """Stop and remove it, by the stop rules of another definition of its model if there is one."""
        id = stray.sighting.runner
        log.info("stray_removed", kind=stray.kind, runner=str(id), handle=stray.sighting.handle, why=stray.why)
        self._calls.remove_stray(stray.kind, stray.sighting.handle, self._state.definitions.stop_of(id.key))

    def _note_stray(self, kind: RunnerKind, sighting: Sighting) -> None:
        id = sighting.runner
        why = self._state.definitions.why_unknown(id.key, id.generation)
        spared = self._state.why_spared(id.key)
        if not self.strays.see(kind, sighting, why, spared, asyncio.get_running_loop().time()):
            return
        log.warning(
            "stray_found",
            kind=kind,
            runner=str(id),
            handle=sighting.handle,
            why=why,
            next=f"it is left alone: {spared}; `orchd down` removes it"
            if spared
            else f"it is removed in {STRAY_GRACE_S:g} s, unless an entry of the models file explains it by then",
        )

    def _adopt(self, kind: RunnerKind, sighting: Sighting) -> bool:
        """Take over a runner of an earlier orchd; return False if no definition explains it."""
        id = sighting.runner
        model = self._state.definitions.find(id.key, id.generation)
        if model is None or model.kind is not kind:
            self._note_stray(kind, sighting)
            return False
        runner = self._fleet.runners.get(id) or self._fleet.add(id, model)
        if runner.state is not S.COLD:
            self._fleet.move(id, E.RESET, "one was found")
        runner = self._fleet.note(id, handle=sighting.handle, found=True)
        why = "left by an earlier orchd"
        match sighting.status:
            case SightedAs.CREATED:
                self._fleet.move(id, E.FOUND_CREATED, why)
            case SightedAs.EXITED:
                self._executor.fail(runner, E.FOUND_DEAD, "exited", "it had exited while orchd was away")
            case _ if sighting.address is None:
                self._executor.fail(runner, E.FOUND_DEAD, "exited", OFF_NETWORK)
            case _:
                self._on_started(runner, sighting, E.FOUND_RUNNING, why)
                self._fleet.note(id, paused=sighting.status is SightedAs.PAUSED)
        return True

    def _on_started(
        self,
        runner: Runner,
        at: Sighting | results.StartDone,
        move: RunnerEvent = E.STARTED,
        why: str = "it was started",
    ) -> None:
        now = asyncio.get_running_loop().time()
        changes: dict[str, Any] = {"address": at.address, "busy": False, "launched_at": now, "called_at": now}
        changes["was_ready"] = False
        self._executor.probe(self._fleet.move(runner.id, move, why, loading_since=None, **changes))

    def call(self, event: results.CallResult) -> None:
        """Take in what one of our own calls to a runtime tells."""
        assert not isinstance(event, results.RunnersListed | results.RuntimeDown | results.StrayRemoval)
        runner = self._fleet.runners[event.id]
        if runner.state is S.STOPPING and not isinstance(event, results.RunnerEnded | results.RunnerEndFailed):
            return  # late news of a call that the stop has cut short
        done: dict[str, Any] = {"busy": False, "called_at": asyncio.get_running_loop().time()}
        match event:
            case results.PrepareProgress(_, text):
                if runner.state is S.PULLING:
                    self._fleet.note(runner.id, detail=text)
                elif runner.checking:
                    self._fleet.note(runner.id, detail=f"asked to restart, runs on until this is done: {text}")
            case results.CheckDone():
                self._fleet.note(runner.id, checking=False, checked=True, detail="")
            case results.CheckFailed(_, reason, blameless):
                self._put_off(runner, reason, blameless)
            case results.PrepareDone(_, handle) if runner.state is S.PULLING:
                self._fleet.move(runner.id, E.PREPARE_OK, "it is prepared", handle=handle, detail="", **done)
            case results.StartDone() if runner.state is S.STARTING:
                self._on_started(runner, event)
            case results.UnpauseDone():
                log.warning("runner_unpaused", pipeline=runner.id.key.pipeline, model_id=runner.id.key.model_id)
                self._fleet.note(runner.id, paused=False, **done)
            case results.LaunchFailed(_, reason, blameless, passing):
                runner = self._fleet.note(runner.id, detail=reason, **done)
                if blameless:
                    # Nothing more is asked of this runtime until it has shown its runners again.
                    self._state.set_down(runner.model.kind, reason)
                if accepts(runner.state, E.LAUNCH_FAILED):
                    if blameless:
                        self._executor.end(self._fleet.move(runner.id, E.LAUNCH_FAILED, reason))
                    else:
                        self._executor.fail(runner, E.LAUNCH_FAILED, "launch_failed", reason, passing=passing)
            case results.RunnerEnded():
                self._ended(self._fleet.note(runner.id, **done), event)
            case results.RunnerEndFailed(_, reason):
                self._fleet.note(runner.id, detail=reason, **done)
            case _:
                pass

    def _put_off(self, runner: Runner, reason: str, blameless: bool) -> None:
        """A restart was asked for that could only fail: what runs goes on."""
        why = f"asked to restart, but runs on: {reason}"
        self._fleet.note(runner.id, checking=False, restart_asked=blameless, detail=why)
        if blameless:
            self._state.set_down(runner.model.kind, reason)
        key = runner.id.key
        log.warning("restart_put_off", pipeline=key.pipeline, model_id=key.model_id, reason=reason, again=blameless)

    def _ended(self, runner: Runner, event: results.RunnerEnded) -> None:
        if event.handle is not None:
            self._removed[event.handle] = runner.called_at
        self._table.abort(runner.id, runner.fault or "the runner was stopped")
        if runner.model.managed:  # Else it goes on, and so may its work.
            self._table.gone(runner.id)
        now = asyncio.get_running_loop().time()
        stop = how_it_stopped(runner.model, event.report)
        if event.streams:
            stop += f"; streams: {event.streams}"
        changes: dict[str, Any] = {
            "handle": None,
            "checked": runner.checked and not runner.fault,
            "found": False,
            "address": None,
            "leaving": None,
            "paused": False,
            "loading_since": None,
            "last_stop": stop,
        }
        if not runner.fault:
            self._fleet.move(runner.id, E.STOPPED, f"stopped ({stop})", **changes)
            return
        if hint := why_it_failed(runner.model, event.last_log):
            runner = replace(runner, fault=f"{runner.fault}; {hint}")
        changes |= {"last_failure": runner.fault, "failed_starts": runner.failed_starts + (not runner.was_ready)}
        changes["was_ready"] = False
        rules = self._rules
        if runner.passing:
            wait = rules.backoff_max_s * (1.0 - 0.2 * self._jitter())
            why = f"{runner.fault}; this does not count as a failure, and is tried again in {wait:.1f} s"
            changes |= {"retry_at": now + wait, "detail": runner.fault}
            self._fleet.move(runner.id, E.STOPPED_AFTER_FAILURE, why, **changes)
            return
        failures = (*backoff.recent(runner.failures, now, rules), now)
        unready = runner.unready_failures + 1
        changes |= {"failures": failures, "unready_failures": unready, "last_log": event.last_log}
        changes |= {"fault": runner.fault, "detail": runner.fault, "restarts": runner.restarts + 1}
        tail = " | ".join(event.last_log[-3:])
        if backoff.parked(failures, unready, rules):
            why = f"failed {len(failures)} times, the last time: {runner.fault}"
            self._fleet.move(runner.id, E.STOPPED_TOO_OFTEN, why, tail, **changes)
            return
        wait = backoff.delay_s(len(failures), rules, self._jitter())
        why = f"{runner.fault}; started again in {wait:.1f} s"
        self._fleet.move(runner.id, E.STOPPED_AFTER_FAILURE, why, tail, retry_at=now + wait, **changes)

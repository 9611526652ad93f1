"""Takes in what is reported of runners: verdicts of health, and what became of our own calls to the runtimes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from orchd.domain.events import HealthChanged
from orchd.domain.lifecycle import PROBED, RunnerEvent, RunnerState, accepts
from orchd.domain.ports import Verdict
from orchd.health.verdict import FAILURES
from orchd.reconcile import backoff
from orchd.reconcile import call_results as results
from orchd.reconcile.execute import Executor
from orchd.reconcile.hints import how_it_stopped, why_it_failed
from orchd.reconcile.runner import Runner
from orchd.reconcile.sightings import Sightings
from orchd.reconcile.state import ReconcileState

log = structlog.get_logger("orchd.reconcile")

E = RunnerEvent
S = RunnerState


class Intake:
    """A part of the loop: called only from its steps.

    Args:
        jitter: returns 0 to 1.
    """

    def __init__(
        self, state: ReconcileState, executor: Executor, sightings: Sightings, jitter: Callable[[], float]
    ) -> None:
        self._state = state
        self._fleet = state.fleet
        self._table = state.table
        self._executor = executor
        self._sightings = sightings
        self._rules = state.settings.reconcile
        self._jitter = jitter

    def health(self, event: HealthChanged) -> None:
        """Take in the verdict of a runner's health."""
        runner = self._fleet.runners.get(event.runner)
        if runner is None or runner.state not in PROBED:
            return
        if runner.state is S.READY and event.verdict is Verdict.READY:
            self._fleet.note(runner.id, doubt=event.doubt)
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
            "its health probes fail" if move is E.PROBE_FAILED else f"health is {event.verdict}",
            event.evidence,
            detail="" if event.verdict is Verdict.READY else said,
            doubt=event.doubt,
            loading_since=loading_since,
            failures=self._executor.forgiven(runner),
            **changes,
        )

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
                self._executor.started(runner, event.address)
            case results.UnpauseDone():
                log.warning("runner_unpaused", pipeline=runner.id.key.pipeline, model_id=runner.id.key.model_id)
                self._fleet.note(runner.id, paused=False, **done)
            case results.LaunchFailed(_, reason, blameless, passing):
                runner = self._fleet.note(runner.id, detail=reason, **done)
                if blameless:
                    # Nothing more is asked of this runtime until it has shown its runners again.
                    self._state.set_down(runner.runtime, reason)
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
            self._state.set_down(runner.runtime, reason)
        key = runner.id.key
        log.warning("restart_put_off", pipeline=key.pipeline, model_id=key.model_id, reason=reason, again=blameless)

    def _ended(self, runner: Runner, event: results.RunnerEnded) -> None:
        if event.handle is not None:
            self._sightings.removed(event.handle, runner.called_at)
        self._table.abort(runner.id, runner.fault or "the runner was stopped")
        if runner.model.managed:  # Else it goes on, and so may its work.
            self._table.gone(runner.id)
        now = asyncio.get_running_loop().time()
        stop = how_it_stopped(runner.model, event.report)
        if event.streams and not event.streams.endswith(": 200"):
            stop += f"; its streams were not ended: {event.streams}"
        changes: dict[str, Any] = {
            "handle": None,
            "checked": runner.checked and not runner.fault,
            "found": False,
            "address": None,
            "leaving": None,
            "leaving_why": "",
            "paused": False,
            "loading_since": None,
            "last_stop": stop,
        }
        if not runner.fault:
            self._fleet.move(runner.id, E.STOPPED, stop, **changes)
            return
        if hint := why_it_failed(runner.model, event.last_log):
            runner = runner.changed(fault=f"{runner.fault}; {hint}")
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
        tail = " | ".join(line.strip() for line in event.last_log[-3:])
        if backoff.given_up(failures, unready, rules):
            why = f"failed {len(failures)} times, the last time: {runner.fault}"
            self._fleet.move(runner.id, E.STOPPED_TOO_OFTEN, why, tail, **changes)
            return
        wait = backoff.delay_s(len(failures), rules, self._jitter())
        why = f"{runner.fault}; started again in {wait:.1f} s"
        self._fleet.move(runner.id, E.STOPPED_AFTER_FAILURE, why, tail, retry_at=now + wait, **changes)

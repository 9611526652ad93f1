"""Everything that a plan is made from, and when it may change by the clock alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.lifecycle import RunnerState
from orchd.domain.model import Model, RunnerKind
from orchd.domain.runtime_id import RuntimeId
from orchd.domain.stalls import Stall, lost_s
from orchd.reconcile.runner import Runner
from orchd.reconcile.settings import ReconcileSettings

S = RunnerState

RETRY_S = 1.0
"""Seconds before a call that did not go through is made again."""


@dataclass(slots=True)  # Not frozen: one is made for each plan, and to make a frozen one takes longer than most plans.
class PlanInput:
    """Everything that a plan is made from. Never changed.

    The loop gives one model at a time.

    Attributes:
        sessions: running sessions per runner; absent = none. Those that let go hold nothing up.
        idle_since: when the last session of a runner ended; absent = none has since it is ready.
        awaited: cold models that a job waits for.
        up: runtimes that answer and whose runners are known.
        now: loop clock, seconds.
        unwanted_why: the reason to give for ending a runner whose model is not desired.
        spared: models of which nothing may be taken away now, though they, or former generations of them, are not
            desired: it is not known yet what the operator wants. See `strays.spared`.
        ending: kinds of runners that are all taken down now, on order.
        stopped: models that an operator has stopped, desired or not.
        stalls: when orchd itself stood still; deadlines that are held against runners are put off by them.
        expected: runners that may carry streams which an earlier orchd has left: each is one again when its runner is
            ready, so until then (or until they are given up) such a runner is not drained.
        letting_go: runners that may still be at work for callers who have left: that they fail their probes does not
            count.
    """

    desired: Mapping[ModelKey, Model]
    runners: Mapping[RunnerId, Runner]
    sessions: Mapping[RunnerId, int]
    idle_since: Mapping[RunnerId, float]
    awaited: frozenset[ModelKey]
    up: frozenset[RuntimeId]
    now: float
    settings: ReconcileSettings
    unwanted_why: str
    spared: frozenset[ModelKey] = frozenset()
    ending: frozenset[RunnerKind] = frozenset()
    stopped: frozenset[ModelKey] = frozenset()
    stalls: tuple[Stall, ...] = ()
    letting_go: frozenset[RunnerId] = frozenset()
    expected: frozenset[RunnerId] = frozenset()

    def due(self, since: float, limit_s: float) -> float:
        """Return when `limit_s` of time in which orchd did not stand still have passed since then."""
        return since + limit_s + lost_s(self.stalls, since)

    def drain_due(self, runner: Runner) -> float:
        """Return when the sessions of a draining runner are cut."""
        return runner.drain_until + lost_s(self.stalls, runner.since)

    def spares(self, runner: Runner) -> bool:
        """Return whether a runner must not be taken away, though no definition (or a newer one) asks for it."""
        ordered = runner.id.key in self.stopped or runner.model.kind in self.ending
        return (runner.id.key in self.spared or runner.id in self.expected) and not ordered

    def held(self, runner: Runner) -> int:
        return self.sessions.get(runner.id, 0)

    def idle(self, runner: Runner) -> float:
        """Return since when a ready runner that holds no session has held none."""
        return max(self.idle_since.get(runner.id, 0.0), runner.since)


def may_idle(runner: Runner, given: PlanInput) -> bool:
    """Return whether it is stopped when nobody uses it. Of one that was found, the file must say so first."""
    return not runner.model.warm and not (runner.found and given.spares(runner))


def next_deadline(given: PlanInput) -> float | None:
    """Return the loop time, after `given.now`, at which the plan may change by the clock alone; None = never.

    What was due by `given.now` has been planned then, as far as it can be; the plan compares with these very sums.
    """
    times: list[float] = []
    for runner in given.runners.values():
        model = runner.model
        if runner.paused:
            times.append(runner.called_at + RETRY_S)
        match runner.state:
            case S.BACKOFF:
                times.append(runner.retry_at)
            case S.STOPPING if not runner.busy:
                times.append(runner.called_at + RETRY_S)
            case S.DRAINING:
                times.append(given.drain_due(runner))
            case S.UNHEALTHY if model.managed:
                times.append(given.due(runner.since, model.health.restart_after_s))
            case S.LOADING if runner.loading_since is not None and model.managed:
                times.append(given.due(runner.loading_since, model.loading_timeout_s))
            case S.READY if may_idle(runner, given) and model.managed and not given.held(runner):
                times.append(given.due(given.idle(runner), model.idle_timeout_s))
            case _:
                pass
    return min((time for time in times if time > given.now), default=None)

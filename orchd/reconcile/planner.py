"""Plans models, carries out what the plan asks for, and publishes them: as many at a time as the loop asks for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from orchd.domain.ids import ModelKey
from orchd.domain.state import Stopped
from orchd.reconcile import plan
from orchd.reconcile.agenda import Deadlines
from orchd.reconcile.execute import Executor
from orchd.reconcile.placement import place
from orchd.reconcile.plan_input import next_deadline
from orchd.reconcile.publish import Publisher
from orchd.reconcile.sightings import Sightings
from orchd.reconcile.state import ReconcileState

log = structlog.get_logger("orchd.reconcile")

MOST_ROUNDS = 100
"""Plans made in a row for one model; more would mean that plan and loop disagree for ever."""


@dataclass(slots=True)
class TurnCounts:
    """What the loop has done since it began, for tests and benches.

    Attributes:
        planned: models that were planned and published, each time counted.
        most_at_once: the most models that one step planned.
        most_work: the most that one step did: events taken, models planned, actions carried out.
    """

    turns: int = 0
    steps: int = 0
    planned: int = 0
    most_at_once: int = 0
    most_work: int = 0

    def step(self, work: int) -> None:
        """Count a step that did this much."""
        self.steps += 1
        self.most_work = max(self.most_work, work)


class Planner:
    """A part of the loop: called only from its steps.

    Attributes:
        counts: what the loop has done since it began.
        deadlines: when the clock alone makes a model due.
        sessions_seen: the version of `SessionTable.changes` up to which models have been planned.
        next_full_at: when all models are planned again (loop clock), whether anything has changed or not.
    """

    def __init__(self, state: ReconcileState, executor: Executor, sightings: Sightings, publisher: Publisher) -> None:
        self._state = state
        self._executor = executor
        self._sightings = sightings
        self._publisher = publisher
        self.counts = TurnCounts()
        self.deadlines = Deadlines()
        self.sessions_seen = 0
        self.next_full_at = 0.0

    def note_what_is_due(self) -> None:
        state, now = self._state, asyncio.get_running_loop().time()
        state.agenda.routine(self.deadlines.due(now))
        # When sessions end, a model may be idle. No event is posted for them: there are too many.
        state.agenda.routine(state.table.changes.since(self.sessions_seen))
        self.sessions_seen = state.table.changes.version
        if now >= self.next_full_at:
            self.next_full_at = now + state.settings.reconcile.period_s
            state.agenda.routine(state.keys())

    def read(self, most: int) -> None:
        """Take in what the last file asks for, of some of its entries."""
        for _ in range(most):
            if (key := self._state.unread()) is None:
                return
            self.take_in(key)

    def take_in(self, key: ModelKey) -> None:
        if self._state.take_in(key):
            self._sightings.explain(key)

    def plan(self, most: int) -> int:
        """Plan the most urgent models, carry out what the plan asks for, and publish them.

        Args:
            most: how much work is begun: models and actions.

        Returns:
            How much it was. The last model may exceed `most`.
        """
        count = work = 0
        while work < most and (key := self._state.agenda.next()) is not None:
            work += self._settle(key)
            count += 1
        self._publisher.end_step()
        self.counts.planned += count
        self.counts.most_at_once = max(self.counts.most_at_once, count)
        return work

    def stop(self, key: ModelKey, stopped: Stopped | None) -> None:
        """Carry out at once that an operator has stopped a model, or has started it again (None)."""
        self._state.stop(key, stopped)
        self._settle(key)

    def restart(self, key: ModelKey) -> None:
        self.take_in(key)
        self._state.restart(key)

    def _settle(self, key: ModelKey) -> int:
        """Plan one model; return how much work it was."""
        work = 1
        self.take_in(key)
        now = asyncio.get_running_loop().time()
        for _ in range(MOST_ROUNDS):
            given = self._state.plan_input(key, now)
            todo = plan.plan(given)
            if not todo:
                break
            state = self._state
            for action in place(todo, state.runtimes, given.up, state.fleet.load(state.runtimes)):
                self._executor.do(action)
                work += 1
        else:
            log.error("plan_never_ends", todo=[repr(a) for a in todo[:5]])
        self.deadlines.set(key, next_deadline(given))
        self._publisher.publish(key)
        self._state.agenda.done(key)
        return work

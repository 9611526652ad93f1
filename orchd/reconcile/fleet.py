"""All runners and their history. `move` is the one place in orchd where a runner's state changes.

Owned by the loop (`state.py`) and used from nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import structlog

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.lifecycle import RunnerEvent, RunnerState, next_state
from orchd.domain.model import Model
from orchd.domain.runtime_id import RuntimeId
from orchd.domain.state import Happening
from orchd.errors import Code
from orchd.history.ports import History
from orchd.reconcile.runner import Runner
from orchd.reconcile.told import kind_of
from orchd.sessions.table import SessionTable

log = structlog.get_logger("orchd.reconcile")

HISTORY = 50
"""Events kept per model."""

_LEVELS = {
    RunnerState.UNHEALTHY: logging.WARNING,
    RunnerState.BACKOFF: logging.WARNING,
    RunnerState.FAILED: logging.ERROR,
}
"""Level of the log line that tells of a state which a person may have to look at."""


_NONE: Mapping[RunnerId, Runner] = MappingProxyType({})


class Fleet:
    """The runners by id. Entering READY opens a replica for sessions and leaving READY closes it, in the same step.

    Args:
        on_change: called with the model of each runner that has changed in any way.
    """

    def __init__(self, table: SessionTable, on_change: Callable[[ModelKey], None], history: History) -> None:
        self.runners: dict[RunnerId, Runner] = {}
        self._table = table
        self._on_change = on_change
        self._told = history
        self._of: dict[ModelKey, dict[RunnerId, Runner]] = {}
        self._history: dict[ModelKey, deque[Happening]] = {}
        self._generations: frozenset[tuple[ModelKey, str]] | None = None
        self._load: Counter[RuntimeId | None] = Counter()

    def of(self, key: ModelKey) -> list[Runner]:
        """Return the model's runners, oldest replica first."""
        return sorted(self.by_id(key).values(), key=lambda r: r.id)

    def by_id(self, key: ModelKey) -> Mapping[RunnerId, Runner]:
        """Return the model's runners by id, in the order in which they became known."""
        return self._of.get(key, _NONE)

    def keys(self) -> Collection[ModelKey]:
        """Return the models of which there is a runner."""
        return self._of.keys()

    def load(self, runtimes: Iterable[RuntimeId]) -> dict[RuntimeId, int]:
        """Return how many runners each of these has."""
        return {id: self._load[id] for id in runtimes}

    def generations(self) -> frozenset[tuple[ModelKey, str]]:
        """Return of which definitions there are runners; the very same object until that changes."""
        if self._generations is None:
            self._generations = frozenset((r.key, r.generation) for r in self.runners)
        return self._generations

    def add(self, id: RunnerId, model: Model, runtime: RuntimeId | None) -> Runner:
        """Know a new runner, in COLD; also one whose model is not desired, left by an earlier orchd."""
        if not self._table.known(id.key):
            self._table.define(id.key, model.max_sessions, hold_limit=0)
        runner = Runner(id, model, since=asyncio.get_running_loop().time(), since_date=time.time(), runtime=runtime)
        self._generations = None
        self._keep(runner)
        self._told.stands(id, runner.state, "", model)
        return runner

    def drop(self, id: RunnerId) -> None:
        """Forget a runner of which nothing is left."""
        self._load[self.runners.pop(id).runtime] -= 1
        del self._of[id.key][id]
        self._generations = None
        if not self._of[id.key]:
            del self._of[id.key]
            self._history.pop(id.key, None)
        self._told.gone(id)
        self._on_change(id.key)

    def note(self, id: RunnerId, **changes: Any) -> Runner:
        """Change what is known of a runner, but not its state. What is known already is no change."""
        before = self.runners[id]
        if all(getattr(before, name) == value for name, value in changes.items()):
            return before
        runner = before.changed(**changes)
        self._keep(runner)
        return runner

    def _keep(self, runner: Runner) -> None:
        if (before := self.runners.get(runner.id)) is not None:
            self._load[before.runtime] -= 1
        self._load[runner.runtime] += 1
        self.runners[runner.id] = runner
        self._of.setdefault(runner.id.key, {})[runner.id] = runner
        self._on_change(runner.id.key)

    def move(self, id: RunnerId, event: RunnerEvent, why: str, evidence: str = "", **changes: Any) -> Runner:
        """Take `event`, and change what else is known with it.

        Raises:
            IllegalMove: the state has no such event; callers check `accepts` where news may be late.
        """
        before = self.runners[id]
        state = next_state(before.state, event)
        now = asyncio.get_running_loop().time()
        if state is not before.state:
            changes |= {"since": now, "since_date": time.time()}
        runner = before.changed(state=state, **changes)
        self._keep(runner)
        if state is before.state:
            return runner
        if state is RunnerState.READY:
            assert runner.address is not None
            self._table.open(id, runner.address, runner.model.sessions_per_replica)
        elif before.state is RunnerState.READY:
            self._table.close(id, Code.NOT_READY, why)
        self._history.setdefault(id.key, deque(maxlen=HISTORY)).append(
            Happening(time.time(), id, event, before.state, state, why, evidence)
        )
        self._told.stands(id, state, "; ".join(filter(None, (why, evidence))), runner.model)
        if (kind := kind_of(before.state, event, state)) is not None:
            self._told.note(kind, why, about=id, evidence=evidence, model=runner.model)
        log.log(
            _LEVELS.get(state, logging.INFO),
            "runner_state",
            pipeline=id.key.pipeline,
            model_id=id.key.model_id,
            replica=id.replica,
            generation=id.generation,
            before=before.state,
            state=state,
            why=why,
            evidence=evidence,
        )
        return runner

    def history(self, key: ModelKey) -> tuple[Happening, ...]:
        """Return the model's newest events, oldest first."""
        return tuple(self._history.get(key, ()))

"""Publishes the result of each plan: to jobs (by the session table), to metrics, and to readers of status."""

from __future__ import annotations

from collections.abc import Mapping

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.lifecycle import RunnerState
from orchd.domain.model import Model
from orchd.reconcile.metrics import ReconcileCollector
from orchd.reconcile.runner import Runner
from orchd.reconcile.standing import Standing, standing
from orchd.reconcile.startup_wait import StartupWait
from orchd.reconcile.state import NOT_SEEN, ReconcileState

S = RunnerState


class Publisher:
    """A part of the loop: called only from its steps."""

    def __init__(self, state: ReconcileState, metrics: ReconcileCollector, startup_wait: StartupWait) -> None:
        self._state = state
        self._metrics = metrics
        self._startup_wait = startup_wait
        self._stands: dict[ModelKey, Standing] = {}
        self._gauges: dict[ModelKey, tuple[int, Standing, dict[str, int], bool]] = {}
        self._restless: set[ModelKey] = set()
        self._new: dict[ModelKey, Model] = {}  # For `state.models`, at the end of the step.
        self._models_changed = False
        self._ordered_by: object = None

    @property
    def at_rest(self) -> bool:
        """Whether nothing is under way for any model, and nothing more would happen unless something changes."""
        return not self._restless

    def publish(self, key: ModelKey) -> None:
        """Publish how one model stands now."""
        state = self._state
        runners = state.fleet.of(key)
        leaving = key not in state.wanted
        model = state.wanted.get(key) or _last_model(state.fleet.by_id(key))
        if model is None:
            self._forget(key)
            return
        if state.models.get(key) is not model:
            self._new[key] = model
        down, spared, stopped = state.engine_down(model), state.why_spared(key), key in state.stopped
        stand = standing(model, runners, leaving=leaving, engine_down=down, spared=spared, stopped=stopped)
        if stand != self._stands.get(key):
            self._stands[key] = stand
            state.changes.touch(key)
        waits = stand.startable or self._startup_wait.awaited(
            key, stand, runners, down=down not in ("", NOT_SEEN), leaving=bool(state.ending) or leaving or stopped
        )
        state.table.set_closed(key, startable=waits, code=stand.code, reason=stand.reason)
        counts: dict[str, int] = {}
        for runner in runners:
            counts[runner.state] = counts.get(runner.state, 0) + 1
        gauges = model.max_sessions, stand, counts, stopped
        if gauges != self._gauges.get(key):
            self._gauges[key] = gauges
            self._metrics.define(key, model.max_sessions, managed=model.managed)
            self._metrics.state(key, counts, stand.ready, stand.startable, stopped=stopped)
        if runners and all(self._is_at_rest(runner) for runner in runners):
            self._restless.discard(key)
        else:
            self._restless.add(key)

    def end_step(self) -> None:
        """Let jobs ask for the models that were published in this step. Not for each of them: all are copied."""
        if self._new:
            self._state.models = {**self._state.models, **self._new}
            self._models_changed = True
            self._new = {}

    def end_turn(self) -> None:
        """Publish what is about all models. Each of them has been published."""
        state = self._state
        if self._models_changed or self._ordered_by is not state.desired:
            self._models_changed, self._ordered_by = False, state.desired
            left = {key: model for key, model in state.models.items() if key not in state.wanted}
            # In the file's order, which may have changed while the models did not.
            ordered = {key: state.wanted[key] for key in state.desired.models if key in state.wanted}
            state.models = {**left, **ordered}
        needed = state.needed()
        for runtime in state.runtimes:
            if (down := state.down.get(runtime)) != NOT_SEEN:
                self._metrics.runtime_up(str(runtime), down is None, runtime.kind in needed)

    def _forget(self, key: ModelKey) -> None:
        state = self._state
        self._new.pop(key, None)
        if key in state.models:
            models = dict(state.models)
            del models[key]
            state.models = models
            self._models_changed = True
        self._stands.pop(key, None)
        self._gauges.pop(key, None)
        self._restless.discard(key)
        state.table.forget(key)
        self._metrics.forget(key)
        state.forget(key)

    def _is_at_rest(self, runner: Runner) -> bool:
        if runner.state is S.COLD:
            stopped = runner.id.key in self._state.stopped
            return stopped or (not runner.model.warm and not self._state.engine_down(runner.model))
        return runner.state in (S.READY, S.FAILED) or (runner.state is S.UNHEALTHY and not runner.model.managed)


def _last_model(runners: Mapping[RunnerId, Runner]) -> Model | None:
    """Return the definition of the runner that became known last; None = there is none."""
    return next((runner.model for runner in reversed([*runners.values()])), None)

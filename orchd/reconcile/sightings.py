"""Takes in what the runtimes show: adopts what it can explain, notes what has gone, removes strays late.

What a runtime shows may be older than a call that has ended since. So a runner that a call has touched since the look
began is left for the next look (`observe`), and a handle that was removed since then is not taken for a new runner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import structlog

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.lifecycle import RunnerEvent, RunnerState
from orchd.domain.model import StopSpec
from orchd.domain.ports import SightedAs, Sighting
from orchd.domain.runtime_id import RuntimeId
from orchd.history.ports import Kind
from orchd.reconcile import observe
from orchd.reconcile.call_results import RunnersListed
from orchd.reconcile.execute import Executor
from orchd.reconcile.runtime_calls import RuntimeCalls
from orchd.reconcile.state import ReconcileState
from orchd.reconcile.strays import STRAY_GRACE_S, Stray, Strays

log = structlog.get_logger("orchd.reconcile")

E = RunnerEvent
S = RunnerState

OFF_NETWORK = "it runs, but is not on the shared network"
REMEMBERED_S = 300.0
"""A look that began before a runner was removed may still show it; no look takes this long."""


class Sightings:
    """A part of the loop: called only from its steps.

    Args:
        pending: the calls to the runtimes that are under way.

    Attributes:
        strays: runners of our instance that no known definition explains.
    """

    def __init__(self, state: ReconcileState, executor: Executor, pending: RuntimeCalls) -> None:
        self._state = state
        self._fleet = state.fleet
        self._executor = executor
        self._calls = pending
        self._removed: dict[str, float] = {}
        self.strays = Strays()

    def removed(self, handle: str, at: float) -> None:
        """Note that a runner was removed at that loop time; a look that began before may still show it."""
        self._removed[handle] = at

    def look(self, event: RunnersListed) -> Iterator[ModelKey]:
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
        self.strays.keep_only(event.runtime, frozenset(strays))
        for stray in self.strays.due(self._state.why_spared, asyncio.get_running_loop().time()):
            if stray.runtime == event.runtime:
                self.remove_stray(stray)

    def _look_at(self, key: ModelKey, fresh: list[Sighting], event: RunnersListed, strays: set[str]) -> None:
        for news in observe.observe(event.runtime, fresh, self._fleet.by_id(key), event.at):
            match news:
                case observe.Found(sighting):
                    if not self._adopt(event.runtime, sighting):
                        strays.add(sighting.handle)
                case observe.Doubled(sighting):
                    if not self._state.why_spared(sighting.runner.key):
                        self._calls.remove_stray(event.runtime, sighting.handle, StopSpec())
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
            self._executor.started(self._fleet.runners[id], sighting.address)
        elif sighting.address is not None and sighting.address != runner.address:
            moved = self._fleet.note(id, address=sighting.address)
            self._executor.probe(moved)
            if runner.state is S.READY:
                self._state.table.open(id, sighting.address, runner.model.sessions_per_replica)

    def explain(self, key: ModelKey) -> None:
        """Adopt the model's strays that a definition explains now, before the plan makes others in their place."""
        for stray in self.strays.of(key):
            if self._adopt(stray.runtime, stray.sighting):
                self.strays.forget(stray.sighting.handle)

    def stray_gone(self, handle: str) -> None:
        """It was removed; a look that began before may still show it."""
        self.strays.forget(handle)
        self.removed(handle, asyncio.get_running_loop().time())

    def remove_stray(self, stray: Stray) -> None:
        """Stop and remove it, by the stop rules of another definition of its model if there is one."""
        id = stray.sighting.runner
        log.info("stray_removed", kind=str(stray.runtime), runner=str(id), handle=stray.sighting.handle, why=stray.why)
        self._state.history.note(Kind.STRAY_REMOVED, f"{stray.sighting.handle}: {stray.why}", about=id)
        self._calls.remove_stray(stray.runtime, stray.sighting.handle, self._state.definitions.stop_of(id.key))

    def _note_stray(self, runtime: RuntimeId, sighting: Sighting) -> None:
        id = sighting.runner
        why = self._state.definitions.why_unknown(id.key, id.generation)
        spared = self._state.why_spared(id.key)
        if not self.strays.see(runtime, sighting, why, spared, asyncio.get_running_loop().time()):
            return
        log.warning(
            "stray_found",
            kind=str(runtime),
            runner=str(id),
            handle=sighting.handle,
            why=why,
            next=f"it is left alone: {spared}; `orchd down` removes it"
            if spared
            else f"it is removed in {STRAY_GRACE_S:g} s, unless an entry of the models file explains it by then",
        )

    def _adopt(self, runtime: RuntimeId, sighting: Sighting) -> bool:
        """Take over a runner of an earlier orchd; return False if no definition explains it."""
        id = sighting.runner
        model = self._state.definitions.find(id.key, id.generation)
        if model is None or model.kind is not runtime.kind:
            self._note_stray(runtime, sighting)
            return False
        runner = self._fleet.runners.get(id) or self._fleet.add(id, model, runtime)
        if runner.state is not S.COLD:
            self._fleet.move(id, E.RESET, "one was found")
        runner = self._fleet.note(id, runtime=runtime, handle=sighting.handle, found=True)
        why = "left by an earlier orchd"
        match sighting.status:
            case SightedAs.CREATED:
                self._fleet.move(id, E.FOUND_CREATED, why)
            case SightedAs.EXITED:
                self._executor.fail(runner, E.FOUND_DEAD, "exited", "it had exited while orchd was away")
            case _ if sighting.address is None:
                self._executor.fail(runner, E.FOUND_DEAD, "exited", OFF_NETWORK)
            case _:
                self._executor.started(runner, sighting.address, E.FOUND_RUNNING, why)
                self._fleet.note(id, paused=sighting.status is SightedAs.PAUSED)
        return True

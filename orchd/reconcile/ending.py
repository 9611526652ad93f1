"""Takes runners down on order, while the loop goes on: for `orchd down`, and for what must not outlive orchd."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from orchd.domain.model import RunnerKind
from orchd.domain.ports import Runtime
from orchd.domain.runtime_id import RuntimeId
from orchd.errors import EngineUnavailable
from orchd.reconcile.call_results import RunnersListed
from orchd.reconcile.runtime_calls import RuntimeCalls
from orchd.reconcile.sightings import Sightings
from orchd.reconcile.state import NOT_SEEN, ReconcileState

log = structlog.get_logger("orchd.reconcile")

END_MARGIN_S = 45.0
"""Seconds for the calls to the engine around a stop, beyond the drain and the grace period."""


class Turning(Protocol):
    """The loop, as far as its end needs it."""

    def post(self, event: RunnersListed) -> None: ...

    async def changed(self) -> None: ...


class Ending:
    """A part of the loop."""

    def __init__(
        self,
        state: ReconcileState,
        runtimes: Mapping[RuntimeId, Runtime],
        calls: RuntimeCalls,
        sightings: Sightings,
        loop: Turning,
    ) -> None:
        self._state = state
        self._runtimes = runtimes
        self._calls = calls
        self._sightings = sightings
        self._loop = loop

    async def end(
        self, kinds: frozenset[RunnerKind], tell: Callable[[str], None], *, strays: bool = False
    ) -> tuple[str, ...]:
        """See that all runners of `kinds` are drained, stopped and removed; return when done or out of time.

        Time is what a drain and the longest grace take, and `END_MARGIN_S`.

        Args:
            tell: is given a line whenever there is news.
            strays: those too that no definition explains.

        Returns:
            What may still run, each in words; empty = a look that began after the last one was removed shows nothing.
        """
        unseen = {runtime for runtime in self._runtimes if runtime.kind in self._state.ending}
        unknown: list[str] = []
        told = ""
        try:
            async with asyncio.timeout(self._longest_s(kinds)):
                while True:
                    if strays:
                        self._remove_strays(tell)
                    if left := self._left(strays):
                        if (text := ", ".join(left)) != told:
                            tell(text)
                            told = text
                        await self._loop.changed()
                    elif unseen:
                        unknown += await self._look_again(unseen.pop(), tell)
                    else:
                        return tuple(unknown)
        except TimeoutError:
            still = (*self._left(strays, why=True), *unknown)
            log.warning("runners_left_behind", left=", ".join(still))
            return still

    def _longest_s(self, kinds: frozenset[RunnerKind]) -> float:
        graces = (model.stop.grace_s for model in self._state.definitions if model.kind in kinds)
        # Streams are closed before the signal, for at most half the grace.
        return self._state.settings.reconcile.drain_timeout_s + 1.5 * max(graces, default=0.0) + END_MARGIN_S

    def _left(self, strays: bool, *, why: bool = False) -> list[str]:
        """Return what is to end and still there; `why`: with what is known of the reason."""
        runners = [r for r in self._state.fleet.runners.values() if r.model.kind in self._state.ending]
        details = [f": {r.detail}" if why and r.detail else "" for r in runners]
        left = [f"{r.id.key} {r.state}{detail}" for r, detail in zip(runners, details, strict=True)]
        return [*left, *(handle[:12] for handle in (self._calls.strays() if strays else ()))]

    def _remove_strays(self, tell: Callable[[str], None]) -> None:
        for stray in self._sightings.strays.all():
            if stray.sighting.handle not in self._calls.strays():
                tell(f"{stray.sighting.runner.key} {stray.sighting.handle[:12]}: no definition explains it; removed")
                self._sightings.remove_stray(stray)

    async def _look_again(self, id: RuntimeId, tell: Callable[[str], None]) -> list[str]:
        """Have the loop take in what is there now; return why that can't be known, if it matters."""
        at = asyncio.get_running_loop().time()
        try:
            self._loop.post(RunnersListed(id, at, await self._runtimes[id].sightings()))
        except EngineUnavailable as exc:
            down = self._state.down
            reason = down.get(id, exc.message)
            reason = exc.message if reason == NOT_SEEN else reason
            if any(model.kind is id.kind for model in self._state.definitions):
                return [f"any {id}: {reason}"]
            tell(f"{id} runners were not looked for, since no model is one: {reason}")
            return []
        await self._loop.changed()
        return []

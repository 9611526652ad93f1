"""Live Runner by a file that the node has read at its start: `orchd export runners` prints it, nothing is registered.

The node asks our health URL, so a model that can't serve is hidden, and comes back by itself. It ends all sessions of a
runner over one bad answer, so a model that leaves stays healthy while jobs run on it.
"""

from __future__ import annotations

import asyncio
import contextlib

from orchd.advertise.live_runner import NAME
from orchd.advertise.live_runner.listings import LiveListings
from orchd.advertise.live_runner.plan import RunnerRecord
from orchd.advertise.registry import RegistryContext
from orchd.domain.ids import ModelKey

DRAIN_CHECK_S = 2.0
"""How often it is checked whether the jobs of a model that leaves are over."""


class ExportedRunners:
    """All models of the registry. Make it inside a running loop."""

    def __init__(self, context: RegistryContext, live: LiveListings) -> None:
        self._context = context
        self._live = live
        self._changed = context.listings.subscribe()

    async def run(self) -> None:
        """Answer for the health of every model until cancelled."""
        while True:
            self._changed.clear()
            leaving = self._update()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_CHECK_S if leaving else None):
                    await self._changed.wait()

    async def withdraw_all(self) -> None:
        """Hide everything at the node's next look. After `run` has ended."""
        self._context.node.healthy.clear()

    def runner_id(self, key: ModelKey) -> str:
        return self._context.runner_id(key)

    def listed(self) -> dict[ModelKey, RunnerRecord | None]:
        """Return what discovery should show of each model."""
        return {key: self._record(key) for key in self._context.listings.published[NAME]}

    def used(self, key: ModelKey) -> int:
        """Return how many of the model's slots are taken, as far as orchd knows: the node does not tell it."""
        return self._context.listings.active(key)

    def telling(self, key: ModelKey) -> bool:
        """Return False: the node is told nothing."""
        return False

    def lost(self, key: ModelKey) -> None:
        """The node does not show what it should. It has to be started again with a new file, which a person does."""

    def stopped(self, key: ModelKey, session: str) -> None:
        """The node has ended a session at our request."""
        self._changed.set()

    def _record(self, key: ModelKey) -> RunnerRecord | None:
        return self._live.wanted(key)[0] if self._live.spoken else None

    def _update(self) -> bool:
        """Say who is healthy; return whether one is only because of its last jobs."""
        offers, healthy = self._context.listings.offers, self._context.node.healthy
        leaving = {key for key in healthy - offers.now.keys() if self._context.listings.active(key)}
        wanted = {key for key in offers.now if self._live.wanted(key)[0] is not None or not self._live.spoken}
        healthy.intersection_update(wanted | leaving)
        healthy.update(wanted)
        for key in offers.now.keys() | offers.why_not.keys():
            self._live.say(key, record=self._record(key), error=self._live.wanted(key)[1])
        return bool(leaving)

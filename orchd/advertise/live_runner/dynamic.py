"""Live Runner by heartbeats: one task per model (`runner`), which does what `plan` says."""

from __future__ import annotations

import asyncio

from orchd.advertise.live_runner.calls import LiveContext
from orchd.advertise.live_runner.event_channel import MOST_READERS, SessionEvent
from orchd.advertise.live_runner.known_pace import KnownPace
from orchd.advertise.live_runner.listings import LiveListings
from orchd.advertise.live_runner.plan import RunnerRecord
from orchd.advertise.live_runner.runner import DynamicRunner
from orchd.advertise.live_runner.secret_probe import SecretProbe
from orchd.advertise.registry import RegistryContext
from orchd.domain.ids import ModelKey
from orchd.tasks import cancel, spawn


class DynamicRunners:
    """All models of the registry."""

    def __init__(self, context: RegistryContext, live: LiveListings) -> None:
        self._context = context
        self._shared = LiveContext(
            context,
            live,
            KnownPace(context.node.store),
            SecretProbe(context.node.calls),
            asyncio.Semaphore(MOST_READERS),
        )
        self._runners: dict[ModelKey, DynamicRunner] = {}
        self._tasks: dict[ModelKey, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Keep every model registered, and unregistered, until cancelled."""
        changed = self._context.listings.subscribe()
        self._context.listings.slots_moved.connect(self._wake)
        try:
            while True:
                changed.clear()
                self._reap()
                offers = self._context.listings.offers
                for key in offers.now.keys() | offers.why_not.keys():
                    if key not in self._tasks:
                        runner = self._runners[key] = DynamicRunner(key, self.runner_id(key), self._shared)
                        self._tasks[key] = spawn(runner.run(), name=f"live runner {key}")
                        self._tasks[key].add_done_callback(lambda _: changed.set())
                for runner in self._runners.values():
                    runner.wake.set()
                await changed.wait()
        finally:
            await cancel(*self._tasks.values())

    def _wake(self, key: ModelKey) -> None:
        if runner := self._runners.get(key):
            runner.wake.set()

    def _reap(self) -> None:
        for key, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[key], self._runners[key]
                task.result()  # A bug of ours ends the registry, loudly.

    async def withdraw_all(self) -> None:
        """Leave nothing that could be reserved. After `run` has ended."""
        await asyncio.gather(*(runner.withdraw() for runner in self._runners.values()))

    def runner_id(self, key: ModelKey) -> str:
        return self._context.runner_id(key)

    def listed(self) -> dict[ModelKey, RunnerRecord | None]:
        """Return what discovery should show of each model."""
        return {key: runner.listed for key, runner in self._runners.items()}

    def used(self, key: ModelKey) -> int:
        """Return how many sessions the node has on a model, as it told last."""
        runner = self._runners.get(key)
        return runner.used if runner else 0

    def telling(self, key: ModelKey) -> bool:
        """Return whether the node is being told of a model just now."""
        runner = self._runners.get(key)
        return runner is not None and runner.telling

    def lost(self, key: ModelKey) -> None:
        """The node does not show what it should: beat at once."""
        if runner := self._runners.get(key):
            runner.hurry()

    def stopped(self, key: ModelKey, session: str) -> None:
        """The node has ended a session at our request."""
        if runner := self._runners.get(key):
            runner.hear(SessionEvent(session, begins=False))

"""A runner that is missing in the node's discovery although it has a free slot: the node may have been restarted.

A restart can be shorter than a look at the node. So what the look has read is compared with what should be there, and
a heartbeat goes out at once; its answer proves what has happened.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from orchd.advertise.live_runner import NAME
from orchd.advertise.live_runner.listings import LiveListings
from orchd.advertise.live_runner.plan import RunnerRecord
from orchd.advertise.live_runner.wire import read_discovery
from orchd.advertise.registry import RegistryContext
from orchd.domain.ids import ModelKey
from orchd.node.ports import Discovered, NodeError

AGAIN_S = 5.0
"""Seconds in which one runner is asked after once; a price feed that fails hides all of them, for hours."""


class ListedRunners(Protocol):
    """What is asked of the registry's runners; see `registry.LiveRunners`."""

    def runner_id(self, key: ModelKey) -> str: ...

    def listed(self) -> dict[ModelKey, RunnerRecord | None]: ...

    def used(self, key: ModelKey) -> int: ...

    def lost(self, key: ModelKey) -> None: ...


class MissingRunners:
    """Reads each answer of the discovery that the watch has got."""

    def __init__(self, context: RegistryContext, live: LiveListings, runners: ListedRunners) -> None:
        self._context = context
        self._live = live
        self._runners = runners
        self._asked: dict[ModelKey, float] = {}
        context.node.watch.discovered.connect(self._look)

    def _look(self, found: Discovered) -> None:
        listed = {key: record for key, record in self._runners.listed().items() if record is not None}
        try:
            seen = read_discovery(found.answer.json()) if listed else {}
        except (NodeError, ValueError):
            return
        now = asyncio.get_running_loop().time()
        asked_at = time.time() - (now - found.asked_at)
        self._asked = {key: at for key, at in self._asked.items() if key in listed and now - at < AGAIN_S}
        standings = self._context.listings.published[NAME]
        missing = [
            key
            for key, record in listed.items()
            if self._runners.runner_id(key) not in seen and key not in self._asked
            if not self._live.hidden(key, record, self._runners.used(key))
            if key in standings and standings[key].since < asked_at
        ]
        for key in missing:
            self._asked[key] = now
            self._runners.lost(key)
        if missing:
            self._context.node.watch.suspect()

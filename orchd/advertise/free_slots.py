"""How many slots of each model Live Runner may give out, and news of it. On the path of a job there is a flag, no more.

The node counts the sessions that it has given out itself, so it is told a capacity: what is free here, and those. That
number stays as it is while the node's own sessions come and go; it moves when slots are taken or given back otherwise:
by BYOC, by direct callers, by sessions that are pending or let go, by a replica that closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from orchd.domain.changes import Changes
from orchd.domain.ids import ModelKey

SETTLE_S = 0.03
"""Seconds from a change until it is looked at: a session ends in a few steps, and at a thousand jobs a second there are
thirty looks."""


class Slots(Protocol):
    """See `sessions.table.SessionTable`."""

    changes: Changes[ModelKey]

    def free(self, key: ModelKey) -> int | None: ...

    def node_jobs(self, key: ModelKey) -> int: ...


class NodeStreams(Protocol):
    """See `realtime.keeper.Keeper`."""

    @property
    def changes(self) -> Changes[ModelKey]: ...

    def at_node(self, key: ModelKey) -> int: ...


class SlotUse(Protocol):
    """What registries ask about slots."""

    def capacity(self, key: ModelKey) -> int | None:
        """Return how many sessions of a model the node may have at once now; None = not known."""
        ...

    def at_node(self, key: ModelKey) -> int:
        """Return how many slots are taken for sessions and jobs that Live Runner counts, too."""
        ...


class FreeSlots:
    """After `SlotUse`. Make it inside a running loop."""

    def __init__(self, slots: Slots, streams: NodeStreams) -> None:
        self._slots = slots
        self._streams = streams
        self._flag = asyncio.Event()
        self._seen = (0, 0)
        self._told: dict[ModelKey, int | None] = {}
        slots.changes.call_at_news(self._flag.set)
        streams.changes.call_at_news(self._flag.set)

    def capacity(self, key: ModelKey) -> int | None:
        free = self._slots.free(key)
        return None if free is None else free + self.at_node(key)

    def at_node(self, key: ModelKey) -> int:
        return self._slots.node_jobs(key) + self._streams.at_node(key)

    async def run(self, changed: Callable[[ModelKey], None]) -> None:
        """Call `changed` with each model whose capacity is another than it was, until cancelled."""
        while True:
            await self._flag.wait()
            await asyncio.sleep(SETTLE_S)
            self._flag.clear()
            slots, streams = self._slots.changes, self._streams.changes
            keys = {*slots.since(self._seen[0]), *streams.since(self._seen[1])}
            self._seen = slots.version, streams.version
            for key in keys:
                if (now := self.capacity(key)) != self._told.get(key):
                    self._told[key] = now
                    changed(key)

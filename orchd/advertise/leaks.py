"""Slots that go-livepeer keeps for jobs and streams of ours that are over.

It gives a slot back when it has seen a job's end. Where its caller leaves, or its own timeout runs out, before we have
begun to answer, it never does; nor for a stream that ends before its stop (docs/protocol/byoc.md, 5.2 and 6.3).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from orchd.domain.ids import ModelKey

SETTLE_S = 0.25
"""Seconds until such an end counts: the node may be giving the slot back in this moment, and then keeps none."""


class LeakedSlots:
    """Counts them, by model and door.

    Args:
        changed: called when there is one more.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._counts: Counter[tuple[ModelKey, str]] = Counter()

    def count(self, key: ModelKey, door: str) -> int:
        """Return how many there have been since orchd started."""
        return self._counts[key, door]

    def note(self, key: ModelKey, door: str) -> None:
        """A job or stream that came by this door is over, and the node may keep its slot."""
        asyncio.get_running_loop().call_later(SETTLE_S, self._add, key, door)

    def _add(self, key: ModelKey, door: str) -> None:
        self._counts[key, door] += 1
        self._changed()

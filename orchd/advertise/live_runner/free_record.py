"""What is to be listed of one model, with what is free of it now. Pure.

What is free may change a thousand times a second, and the node is told at once but at most once in `BEAT_GAP_S`.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf

from orchd.advertise.live_runner.plan import RunnerRecord

BEAT_GAP_S = 1.0
"""Least seconds from one call about a model to the next one for its capacity alone."""


class FreeRecord:
    """Times are of the loop clock.

    Attributes:
        full: it is offered, and no slot of it is free: it is left out, since the node makes 1 of a capacity of 0.
        again_at: when to look again although nothing has changed; inf = never.
    """

    def __init__(self) -> None:
        self.full = False
        self.again_at = inf
        self._last: RunnerRecord | None = None

    def look(self, wanted: RunnerRecord | None, free: int | None, told_at: float, now: float) -> RunnerRecord | None:
        """Return what is to be listed; None = nothing.

        Args:
            wanted: with the most that it may have.
            free: how many sessions the node may have; None = as many as that.
            told_at: when the node was called last about the model.
        """
        found = wanted if wanted is None or free is None else replace(wanted, capacity=min(wanted.capacity, free))
        self.again_at = inf
        if found != self._last and only_capacity_differs(found, self._last) and now < told_at + BEAT_GAP_S:
            self.again_at = told_at + BEAT_GAP_S
            found = self._last
        self._last = found
        self.full = found is not None and not found.capacity
        return None if self.full else found


def only_capacity_differs(one: RunnerRecord | None, other: RunnerRecord | None) -> bool:
    """Return whether two records are the same in everything else."""
    return one is not None and other is not None and replace(one, capacity=other.capacity) == other

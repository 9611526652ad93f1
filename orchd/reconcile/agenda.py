"""Which models are to be planned next, and when the clock alone makes one due. Pure.

What changed comes before what a new models file asks for, and that before what is only looked at from time to time: an
applied file of a thousand entries does not delay how a failure is taken in.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from orchd.domain.ids import ModelKey


class Agenda:
    """Models in the order in which they are to be planned, each at most once."""

    def __init__(self) -> None:
        self._changed: dict[ModelKey, None] = {}
        self._edited: dict[ModelKey, None] = {}
        self._routine: dict[ModelKey, None] = {}

    def changed(self, key: ModelKey) -> None:
        """Plan it next: something that its plan is made from has changed."""
        self._changed[key] = None

    def edited(self, keys: Iterable[ModelKey]) -> None:
        """Plan these soon: a models file has applied, or something has changed that concerns many models."""
        self._edited.update(dict.fromkeys(keys))

    def routine(self, keys: Iterable[ModelKey]) -> None:
        """Plan these when there is nothing else to do: nothing is known to have changed."""
        self._routine.update(dict.fromkeys(keys))

    def next(self) -> ModelKey | None:
        """Return the most urgent one and take it off the agenda; None = nothing is left."""
        for keys in (self._changed, self._edited, self._routine):
            if keys:
                key = next(iter(keys))
                self.done(key)
                return key
        return None

    def done(self, key: ModelKey) -> None:
        """It has just been planned."""
        for keys in (self._changed, self._edited, self._routine):
            keys.pop(key, None)

    @property
    def is_empty(self) -> bool:
        return not (self._changed or self._edited or self._routine)

    @property
    def is_settled(self) -> bool:
        """No model is left of which something is known to have changed."""
        return not (self._changed or self._edited)


class Deadlines:
    """When the plan of each model may change by the clock alone. Times are of the loop clock, in seconds."""

    def __init__(self) -> None:
        self._at: dict[ModelKey, float] = {}
        # Entries whose time is no longer the model's stay here until they come to the top, or until there are too many.
        self._heap: list[tuple[float, ModelKey]] = []

    def set(self, key: ModelKey, at: float | None) -> None:
        """Set the model's next time, in place of the one before; None = never."""
        if at is None:
            self._at.pop(key, None)
        elif self._at.get(key) != at:
            self._at[key] = at
            heapq.heappush(self._heap, (at, key))
            if len(self._heap) > 64 + 4 * len(self._at):
                self._heap = [(at, key) for key, at in self._at.items()]
                heapq.heapify(self._heap)

    def next(self) -> float | None:
        """Return the earliest time of all; None = no model has one."""
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[ModelKey]:
        """Return the models whose time has come, and forget their times."""
        found = []
        while (at := self.next()) is not None and at <= now:
            key = heapq.heappop(self._heap)[1]
            del self._at[key]
            found.append(key)
        return found

"""Names of streams that are over, so that one which is found or reserved again late is not taken for a new one."""

from __future__ import annotations

import math
from collections.abc import Iterator

from orchd.domain.ids import ModelKey

MOST = 10_000
"""Names that are remembered at most; the oldest are forgotten first. Callers can name as many as they like."""


class NamesOver:
    """The names, in the order in which they were noted last."""

    def __init__(self) -> None:
        self._at: dict[tuple[ModelKey, str], float] = {}

    def __contains__(self, what: tuple[ModelKey, str]) -> bool:
        return what in self._at

    def __iter__(self) -> Iterator[tuple[ModelKey, str]]:
        return iter(self._at)

    def __len__(self) -> int:
        return len(self._at)

    def at(self, key: ModelKey, name: str) -> float:
        """Return when it was noted (loop clock, seconds); minus infinity = it was not, or that is forgotten."""
        return self._at.get((key, name), -math.inf)

    def note(self, key: ModelKey, name: str, now: float) -> None:
        """Remember that it is over, whether or not there ever was one of that name."""
        self.forget(key, name)
        self._at[key, name] = now
        if len(self._at) > MOST:
            del self._at[next(iter(self._at))]

    def forget(self, key: ModelKey, name: str) -> None:
        """A new one of that name begins."""
        self._at.pop((key, name), None)

    def forget_before(self, when: float) -> None:
        """Forget what was noted before then."""
        while self._at and self._at[oldest := next(iter(self._at))] < when:
            del self._at[oldest]

"""How many sessions each payer has, and the limits that hooks set. No await in it: checking is counting."""

from __future__ import annotations

from collections import Counter
from typing import TypeVar

from orchd.domain.ids import ModelKey
from orchd.errors import Code, JobRefused
from orchd.hooks.job import NO_LIMITS, PayerLimits
from orchd.hooks.refusal import Refusal

T = TypeVar("T")

REASON = "payer_limit"


class PayerPlace:
    """One session of a payer, or a job that asks for one. It is given back when the session's slot is free."""

    __slots__ = ("_payers", "_who", "key")

    def __init__(self, payers: Payers, who: str, key: ModelKey) -> None:
        self._payers: Payers | None = payers
        self._who = who
        self.key = key

    def leave(self) -> None:
        """Count it no more; repeats are fine."""
        if self._payers is not None:
            self._payers.left(self._who, self.key)
            self._payers = None


class Payers:
    """Counts sessions by payer, and by payer and model."""

    def __init__(self) -> None:
        self._all: Counter[str] = Counter()
        self._of_model: Counter[tuple[str, ModelKey]] = Counter()

    def __len__(self) -> int:
        """Return how many payers have sessions."""
        return len(self._all)

    def enter(self, who: str, key: ModelKey, limits: PayerLimits = NO_LIMITS) -> PayerPlace:
        """Count a session that is about to begin.

        Args:
            who: pays for it; see `hooks.counted`.

        Raises:
            JobRefused: this payer has as many as it may have (503).
        """
        of_model, of_all = limits
        if of_model is not None and self._of_model[who, key] >= of_model:
            raise _refused(f"this payer has {self._of_model[who, key]} sessions of {key}, and may have {of_model}")
        if of_all is not None and self._all[who] >= of_all:
            raise _refused(f"this payer has {self._all[who]} sessions, and may have {of_all}")
        self._all[who] += 1
        self._of_model[who, key] += 1
        return PayerPlace(self, who, key)

    def left(self, who: str, key: ModelKey) -> None:
        """Count a session no more; called by its place, once."""
        _one_less(self._all, who)
        _one_less(self._of_model, (who, key))


def _one_less(counts: Counter[T], of: T) -> None:
    counts[of] -= 1
    if not counts[of]:
        del counts[of]


def _refused(why: str) -> JobRefused:
    return Refusal(503, f"cannot begin a session: {why} at once", reason=REASON, code=Code.CAPACITY_EXHAUSTED)

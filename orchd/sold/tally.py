"""How many sold sessions there are, for metrics and status. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from orchd.domain.ids import ModelKey
from orchd.domain.state import SoldCount
from orchd.sold.live import STATES, LiveSession


def by_state(sessions: Iterable[LiveSession]) -> dict[ModelKey, dict[str, int]]:
    """Return how many there are of each model in each of `STATES`; a model without any is left out."""
    found: dict[ModelKey, dict[str, int]] = {}
    for session in sessions:
        states = found.setdefault(session.key, dict.fromkeys(STATES, 0))
        states[session.state] += 1
    return found


def by_mode(sessions: Iterable[LiveSession]) -> tuple[SoldCount, ...]:
    """Return how many there are of each model in each mode, in the order of models; what there is none of is left
    out."""
    found: dict[tuple[ModelKey, bool], Counter[str]] = {}
    for session in sessions:
        counts = found.setdefault((session.key, session.persistent), Counter())
        counts["pending" if session.pending else "paid" if session.payer else "free"] += 1
    return tuple(
        SoldCount(key, persistent, counts["paid"], counts["free"], counts["pending"])
        for (key, persistent), counts in sorted(found.items())
    )

"""Times in which orchd itself stood still. A deadline that is held against somebody else is put off by them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Stall(NamedTuple):
    """One time in which the event loop did nothing.

    Attributes:
        ended_at: loop clock.
        seconds: how long it was.
    """

    ended_at: float
    seconds: float


def lost_s(stalls: Iterable[Stall], since: float) -> float:
    """Return for how many of the seconds since `since` (loop clock) orchd stood still."""
    return sum(min(stall.seconds, stall.ended_at - since) for stall in stalls if stall.ended_at > since)

"""How many starts of the node are believed. Pure.

What answers may be two processes in turns, and each turn looks like a start. A start makes orchd tell everything
again, so no more are counted than a node in a crash loop has.
"""

from __future__ import annotations

from dataclasses import dataclass

BURST = 10
EACH_S = 10.0
"""Seconds after which one more is believed."""


@dataclass(frozen=True, slots=True)
class StartsLeft:
    """How many more are believed now.

    Attributes:
        left: starts that are believed now.
        at: loop clock, when `left` was counted.
    """

    left: float = BURST
    at: float = 0.0

    def counted(self, now: float) -> StartsLeft | None:
        """Return it after one more start; None = it is not to be believed yet."""
        left = min(BURST, self.left + (now - self.at) / EACH_S)
        return StartsLeft(left - 1, now) if left >= 1 else None

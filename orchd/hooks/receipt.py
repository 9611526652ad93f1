"""What a payer has left while its job runs: the hook that takes payment knows, and doors tell it. Pure."""

from __future__ import annotations

from fractions import Fraction
from typing import Protocol


class Receipt(Protocol):
    """What a hook leaves on a job for the door by which it came."""

    def left(self) -> Fraction:
        """Return the wei that the payer has in hand at this moment; below zero it is a debt."""

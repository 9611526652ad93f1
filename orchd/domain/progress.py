"""How far an operator's order about a model is. Frozen values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is.

    Attributes:
        text: in words that "MODEL: " can stand before.
        over: nothing more comes of the order.
        failed: it is over, and the model is not as it was asked for.
    """

    text: str
    over: bool = False
    failed: bool = False


Follow = Callable[[], Progress]
"""Returns how far an order is now; something new can be said after a turn of the loop."""

"""What the part `catalog` offers the parts above it."""

from __future__ import annotations

from typing import Protocol

from orchd.domain.ids import ModelKey
from orchd.domain.signal import Signal
from orchd.domain.state import DesiredState
from orchd.domain.stores import StoredModel


class DesiredModels(Protocol):
    """What the models file asks for.

    Attributes:
        stored: the definitions that an earlier run has left.
        desired: what the models file asks for from now on; emitted for the first time when the part starts.
    """

    @property
    def stored(self) -> tuple[StoredModel, ...]: ...

    @property
    def desired(self) -> Signal[DesiredState]: ...

    async def forget_generations(self, keep: frozenset[tuple[ModelKey, str]]) -> None:
        """Drop stored definitions that are neither current nor in `keep` (key, generation).

        Raises:
            StoreError: they are still there.
        """
        ...

    def read_again(self) -> None:
        """Read the file again soon, with all files that its entries name, though it may not have changed."""
        ...

"""What the part `reconcile` offers the parts above it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import Model
from orchd.domain.ports import ProbeWord
from orchd.domain.signal import Signal
from orchd.domain.snapshots import SnapshotSource


class ServedModels(Protocol):
    """After `loop.Loop`: what is served and runs now."""

    def models(self) -> Mapping[ModelKey, Model]:
        """Return what is served now; the same mapping as long as nothing changes."""
        ...

    def knows(self, runner: RunnerId) -> bool:
        """Return whether there is such a runner, or it can't be known yet."""
        ...

    async def changed(self) -> None:
        """Return after the loop's next turn."""
        ...


class Reconciler(Protocol):
    """The loop and what it passes on.

    Attributes:
        probed: a runner, its model, what a probe of it said, and when that probe began (loop clock).
        snapshots: from `open` on. What all parts know of the models.
    """

    @property
    def loop(self) -> ServedModels: ...

    @property
    def probed(self) -> Signal[RunnerId, Model, ProbeWord, float]: ...

    @property
    def snapshots(self) -> SnapshotSource: ...

    async def turned(self) -> None:
        """Return when the loop has turned for the first time: then it is known what is served."""
        ...

    def readiness(self, key: ModelKey) -> tuple[bool, str]:
        """Return whether a session of this model could begin now, and if not, why.

        Raises:
            KeyError: no such model is served.
        """
        ...

    def hurry(self, runner: RunnerId) -> None:
        """Have this runner probed soon: a job failed on it."""
        ...

    async def restart(self, key: ModelKey) -> None:
        """Drain the model's runners and start them again."""
        ...

    async def end_all(self, tell: Callable[[str], None]) -> tuple[str, ...]:
        """Stop and remove every runner of this instance.

        Args:
            tell: is given a line whenever there is news.

        Returns:
            What may still run, each in words.
        """
        ...

"""How parts add what they know of models to snapshots, and how they follow what changes in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from orchd.domain.changes import Changes
from orchd.domain.ids import ModelKey
from orchd.domain.state import ModelStatus, Snapshot


class Contributor(Protocol):
    """A part that knows something about models which readers of status are to see.

    It names the models that it has news of, so that nobody has to ask about all of them each time.

    Attributes:
        changes: models of which `add_to` would tell something else than before.
    """

    @property
    def changes(self) -> Changes[ModelKey]: ...

    def add_to(self, status: ModelStatus) -> ModelStatus:
        """Return the status with what is known here added; the same object if that is nothing."""


class SnapshotSource(Protocol):
    """Where a part that follows the models gets its snapshots.

    It follows them so: take `turn`, then a snapshot, then ask `changes` what has changed since the version of the
    snapshot before, then wait for a turn after that one. Thus no change is missed, and each costs no more than itself.

    Attributes:
        changes: models whose status has become another, or which have come or gone; see `Snapshot.version`.
        turn: how many turns the loop has made.
    """

    @property
    def changes(self) -> Changes[ModelKey]: ...

    @property
    def turn(self) -> int: ...

    async def fresh(self) -> Snapshot:
        """Return a snapshot as of now. Others run in between while it is made."""

    async def turned(self, after: int) -> None:
        """Return as soon as the loop has made a turn after that one."""

    def contribute(
        self, contributor: Contributor | None = None, whole: Callable[[Snapshot], Snapshot] | None = None
    ) -> None:
        """Add what a part knows to all snapshots from now on: for the part itself, when it opens.

        Args:
            contributor: knows something about models.
            whole: returns a snapshot with what is known that is about no single model; called for each, so it must
                cost next to nothing.
        """

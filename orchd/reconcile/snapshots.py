"""Makes snapshots for readers: only models that have changed since the last snapshot are looked at again.

The status of a model that has not changed is the very same object in each snapshot, so that a reader may keep what it
has made of it. Other parts add what they know of models (`Contributor`); each names the models that it has news of.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

from orchd.domain.changes import Changes
from orchd.domain.ids import ModelKey
from orchd.domain.snapshots import Contributor
from orchd.domain.state import ModelStatus, RuntimeStatus, Severity, Snapshot
from orchd.reconcile.loop import Loop
from orchd.reconcile.view import model_status

STEP = 20
"""Most models that are looked at before others run."""


class Snapshots:
    """After `domain.snapshots.SnapshotSource`.

    Attributes:
        changes: models whose status is another object now than it was; `Snapshot.version` counts them.
        built: statuses that were made so far, for tests and benches.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._contributors: list[Contributor] = []
        self._wholes: list[Callable[[Snapshot], Snapshot]] = []
        self._sources = [loop.state.changes, loop.state.table.changes]
        self._seen = [0, 0]
        self._stale: dict[ModelKey, None] = {}
        self._statuses: dict[ModelKey, ModelStatus] = {}
        self._shown: Mapping[ModelKey, ModelStatus] = MappingProxyType({})
        self._shown_models: Mapping[ModelKey, object] | None = None
        self._shown_version = 0
        self.changes: Changes[ModelKey] = Changes()
        self.built = 0

    def contribute(
        self, contributor: Contributor | None = None, whole: Callable[[Snapshot], Snapshot] | None = None
    ) -> None:
        """As `domain.snapshots.SnapshotSource.contribute`."""
        if contributor is not None:
            self._contributors.append(contributor)
            self._sources.append(contributor.changes)
            self._seen.append(0)
            self._stale.update(dict.fromkeys(self._statuses))
        if whole is not None:
            self._wholes.append(whole)

    def now(self) -> Snapshot:
        """Return everything a reader may know. Costs as much as has changed since the last one was made."""
        self._collect()
        while self._stale:
            self._build()
        return self._snapshot()

    async def fresh(self) -> Snapshot:
        """As `now`, but others run in between. Each model is seen at one moment, though not all at the same one."""
        self._collect()
        while self._stale:
            for _ in range(min(STEP, len(self._stale))):
                self._build()
            if self._stale:
                await asyncio.sleep(0)
        return self._snapshot()

    @property
    def turn(self) -> int:
        """How many turns the loop has made."""
        return self._loop.turns

    async def turned(self, after: int) -> None:
        """Return as soon as the loop has made a turn after that one."""
        if self._loop.turns <= after:
            await self._loop.changed()

    def _collect(self) -> None:
        for number, source in enumerate(self._sources):
            if source.version != self._seen[number]:
                # The oldest change first, so that no model waits for ever.
                self._stale.update(dict.fromkeys(reversed(source.since(self._seen[number]))))
                self._seen[number] = source.version

    def _build(self, key: ModelKey | None = None) -> None:
        key = next(iter(self._stale)) if key is None else key
        self._stale.pop(key, None)
        status, before = model_status(self._loop.state, key), self._statuses.get(key)
        self.built += 1
        if status is None:
            if before is not None:
                del self._statuses[key]
                self.changes.touch(key)
            return
        for contributor in self._contributors:
            status = contributor.add_to(status)
        if status != before:
            self._statuses[key] = status
            self.changes.touch(key)

    def _snapshot(self) -> Snapshot:
        state = self._loop.state
        desired, models = state.desired, state.models
        if self._shown_models is not models:
            for key in models.keys() - self._statuses.keys():  # They became known while others were looked at.
                self._build(key)
        if self._shown_models is not models or self._shown_version != self.changes.version:
            statuses = self._statuses
            self._shown = MappingProxyType({key: statuses[key] for key in models})
            self._shown_models, self._shown_version = models, self.changes.version
        needed = state.needed()
        refused = any(p.severity is Severity.ERROR and p.entry is None for p in desired.problems)
        snapshot = Snapshot(
            at=time.time(),
            models=self._shown,
            problems=desired.problems,
            runtimes=tuple(
                RuntimeStatus(str(id), id not in state.down, state.down.get(id, ""), id.kind in needed)
                for id in state.runtimes
            ),
            file_hash=desired.file_hash,
            reload_ok=not refused,
            reload_at=state.desired_at,
            converged=self._loop.converged(),
            version=self.changes.version,
            stopped_elsewhere={k: by for k, by in state.stopped.items() if k not in desired.models},
        )
        for whole in self._wholes:
            snapshot = whole(snapshot)
        return snapshot

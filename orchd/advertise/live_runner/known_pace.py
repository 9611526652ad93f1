"""The pace of heartbeats that each node program has told last, over restarts of orchd."""

from __future__ import annotations

import contextlib

from orchd.advertise.live_runner import wire
from orchd.advertise.live_runner.dialects.dialect import Dialect
from orchd.advertise.live_runner.plan import Pace
from orchd.domain.stores import SecretStore
from orchd.errors import StoreError


class KnownPace:
    """Says until when a record whose secret is lost is held. What was never told is the program's default."""

    def __init__(self, store: SecretStore) -> None:
        self._store = store
        self._told: dict[str, Pace] = {}
        self._asked: set[str] = set()

    async def of(self, dialect: Dialect) -> Pace:
        """Return the pace to count with."""
        if dialect.name not in self._asked:
            self._asked.add(dialect.name)
            with contextlib.suppress(StoreError):
                kept = wire.load_pace(await self._store.secret(_name(dialect)) or "")
                if kept is not None:
                    self._told.setdefault(dialect.name, kept)
        return self._told.get(dialect.name, dialect.pace)

    async def tell(self, dialect: Dialect, pace: Pace) -> None:
        """The node has told its pace."""
        if self._told.get(dialect.name) != pace:
            self._told[dialect.name] = pace
            with contextlib.suppress(StoreError):  # The registration itself is kept there too, and says so.
                await self._store.save_secret(_name(dialect), wire.dump_pace(pace))


def _name(dialect: Dialect) -> str:
    return f"heartbeat pace of {dialect.name}"

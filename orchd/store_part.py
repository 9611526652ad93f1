"""The store, as a part."""

from __future__ import annotations

from collections.abc import Callable

from orchd.domain.model import Model
from orchd.domain.ports import Store
from orchd.part import Context, Part
from orchd.store import DATABASE, SqliteStore


class StorePart(Part):
    """Keeps what must survive a kill -9.

    Args:
        dump, load: as those of `SqliteStore`.

    Attributes:
        store: from `open` on.
    """

    name = "store"
    store: Store

    def __init__(self, context: Context, dump: Callable[[Model], str], load: Callable[[str], Model]) -> None:
        self._path = context.state_dir / DATABASE
        self._codec = dump, load
        self._opened: Store | None = None

    async def make(self) -> Store:
        """Return the opened store."""
        store = SqliteStore(self._path, *self._codec)
        await store.open()
        return store

    async def open(self) -> None:
        self.store = self._opened = await self.make()

    async def keep(self) -> None:
        """Make it durable again, if somebody has removed what it was kept in."""
        await self.store.keep()

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

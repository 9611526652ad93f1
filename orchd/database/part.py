"""The database, as a part."""

from __future__ import annotations

from orchd.database.beside import DATABASE
from orchd.database.database import Database
from orchd.part import Context, Part


class DatabasePart(Part):
    """Holds what must survive a kill -9. Parts build their tables over it.

    Attributes:
        database: from `open` on.
    """

    name = "database"
    database: Database

    def __init__(self, context: Context) -> None:
        self._path = context.state_dir / DATABASE
        self._opened: Database | None = None

    async def open(self) -> None:
        self.database = self._opened = Database(self._path)
        await self.database.open()

    async def keep(self) -> None:
        """Write the file again if somebody has removed it."""
        await self.database.keep()

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

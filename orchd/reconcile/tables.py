"""What is kept of an operator's orders: a model that was stopped stays so over restarts of orchd."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchd.database.database import Database
from orchd.database.sql import Row, Sql
from orchd.domain.ids import ModelKey
from orchd.domain.state import Stopped


class StoppedTable:
    """The models that an operator has stopped, over the shared database. Each call raises StoreError if it fails."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def stopped(self) -> dict[ModelKey, Stopped]:
        """Return every model that is stopped."""
        rows = await self._database.read(stopped_rows)
        return {ModelKey(pipeline, model_id): Stopped(by, at) for pipeline, model_id, by, at in rows}

    async def save(self, stopped: Mapping[ModelKey, Stopped]) -> None:
        """Keep these, all or none; of one that is kept already, who and when stay."""
        await self._database.transaction(lambda sql: put_stopped(sql, stopped))

    async def forget(self, keys: Iterable[ModelKey]) -> None:
        """Drop these, all or none. What is not there is fine."""
        await self._database.transaction(lambda sql: drop_stopped(sql, keys))


def stopped_rows(sql: Sql) -> list[Row]:
    """Return every row."""
    return sql.rows("SELECT pipeline, model_id, stopped_by, stopped_at FROM stopped ORDER BY pipeline, model_id")


def put_stopped(sql: Sql, stopped: Mapping[ModelKey, Stopped]) -> None:
    """Keep these; what is there stays."""
    sql.change_all(
        "INSERT OR IGNORE INTO stopped (pipeline, model_id, stopped_by, stopped_at) VALUES (?, ?, ?, ?)",
        [(*key, each.by, each.at) for key, each in stopped.items()],
    )


def drop_stopped(sql: Sql, keys: Iterable[ModelKey]) -> None:
    """Drop these. What is not there is fine."""
    sql.change_all("DELETE FROM stopped WHERE pipeline = ? AND model_id = ?", [tuple(key) for key in keys])

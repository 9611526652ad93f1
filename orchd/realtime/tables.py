"""What is kept of realtime sessions: a container goes on while orchd restarts, and so does its stream."""

from __future__ import annotations

import structlog

from orchd.database.database import Database
from orchd.database.sql import Row, Sql
from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.stores import StoredStream

log = structlog.get_logger("orchd.streams")

_TYPES = (str, str, str, str, int, str, float, int)


class StreamTable:
    """`stores.StreamStore` over the shared database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def streams(self) -> tuple[StoredStream, ...]:
        rows = await self._database.read(stream_rows)
        return tuple(stream for row in rows if (stream := _read_row(row)) is not None)

    async def save_stream(self, stream: StoredStream) -> None:
        await self._database.transaction(lambda sql: put_stream(sql, stream))

    async def forget_stream(self, key: ModelKey, id: str) -> None:
        await self._database.transaction(lambda sql: drop_stream(sql, key, id))


def stream_rows(sql: Sql) -> list[Row]:
    """Return every row, oldest first."""
    return sql.rows(
        "SELECT pipeline, model_id, stream_id, origin, replica, generation, began_at, started, account FROM streams"
        " ORDER BY began_at"
    )


def put_stream(sql: Sql, stream: StoredStream) -> None:
    """Keep it, in place of one of the same model and id."""
    runner = stream.runner
    sql.change(
        "INSERT OR REPLACE INTO streams"
        " (pipeline, model_id, stream_id, origin, replica, generation, began_at, started, account)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(*runner.key, stream.id, stream.origin, runner.replica, runner.generation),
            *(stream.began_at, int(stream.started), stream.account),
        ),
    )


def drop_stream(sql: Sql, key: ModelKey, id: str) -> None:
    """Drop it. What is not there is fine."""
    sql.change("DELETE FROM streams WHERE pipeline = ? AND model_id = ? AND stream_id = ?", (*key, id))


def _read_row(row: Row) -> StoredStream | None:
    """Return what a row holds; None = it can't be read, and that is logged."""
    pipeline, model_id, id, origin, replica, generation, began_at, started, account = row
    if tuple(map(type, row[:-1])) == _TYPES:  # SQLite keeps a value of any type in any column.
        runner = RunnerId(ModelKey(pipeline, model_id), replica, generation)
        # An account that is not text is one that can't be read, which is told where it is.
        return StoredStream(id, origin, runner, began_at, account if account is None else str(account), bool(started))
    log.warning(
        "stored_row_unreadable",
        table="streams",
        pipeline=pipeline,
        model_id=model_id,
        row=id,
        error="a column holds a value of the wrong type",
        next="it is set aside: the stream is found again if its container says that it is busy",
    )
    return None

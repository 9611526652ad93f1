"""What the catalog keeps: the last good definitions, and former ones whose runners may still be there."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import structlog

from orchd.catalog.codec import dump_model, load_model
from orchd.database.beside import read_beside
from orchd.database.database import Database
from orchd.database.sql import Row, Sql
from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.domain.stores import StoredModel
from orchd.errors import StoreError

log = structlog.get_logger("orchd.catalog")

UNREADABLE = (StoreError, ValueError, KeyError, TypeError)
"""What `load_model` may raise for text of another version."""


class ModelTable:
    """`stores.ModelStore` over the shared database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def models(self) -> tuple[StoredModel, ...]:
        rows = await self._database.read(model_rows)
        return tuple(stored for row in rows if (stored := _read_row(row)) is not None)

    async def save_models(self, current: tuple[Model, ...]) -> None:
        now = time.time()

        def save(sql: Sql) -> None:
            # Here, on the writer's thread: to dump a thousand models takes longer than the event loop may be held.
            rows = [(m.key.pipeline, m.key.model_id, m.generation, dump_model(m), now) for m in current]
            replace_current(sql, rows)

        await self._database.transaction(save)

    async def forget_generations(self, keep: frozenset[tuple[ModelKey, str]]) -> None:
        await self._database.transaction(lambda sql: drop_former(sql, keep))


def model_rows(sql: Sql) -> list[Row]:
    """Return every row: pipeline, model id, generation, definition, current."""
    return sql.rows(
        "SELECT pipeline, model_id, generation, definition, current FROM models ORDER BY pipeline, model_id, generation"
    )


def replace_current(sql: Sql, rows: Iterable[tuple[str, str, str, str, float]]) -> None:
    """Make these the last good definitions; what was current becomes a former generation."""
    sql.change("UPDATE models SET current = 0 WHERE current = 1")
    sql.change_all(
        "INSERT INTO models (pipeline, model_id, generation, definition, current, saved_at)"
        " VALUES (?, ?, ?, ?, 1, ?) ON CONFLICT (pipeline, model_id, generation) DO UPDATE"
        " SET definition = excluded.definition, current = 1, saved_at = excluded.saved_at",
        rows,
    )


def drop_former(sql: Sql, keep: frozenset[tuple[ModelKey, str]]) -> None:
    """Drop former generations that are not in `keep`."""
    former = sql.rows("SELECT pipeline, model_id, generation FROM models WHERE current = 0")
    sql.change_all(
        "DELETE FROM models WHERE pipeline = ? AND model_id = ? AND generation = ?",
        [row for row in former if (ModelKey(row[0], row[1]), row[2]) not in keep],
    )


def last_good(path: Path) -> tuple[Model, ...]:
    """Return the last good definitions that a daemon has kept at `path`; none where they can't be read. Blocks.

    For commands beside the daemon: nothing is written, and no file is made.
    """
    try:
        rows = read_beside(path, model_rows)
    except StoreError:
        return ()
    found = []
    for *_, definition, current in rows:
        if current:
            try:
                found.append(load_model(definition))
            except UNREADABLE:  # A row of another version.
                continue
    return tuple(found)


def _read_row(row: Row) -> StoredModel | None:
    """Return what a row holds; None = it can't be read, and that is logged."""
    pipeline, model_id, generation, definition, current = row
    try:
        return StoredModel(load_model(definition), bool(current), generation)
    except UNREADABLE as exc:
        # Its text may quote a secret of the definition, so only our own words about it are logged.
        log.warning(
            "stored_row_unreadable",
            table="models",
            pipeline=pipeline,
            model_id=model_id,
            row=generation,
            error=exc.message if isinstance(exc, StoreError) else type(exc).__name__,
            next="it is set aside: its model is known again when the models file applies, or to the version of "
            "orchd that wrote the row",
        )
        return None

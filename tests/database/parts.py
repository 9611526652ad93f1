"""Two small parts that keep something, for tests of the database under them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from orchd.database.database import Database
from orchd.database.migrations import Migration, Migrations, find_migrations
from orchd.database.sql import Sql

LEFT = "CREATE TABLE pairs_left (id INTEGER PRIMARY KEY, value TEXT NOT NULL);"
RIGHT = "CREATE TABLE pairs_right (id INTEGER PRIMARY KEY, value TEXT NOT NULL);"


def steps(part: str, *scripts: str) -> tuple[Migration, ...]:
    return tuple(Migration(part, number, f"step{number}", script) for number, script in enumerate(scripts, 1))


PARTS: Migrations = {"left": steps("left", LEFT), "right": steps("right", RIGHT)}


@asynccontextmanager
async def opened(folder: Path, migrations: Migrations = PARTS, timeout_s: float = 30.0) -> AsyncIterator[Database]:
    database = Database(folder / "orchd.db", migrations, timeout_s)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def opened_own(folder: Path) -> AsyncIterator[Database]:
    """The database of orchd's own parts."""
    async with opened(folder, find_migrations()) as database:
        yield database


def backups(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.bak*"))


def add_left(sql: Sql, id: int, value: str = "") -> None:
    sql.change("INSERT INTO pairs_left VALUES (?, ?)", (id, value))


def add_right(sql: Sql, id: int, value: str = "") -> None:
    sql.change("INSERT INTO pairs_right VALUES (?, ?)", (id, value))


def add_pair(sql: Sql, id: int, value: str = "") -> int:
    """Write to the tables of both parts."""
    add_left(sql, id, value)
    add_right(sql, id, value)
    return id


def ids(sql: Sql) -> tuple[set[int], set[int]]:
    """Return what is on the left and what is on the right."""
    left = {row[0] for row in sql.rows("SELECT id FROM pairs_left")}
    return left, {row[0] for row in sql.rows("SELECT id FROM pairs_right")}

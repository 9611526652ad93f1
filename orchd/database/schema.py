"""EDGE. Which migrations a file has, and how it gets those that it lacks.

The table `schema_migrations` has one row for each migration that was applied, and the backup that was made before it.
`PRAGMA user_version` is their number: the *schema* that messages and names of backups speak of.

Up to 4949bdd there was no such table, and `user_version` counted scripts that all parts shared. Such a file is taken
over: what its scripts have made is what the first migrations of the parts make.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from orchd.database.migrations import Migration, Migrations
from orchd.errors import StoreError

log = structlog.get_logger("orchd.database")

_TAKEN_OVER = {0: (), 1: ("catalog",), 2: ("catalog", "node", "realtime")}
"""Parts whose first migration a file of before 2026-12 has, by its `user_version`."""

_TABLE = """
CREATE TABLE schema_migrations (
  part       TEXT NOT NULL,
  number     INTEGER NOT NULL,
  name       TEXT NOT NULL,
  applied_at REAL NOT NULL, -- Unix time, seconds
  backup     TEXT NOT NULL, -- file name beside the database; empty = none was made
  PRIMARY KEY (part, number)
);
"""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a file has.

    Attributes:
        number: of the schema; 0 = an empty file.
        applied: how many migrations of each part.
        has_table: it has the table of migrations.
    """

    number: int
    applied: dict[str, int]
    has_table: bool

    def missing(self, known: Migrations) -> tuple[Migration, ...]:
        """Return the migrations that the file lacks, in order."""
        return tuple(step for part, steps in known.items() for step in steps[self.applied.get(part, 0) :])


def read_schema(db: sqlite3.Connection, path: Path, known: Migrations) -> Schema:
    """Return what a file has, without changing it.

    Raises:
        StoreError: a newer orchd has made it.
    """
    number: int = db.execute("PRAGMA user_version").fetchone()[0]
    table = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_migrations'").fetchone()
    if table is None:
        if number not in _TAKEN_OVER:
            raise _newer(path, number, known, "")
        return Schema(number, {part: 1 for part in _TAKEN_OVER[number] if part in known}, has_table=False)
    applied: dict[str, int] = {}
    for part, step, backup in db.execute("SELECT part, number, backup FROM schema_migrations ORDER BY rowid"):
        if step > len(known.get(part, ())):  # What was applied before it, and so is in its backup, we know.
            raise _newer(path, number, known, backup)
        applied[part] = max(step, applied.get(part, 0))
    return Schema(number, applied, has_table=True)


def migrate(db: sqlite3.Connection, schema: Schema, known: Migrations, backup: str) -> None:
    """Apply the migrations that are missing, all or none.

    Args:
        backup: file name of the backup that was made before; empty = none.
    """
    now = time.time()
    steps = schema.missing(known)
    script = "" if schema.has_table else _TABLE
    if not schema.has_table:
        for part in schema.applied:
            script += _noted(known[part][0], now, "")
    for step in steps:
        script += f"{step.script}\n;{_noted(step, now, backup)}"
    number = sum(schema.applied.values()) + len(steps)
    # If it fails or we are killed, the transaction goes with the connection.
    db.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
    log.info("store_migrated", schema=number, steps=[f"{step.part} {step.number:03}" for step in steps])


def _noted(step: Migration, now: float, backup: str) -> str:
    values = f"'{step.part}', {step.number}, '{step.name}', {now!r}, '{backup.replace(chr(39), 2 * chr(39))}'"
    return f"INSERT INTO schema_migrations VALUES ({values});\n"  # noqa: S608 - a script takes no values, and all are ours


def _newer(path: Path, number: int, known: Migrations, backup: str) -> StoreError:
    newest = sum(map(len, known.values()))
    if backup and (path.parent / backup).exists():
        back = (
            f"or, to go back, move {path} away (with its -wal and -shm files) and copy {path.parent / backup} in its"
            " place, the backup that was made before that migration; what was kept since is not in it"
        )
    else:
        back = f"or move {path} away; there is no backup of before that"
    return StoreError(
        f"cannot use the database {path}: it has schema {number}, and this orchd knows up to {newest}. Containers that"
        f" run go on meanwhile. Start the newer orchd that made it, {back}"
    )

"""EDGE. Reads a database that a daemon may have open: for commands beside it. Nothing but the standard library."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from orchd.database.explain import explain
from orchd.database.sql import Sql
from orchd.errors import StoreError, reason_of

DATABASE = "orchd.db"
"""In the state directory."""
BUSY_TIMEOUT_S = 5.0
"""The state lock keeps other daemons away; a person with the sqlite3 shell may still hold the file for a moment."""

T = TypeVar("T")


def read_beside(path: Path, work: Callable[[Sql], T]) -> T:
    """Return what `work` finds in a database that a daemon may have open. Blocks.

    Nothing is written, and no file is made, which a daemon might then not be able to open: a database that nobody has
    open is read as one that can't change.

    Raises:
        StoreError: it can't be read, or there is none.
    """
    try:
        how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
        with closing(open_read_only(path, how)) as db:
            return read_at_once(db, work)
    except sqlite3.Error as exc:
        raise StoreError(explain(path, exc)) from exc
    except OSError as exc:
        raise StoreError(f"cannot read the database {path}: {reason_of(exc)}") from exc


def read_kept(path: Path, work: Callable[[Sql], T], *, table: str, cannot: str, without: str) -> T:
    """As `read_beside`, where a person may have named the wrong folder, or nothing has been kept yet.

    Args:
        table: is there once something has been kept.
        cannot: what can't be done, as the messages begin.
        without: what it means that there is no such table, after `PATH `.

    Raises:
        StoreError: there is nothing, or it can't be read; in words that name the folder and what to do.
    """
    try:
        path.stat()
    except FileNotFoundError:
        raise StoreError(
            f"{cannot}: there is no {path.name} in {path.parent}, so no orchd has run on that state directory; name "
            "the one that you mean with --state-dir"
        ) from None
    except OSError as exc:
        raise StoreError(
            f"{cannot}: {path} can't be read: {reason_of(exc)}; run this as the user that runs orchd, and name its "
            "state directory with --state-dir"
        ) from exc

    def checked(sql: Sql) -> T:
        if sql.row("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)) is None:
            raise StoreError(f"{cannot}: {path} {without}")
        return work(sql)

    return read_beside(path, checked)


def open_read_only(path: Path, how: str) -> sqlite3.Connection:
    """Return a connection that can't write. `how`: a parameter of SQLite's URIs, `mode=ro` or `immutable=1`."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)


def read_at_once(db: sqlite3.Connection, work: Callable[[Sql], T]) -> T:
    """Return what `work` finds: all of it as of one moment."""
    db.execute("BEGIN")
    try:
        return work(Sql(db))
    finally:
        db.rollback()

"""EDGE. A copy of the database from before a migration. Blocks."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import structlog

from orchd.database.explain import explain
from orchd.errors import StoreError, reason_of

log = structlog.get_logger("orchd.database")


def back_up(db: sqlite3.Connection, path: Path, state: str) -> Path:
    """Write what `db` holds to a file beside `path`, named by its state; return that file once it is on the disk.

    It has mode 0600, as it holds the same secrets. A backup that is there already is never overwritten.

    Args:
        state: which migrations it has, such as `schema-2`.

    Raises:
        StoreError: it can't be written.
    """
    target = _free_name(path, state)
    draft = target.with_name(f"{target.name}.draft")  # One that a kill has left half-written never bears the name.
    try:
        draft.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(draft)) as copy:
            db.backup(copy)
            # The copy of a file in WAL mode is in WAL mode: this ends it, and leaves one file that is complete alone.
            copy.execute("PRAGMA journal_mode = DELETE")
        _sync(draft)
        draft.rename(target)
        _sync(path.parent)
    except (OSError, sqlite3.Error) as exc:
        draft.unlink(missing_ok=True)
        why = reason_of(exc) if isinstance(exc, OSError) else explain(draft, exc)
        raise StoreError(
            f"cannot back up the database {path} to {target}, which comes before it is migrated: {why}"
        ) from exc
    log.info("database_backed_up", backup=str(target), state=state)
    return target


def _free_name(path: Path, state: str) -> Path:
    name = f"{path.name}.{state}"
    target = path.with_name(f"{name}.bak")
    again = 1
    while target.exists():
        again += 1
        target = path.with_name(f"{name}-{again}.bak")
    return target


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

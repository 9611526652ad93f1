"""What SQLite raises, in words for a person."""

from __future__ import annotations

import sqlite3
from pathlib import Path

_IN_WORDS = {
    sqlite3.SQLITE_FULL: "no space is left on its disk",
    sqlite3.SQLITE_READONLY: "it may not be written",
    sqlite3.SQLITE_BUSY: "another program holds it",
    sqlite3.SQLITE_IOERR: "its disk fails",
    sqlite3.SQLITE_INTERRUPT: "reading took too long",
}


def explain(path: Path, exc: sqlite3.Error) -> str:
    """Return what to tell a person about SQLite's `exc`. Primary result codes: sqlite.org/rescode.html."""
    primary = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return (
            f"cannot read the database {path}: it is damaged ({exc}); move it away (with its -wal and -shm files),"
            " and orchd reads aiModels.json again"
        )
    if (words := _IN_WORDS.get(primary)) is not None:
        return f"cannot use the database {path}: {words} ({exc})"
    return f"cannot use the database {path}: {exc}"

"""EDGE. The file under the database: opened, brought to the newest schema, and written again if it was removed.

Everything here blocks and is called on the writer's thread, except where it says otherwise.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import structlog

from orchd.database.backup import back_up
from orchd.database.beside import BUSY_TIMEOUT_S, open_read_only
from orchd.database.migrations import Migrations
from orchd.database.schema import migrate, read_schema
from orchd.errors import StoreError, reason_of

log = structlog.get_logger("orchd.database")

FileIdentity = tuple[int, int]
"""Device and inode: what tells a file from another one of its name."""


class DatabaseFile:
    """One file and the connection that writes to it.

    Attributes:
        identity: of the file that is open; None = it is kept in memory, or not open. Any thread may read it.
    """

    def __init__(self, path: Path, migrations: Migrations) -> None:
        self._path = path
        self._migrations = migrations
        self._db: sqlite3.Connection | None = None
        self.identity: FileIdentity | None = None

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection that writes.

        Raises:
            StoreError: it is not open.
        """
        if self._db is None:
            raise StoreError(f"cannot use the database {self._path}: it is not open")
        return self._db

    def open(self) -> None:
        """Create or open the file and migrate it; on a full disk, go on in memory with what it holds.

        Raises:
            StoreError, sqlite3.DatabaseError: damaged, made by a newer orchd, or not accessible.
        """
        try:
            self._db = self._opened()
            self.identity = identity_of(self._path)
        except (StoreError, sqlite3.OperationalError) as exc:
            if not _disk_is_full(self._path.parent):
                raise
            why = exc.message if isinstance(exc, StoreError) else str(exc)
            log.error("store_only_in_memory", path=str(self._path), why=f"no space is left on its disk ({why})")
            self._db = self._read_into_memory()

    def keep(self) -> None:
        """Write the file again, with all that is in it, if it was removed or could not be written before.

        Raises:
            StoreError, sqlite3.DatabaseError: that does not work now.
        """
        former = self.connection
        if self.identity is not None and identity_of(self._path) == self.identity:
            return
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.identity is not None:
            if self._path.exists() and self._path.stat().st_size:
                raise StoreError(
                    f"cannot keep the database {self._path}: it is another file now; restart orchd to use that"
                )
            for suffix in ("-wal", "-shm"):  # Of the file that was removed: they would be taken for the new one's.
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        db = self._opened()
        try:
            backups = db.execute("SELECT backup, part, number FROM schema_migrations WHERE backup != ''").fetchall()
            former.backup(db)
            db.executemany("UPDATE schema_migrations SET backup = ? WHERE part = ? AND number = ?", backups)
        except BaseException:
            db.close()
            raise
        why = "it was gone" if self.identity else "there is room now"
        log.warning("store_written_again", path=str(self._path), why=why)
        self._db, self.identity = db, identity_of(self._path)
        former.close()

    def back_up(self, state: str) -> None:
        """Write a backup; where the file is kept in memory, there is no room for one.

        Raises:
            StoreError: that does not work.
        """
        if self.identity is not None:
            back_up(self.connection, self._path, state)

    def close(self) -> None:
        """Close the connection. Repeats are fine."""
        if self._db is not None:
            self._db.close()
            self._db, self.identity = None, None

    def _read_into_memory(self) -> sqlite3.Connection:
        """Return what the file holds, in memory."""
        with closed_if_it_fails(sqlite3.connect(":memory:", isolation_level=None)) as db:
            if self._path.exists() and self._path.stat().st_size:
                with closing(sqlite3.connect(self._path)) as file:
                    # Alone with the file, SQLite needs no -shm file beside it, for which there is no room.
                    file.execute("PRAGMA locking_mode = EXCLUSIVE")
                    file.backup(db)
            migrate(db, read_schema(db, self._path, self._migrations), self._migrations, "")
            return db

    def _opened(self) -> sqlite3.Connection:
        try:
            # Before SQLite does, so that it is never readable for others; -wal and -shm take over its mode.
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.fchmod(fd, 0o600)
            os.close(fd)
        except OSError as exc:
            raise StoreError(f"cannot open the database {self._path}: {reason_of(exc)}") from exc
        with closed_if_it_fails(sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as db:
            schema = read_schema(db, self._path, self._migrations)  # First: what is newer is not touched at all.
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            if (verdict := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise _damage(verdict)
            if not schema.has_table or schema.missing(self._migrations):
                backup = back_up(db, self._path, f"schema-{schema.number}").name if schema.number else ""
                migrate(db, schema, self._migrations, backup)
            return db


def open_beside_writer(path: Path) -> sqlite3.Connection:
    """Return a connection that sees what this daemon has committed, and can't write. For the thread that calls this.

    All its files are open then, so that it goes on reading if somebody removes them.
    """
    with closed_if_it_fails(open_read_only(path, "mode=ro")) as db:
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()  # SQLite opens files when it needs them.
        return db


@contextmanager
def closed_if_it_fails(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Close the connection if what is done with it fails; else it stays open, for anybody who is given it."""
    try:
        yield db
    except BaseException:
        db.close()
        raise


def identity_of(path: Path) -> FileIdentity | None:
    """Return what tells a file from another one of its name; None = there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _damage(verdict: str) -> sqlite3.DatabaseError:
    """Return what SQLite raises where it meets damage itself."""
    found = sqlite3.DatabaseError(" ".join(verdict.split()))
    found.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return found


def _disk_is_full(folder: Path) -> bool:
    """Return whether SQLite could not even make the files that it needs beside the database: 32 KiB, two names."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < 128 * 1024 or (disk.f_files > 0 and disk.f_favail < 2)

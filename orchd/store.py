"""The durable store: SQLite in the state directory. Holds what must survive a kill -9; later work adds tables.

One connection, on one thread of its own: the event loop never waits for a disk, and there is one writer by
construction. Each call is one transaction, and on the disk when it returns (WAL with `synchronous=FULL`).
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import structlog

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import Model
from orchd.domain.ports import StoredModel, StoredStream
from orchd.errors import StoreError
from orchd.threads import DaemonThreads

log = structlog.get_logger("orchd.store")

DATABASE = "orchd.db"
"""In the state directory."""

T = TypeVar("T")

CALL_TIMEOUT_S = 30.0
"""A transaction takes milliseconds; longer, and beyond `BUSY_TIMEOUT_S`, means that the disk hangs."""
BUSY_TIMEOUT_S = 5.0
"""The state lock keeps other daemons away; a person with the sqlite3 shell may still hold the file for a moment."""


class SqliteStore:
    """`ports.Store` over one file.

    Args:
        path: the file; its folder exists already.
        dump: a model as text; holds secrets, so the file is 0600.
        load: the reverse. Raises StoreError (or ValueError, KeyError, TypeError) for text that it can't read, such as
            that of another version.
    """

    def __init__(self, path: Path, dump: Callable[[Model], str], load: Callable[[str], Model]) -> None:
        self._path = path
        self._dump = dump
        self._load = load
        self._thread = DaemonThreads("store")
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # device and inode of what is open; None = memory

    async def open(self) -> None:
        """Create or open the file and bring it to the newest version.

        On a full disk it is read and kept in memory until `keep` finds room: what was known before is known, and all
        that runs is found again.

        Raises:
            StoreError: damaged, written by a newer orchd, or not accessible.
        """
        await self._run(self._open_or_remember)

    async def keep(self) -> None:
        """Write the file again, with all that is in it, if it was removed or could not be written before.

        Raises:
            StoreError: that does not work now.
        """
        await self._run(self._keep)

    async def close(self) -> None:
        """Let go of the file. The store can't be used afterwards."""
        try:
            await self._run(self._close)
        except StoreError as exc:  # each transaction was on the disk when it ended, so nothing is lost
            log.warning("store_not_closed", reason=exc.message)
        self._thread.close()

    async def models(self) -> tuple[StoredModel, ...]:
        rows = await self._run(
            lambda: self._connection.execute(
                "SELECT pipeline, model_id, generation, definition, current FROM models"
                " ORDER BY pipeline, model_id, generation"
            ).fetchall()
        )
        found = []
        for pipeline, model_id, generation, definition, current in rows:
            try:
                found.append(StoredModel(self._load(definition), bool(current), generation))
            except (StoreError, ValueError, KeyError, TypeError) as exc:
                # Its text may quote a secret of the definition, so only our own words about it are told.
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
        return tuple(found)

    async def save_models(self, current: tuple[Model, ...]) -> None:
        now = time.time()
        rows = [(m.key.pipeline, m.key.model_id, m.generation, self._dump(m), now) for m in current]

        def write() -> None:
            with self._transaction() as db:
                db.execute("UPDATE models SET current = 0 WHERE current = 1")
                db.executemany(
                    "INSERT INTO models (pipeline, model_id, generation, definition, current, saved_at)"
                    " VALUES (?, ?, ?, ?, 1, ?) ON CONFLICT (pipeline, model_id, generation) DO UPDATE"
                    " SET definition = excluded.definition, current = 1, saved_at = excluded.saved_at",
                    rows,
                )

        await self._run(write)

    async def forget_generations(self, keep: frozenset[tuple[ModelKey, str]]) -> None:
        def write() -> None:
            with self._transaction() as db:
                former = db.execute("SELECT pipeline, model_id, generation FROM models WHERE current = 0").fetchall()
                db.executemany(
                    "DELETE FROM models WHERE pipeline = ? AND model_id = ? AND generation = ?",
                    [row for row in former if (ModelKey(row[0], row[1]), row[2]) not in keep],
                )

        await self._run(write)

    async def secret(self, name: str) -> str | None:
        row = await self._run(
            lambda: self._connection.execute("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()
        )
        return row[0] if row and isinstance(row[0], str) else None

    async def save_secret(self, name: str, value: str) -> None:
        def write() -> None:
            with self._transaction() as db:
                db.execute("INSERT OR REPLACE INTO secrets (name, value) VALUES (?, ?)", (name, value))

        await self._run(write)

    async def forget_secret(self, name: str) -> None:
        def write() -> None:
            with self._transaction() as db:
                db.execute("DELETE FROM secrets WHERE name = ?", (name,))

        await self._run(write)

    async def streams(self) -> tuple[StoredStream, ...]:
        rows = await self._run(
            lambda: self._connection.execute(
                "SELECT pipeline, model_id, stream_id, origin, replica, generation, began_at FROM streams"
                " ORDER BY began_at"
            ).fetchall()
        )
        # SQLite keeps a value of any type in any column.
        found = []
        for row in rows:
            pipeline, model_id, id, origin, replica, generation, began_at = row
            if tuple(map(type, row)) == (str, str, str, str, int, str, float):
                runner = RunnerId(ModelKey(pipeline, model_id), replica, generation)
                found.append(StoredStream(id, origin, runner, began_at))
            else:
                log.warning(
                    "stored_row_unreadable",
                    table="streams",
                    pipeline=pipeline,
                    model_id=model_id,
                    row=id,
                    error="a column holds a value of the wrong type",
                    next="it is set aside: the stream is found again if its container says that it is busy",
                )
        return tuple(found)

    async def save_stream(self, stream: StoredStream) -> None:
        runner = stream.runner
        row = (*runner.key, stream.id, stream.origin, runner.replica, runner.generation, stream.began_at)

        def write() -> None:
            with self._transaction() as db:
                db.execute("INSERT OR REPLACE INTO streams VALUES (?, ?, ?, ?, ?, ?, ?)", row)

        await self._run(write)

    async def forget_stream(self, key: ModelKey, id: str) -> None:
        def write() -> None:
            with self._transaction() as db:
                db.execute("DELETE FROM streams WHERE pipeline = ? AND model_id = ? AND stream_id = ?", (*key, id))

        await self._run(write)

    async def _run(self, work: Callable[[], T]) -> T:
        def translated() -> T:
            try:
                return work()
            except sqlite3.DatabaseError as exc:
                raise StoreError(_explain(self._path, exc)) from exc

        try:
            return await self._thread.run(translated, CALL_TIMEOUT_S)
        except TimeoutError as exc:
            raise StoreError(f"cannot use the store {self._path}: its disk does not answer") from exc

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise StoreError(f"cannot use the store {self._path}: it is not open")
        return self._db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._connection
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            db.rollback()
            raise

    def _open_or_remember(self) -> None:
        try:
            self._db = self._opened()
            self._file = _identity(self._path)
        except (StoreError, sqlite3.OperationalError) as exc:
            if not _disk_is_full(self._path.parent):
                raise
            why = exc.message if isinstance(exc, StoreError) else str(exc)
            log.error("store_only_in_memory", path=str(self._path), why=f"no space is left on its disk ({why})")
            self._db = self._remembered()

    def _remembered(self) -> sqlite3.Connection:
        """Return what the file holds, in memory."""
        db = sqlite3.connect(":memory:", isolation_level=None)
        if self._path.exists() and self._path.stat().st_size:
            with closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?immutable=1", uri=True)) as file:
                file.backup(db)
        self._migrate(db)
        return db

    def _keep(self) -> None:
        former = self._connection
        if self._file is not None and _identity(self._path) == self._file:
            return
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._file is not None:
            if self._path.exists() and self._path.stat().st_size:
                raise StoreError(
                    f"cannot keep the store {self._path}: it is another file now; restart orchd to use that"
                )
            for suffix in ("-wal", "-shm"):  # Of the file that was removed: they would be taken for the new one's.
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        db = self._opened()
        try:
            former.backup(db)
        except BaseException:
            db.close()
            raise
        log.warning(
            "store_written_again", path=str(self._path), why="it was gone" if self._file else "there is room now"
        )
        self._db, self._file = db, _identity(self._path)
        former.close()

    def _opened(self) -> sqlite3.Connection:
        try:
            # Before SQLite does, so that it is never readable for others; -wal and -shm take over its mode.
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.fchmod(fd, 0o600)
            os.close(fd)
        except OSError as exc:
            raise StoreError(f"cannot open the store {self._path}: {exc.strerror}") from exc
        db = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            if (verdict := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(" ".join(verdict.split()))
            self._migrate(db)
        except BaseException:
            db.close()
            raise
        return db

    def _migrate(self, db: sqlite3.Connection) -> None:
        steps = migrations()
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
        if version > len(steps):
            raise StoreError(
                f"cannot use the store {self._path}: it has version {version}, and this orchd knows up to"
                f" {len(steps)}; run the newer orchd that wrote it, or move the file away"
            )
        for number, script in enumerate(steps[version:], start=version + 1):
            # If it fails or we are killed, the transaction goes with the connection.
            db.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
            log.info("store_migrated", version=number)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one of its name; None = there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _disk_is_full(folder: Path) -> bool:
    """Whether SQLite could not even make the files that it needs beside the database: 32 KiB, and two names."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < 128 * 1024 or (disk.f_files > 0 and disk.f_favail < 2)


def last_good(path: Path, load: Callable[[str], Model]) -> tuple[Model, ...]:
    """Return the last good definitions that a daemon has kept at `path`; none where they can't be read. Blocks.

    For commands beside the daemon: nothing is written, and no file is made, which the daemon might then not be able to
    open. So a database that nobody has open is read as one that can't change.
    """
    try:
        how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=1.0)) as db:
            rows = db.execute("SELECT definition FROM models WHERE current = 1").fetchall()
    except (OSError, sqlite3.Error):
        return ()
    found = []
    for (definition,) in rows:
        with suppress(StoreError, ValueError, KeyError, TypeError):  # a row of another version
            found.append(load(definition))
    return tuple(found)


def migrations() -> list[str]:
    """Return the SQL scripts in order; the n-th brings the store to version n.

    They lie in `orchd/migrations`, named by number, and are never changed once released.
    """
    scripts = {file.name: file.read_text() for file in files("orchd").joinpath("migrations").iterdir()}
    return [scripts[name] for name in sorted(scripts) if re.fullmatch(r"\d{4}_\w+\.sql", name)]


def _explain(path: Path, exc: sqlite3.DatabaseError) -> str:
    """Return what to tell a person about SQLite's `exc`. Primary result codes: sqlite.org/rescode.html."""
    primary = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return (
            f"cannot read the store {path}: it is damaged ({exc}); move it away (with its -wal and -shm files),"
            " and orchd reads aiModels.json anew"
        )
    return f"cannot use the store {path}: {exc}"

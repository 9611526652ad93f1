"""EDGE. What parts use: transactions on one writer thread, reads beside it on a second connection.

The event loop never waits for a disk, and there is one writer by construction. A transaction is on the disk when it
returns (WAL, `synchronous=FULL`); those that wait at the same time share one fsync (`commit.py`).

A transaction belongs to no part. A part's `tables.py` has functions that take a `Sql`; code that has to change the
tables of two parts at once calls both in one transaction:

    def write(sql: Sql) -> None:
        ledger_tables.add_ticket(sql, ticket)
        realtime_tables.save_stream(sql, stream)

    await database.transaction(write)
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import structlog

from orchd.database.beside import read_at_once
from orchd.database.commit import CommitResult, commit
from orchd.database.explain import explain
from orchd.database.file import DatabaseFile, FileIdentity, identity_of, open_beside_writer
from orchd.database.migrations import Migrations, find_migrations
from orchd.database.sql import Sql
from orchd.errors import StoreError
from orchd.tasks import spawn
from orchd.threads import DaemonThreads

log = structlog.get_logger("orchd.database")

CALL_TIMEOUT_S = 30.0
"""A commit takes milliseconds; longer, and beyond `beside.BUSY_TIMEOUT_S`, means that the disk hangs."""
MOST_TOGETHER = 256
"""Transactions in one commit: bounds for how long the first of a group waits for its last."""

T = TypeVar("T")


@dataclass(slots=True)
class _Transaction:
    """One that waits for its commit."""

    work: Callable[[Sql], Any]
    done: asyncio.Future[Any]


class Database:
    """One file for all parts. Belongs to the event loop that opens it.

    Args:
        path: the file; its folder exists already.
        migrations: of every part; None = orchd's own.
        timeout_s: seconds; longest wait for one commit, or for a short read. May be changed.
    """

    def __init__(self, path: Path, migrations: Migrations | None = None, timeout_s: float = CALL_TIMEOUT_S) -> None:
        self._path = path
        self.timeout_s = timeout_s
        self._file = DatabaseFile(path, find_migrations() if migrations is None else migrations)
        self._writer = DaemonThreads("database-writer")
        self._reader = DaemonThreads("database-reader")
        self._read_only: sqlite3.Connection | None = None
        self._reads_from: FileIdentity | None = None
        self._waiting: deque[_Transaction] = deque()
        self._committing: asyncio.Task[None] | None = None
        self._closed = False

    async def open(self) -> None:
        """Create or open the file and bring it to the newest schema, after a backup.

        On a full disk it is read and kept in memory until `keep` finds room: what was known before is known, and all
        that runs is found again.

        Raises:
            StoreError: damaged, made by a newer orchd, or not accessible.
        """
        await self._on_writer(self._file.open)
        if self._file.identity is not None:
            await self._on_reader(self._open_reader, self.timeout_s)  # While the file is sure to be there.

    async def transaction(self, work: Callable[[Sql], T]) -> T:
        """Carry out `work` whole or not at all, and return what it returns once it is on the disk.

        Transactions take effect in the order of these calls. One that was handed over is carried out, also when its
        caller is cancelled meanwhile.

        Args:
            work: called on the writer's thread; fast, and only with SQL in it. It may be called more than once; only
                the last call counts. What it raises undoes it, and is raised here.

        Raises:
            StoreError: it was not written; or the disk does not answer, and that is not known.
        """
        if self._closed:
            raise self._not_open()
        waiting = _Transaction(work, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._committing is None:
            self._committing = spawn(self._commit_waiting(), name="database commits")
        result: T = await waiting.done
        return result

    async def read(self, work: Callable[[Sql], T], timeout_s: float | None = None) -> T:
        """Return what `work` returns; it sees what is committed, at one moment, and may take long without delaying
        a transaction.

        Args:
            work: called on the reader's thread; it can't write.
            timeout_s: seconds; then it is interrupted. None = the database's own.

        Raises:
            StoreError: it can't be read, or not within the time.
        """
        if self._closed:
            raise self._not_open()
        if self._file.identity is None:
            return await self._on_writer(lambda: read_at_once(self._file.connection, work))
        return await self._on_reader(lambda: read_at_once(self._open_reader(), work), timeout_s or self.timeout_s)

    async def back_up(self, state: str) -> None:
        """Write what it holds to a file beside it, before tables change that orchd does not know.

        The file's name is the database's with `state` and .bak after it. A database that is kept in memory, as its
        disk is full, is not backed up.

        Raises:
            StoreError: it can't be written.
        """
        await self._on_writer(lambda: self._file.back_up(state))

    async def keep(self) -> None:
        """Write the file again, with all that is in it, if it was removed or could not be written before.

        Raises:
            StoreError: that does not work now.
        """
        before = self._file.identity
        await self._on_writer(self._file.keep)
        if self._file.identity not in (None, before):
            await self._on_reader(self._open_reader, self.timeout_s)

    def require_file(self) -> None:
        """Check that what is committed goes to the file of that name. Blocks; for the work of a transaction.

        Raises:
            StoreError: it is kept in memory, as the disk is full, or somebody has removed the file.
        """
        if self._file.identity is None or identity_of(self._path) != self._file.identity:
            raise StoreError(f"cannot keep anything in the database {self._path}: its disk is full, or it was removed")

    async def close(self) -> None:
        """Carry out what was handed over, then let go of the file. The database can't be used afterwards."""
        self._closed = True
        if self._committing is not None:
            await asyncio.wait({self._committing})
        self._interrupt_reader()
        for end in (self._on_reader(self._close_reader, self.timeout_s), self._on_writer(self._file.close)):
            try:
                await end
            except StoreError as exc:  # Each transaction was on the disk when it ended, so nothing is lost.
                log.warning("store_not_closed", reason=exc.message)
        self._reader.close()
        self._writer.close()

    # Writing.

    async def _commit_waiting(self) -> None:
        """Commit group after group until nobody waits. The next group gathers while one is on its way to the disk."""
        try:
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_TOGETHER))]
                for each, result in zip(group, await self._commit(group), strict=True):
                    _settle(each.done, result)
                await asyncio.sleep(0)  # Those who wait for these results may want to be in the next group.
        finally:
            self._committing = None

    async def _commit(self, group: list[_Transaction]) -> list[CommitResult]:
        """Return what came of each; never raises."""

        def on_thread() -> list[CommitResult]:
            results = commit(self._file.connection, [each.work for each in group])
            return [self._translated(result) for result in results]

        try:
            return await self._writer.run(on_thread, self.timeout_s)
        except TimeoutError:
            silent = f"cannot use the database {self._path}: its disk does not answer, so this may not be written"
            return [CommitResult(error=StoreError(silent)) for _ in group]
        except StoreError as exc:
            return [CommitResult(error=StoreError(exc.message)) for _ in group]

    def _translated(self, result: CommitResult) -> CommitResult:
        if not isinstance(result.error, sqlite3.Error):
            return result
        error = StoreError(explain(self._path, result.error))
        error.__cause__ = result.error
        return CommitResult(error=error)

    async def _on_writer(self, work: Callable[[], T]) -> T:
        return await self._call(self._writer, work, self.timeout_s)

    # Reading.

    async def _on_reader(self, work: Callable[[], T], timeout_s: float) -> T:
        begun = False

        def noted() -> T:
            nonlocal begun
            begun = True
            return work()

        try:
            return await self._call(self._reader, noted, timeout_s)
        except StoreError as exc:
            if begun and isinstance(exc.__cause__, TimeoutError):  # Else it waited for another one, which may go on.
                self._interrupt_reader()
            raise

    def _interrupt_reader(self) -> None:
        """End the statement that it carries out; any thread may ask for that."""
        with suppress(sqlite3.ProgrammingError):  # It was closed meanwhile.
            if self._read_only is not None:
                self._read_only.interrupt()

    def _open_reader(self) -> sqlite3.Connection:
        """Return the connection that reads, on the reader's thread; a new one if the file was written again."""
        identity = self._file.identity
        if self._read_only is None or self._reads_from != identity:
            self._close_reader()
            self._read_only, self._reads_from = open_beside_writer(self._path), identity
        return self._read_only

    def _close_reader(self) -> None:
        if self._read_only is not None:
            self._read_only.close()
            self._read_only = None

    # Both.

    async def _call(self, threads: DaemonThreads, work: Callable[[], T], timeout_s: float) -> T:
        def translated() -> T:
            try:
                return work()
            except sqlite3.Error as exc:
                raise StoreError(explain(self._path, exc)) from exc

        try:
            return await threads.run(translated, timeout_s)
        except TimeoutError as exc:
            raise StoreError(f"cannot use the database {self._path}: its disk does not answer") from exc

    def _not_open(self) -> StoreError:
        return StoreError(f"cannot use the database {self._path}: it is closed")


class HasDatabase(Protocol):
    """The part that holds the database."""

    @property
    def database(self) -> Database: ...


def _settle(done: asyncio.Future[Any], result: CommitResult) -> None:
    if done.done():
        return  # Its caller was cancelled.
    if result.error is None:
        done.set_result(result.value)
    else:
        done.set_exception(result.error)

"""EDGE. Group commit: many transactions, one fsync. Runs on the writer's thread.

Transactions that wait at the same time are carried out inside one SQLite transaction, each in a savepoint of its own,
and one COMMIT puts all of them on the disk. A transaction that fails is rolled back to its savepoint, so that its
neighbours don't notice. Where SQLite gives up the whole group (a full disk, an I/O error), each is carried out again
alone: then the one that can't be written fails, and the others are written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from orchd.database.sql import Sql

Work = Callable[[Sql], Any]


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What came of one transaction: on the disk if `error` is None, else not there at all.

    Attributes:
        value: what the work has returned.
    """

    value: Any = None
    error: Exception | None = None


class _GroupUndone(Exception):
    """SQLite has rolled back the transaction of the whole group."""


def commit(db: sqlite3.Connection, works: Sequence[Work]) -> list[CommitResult]:
    """Carry out each of `works` as one transaction, in this order; return what came of each.

    Args:
        db: in autocommit mode (`isolation_level=None`).
        works: each is called once, or more often where the group is undone; only its last call counts.
    """
    if len(works) > 1:
        try:
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as exc:  # Each alone would wait for the same lock again.
            return [CommitResult(error=exc)] * len(works)
        with suppress(_GroupUndone, sqlite3.Error):
            return _together(db, works)
    return [_alone(db, work) for work in works]


def _together(db: sqlite3.Connection, works: Sequence[Work]) -> list[CommitResult]:
    sql = Sql(db)
    try:
        results = [_in_savepoint(db, sql, work) for work in works]
        db.execute("COMMIT")
    except BaseException:
        _roll_back(db)
        raise
    return results


def _in_savepoint(db: sqlite3.Connection, sql: Sql, work: Work) -> CommitResult:
    db.execute("SAVEPOINT work")
    try:
        result = CommitResult(work(sql))
    except BaseException as exc:  # It is the caller's, whatever it is: its neighbours must not wait for ever.
        if not db.in_transaction:
            raise _GroupUndone from exc
        db.execute("ROLLBACK TO work")
        result = CommitResult(error=_raisable(exc))
    db.execute("RELEASE work")
    return result


def _alone(db: sqlite3.Connection, work: Work) -> CommitResult:
    try:
        db.execute("BEGIN IMMEDIATE")
        try:
            value = work(Sql(db))
            db.execute("COMMIT")
        except BaseException:
            _roll_back(db)
            raise
    except BaseException as exc:  # noqa: BLE001 - as above
        return CommitResult(error=_raisable(exc))
    return CommitResult(value)


def _raisable(exc: BaseException) -> Exception:
    """Return what can be raised where the transaction is awaited: StopIteration and SystemExit mean other things there.

    Python does the same with a StopIteration that leaves a generator (PEP 479).
    """
    if isinstance(exc, Exception) and not isinstance(exc, StopIteration):
        return exc
    failure = RuntimeError(f"cannot finish the transaction: it raised {exc!r}")
    failure.__cause__ = exc
    return failure


def _roll_back(db: sqlite3.Connection) -> None:
    if db.in_transaction:
        with suppress(sqlite3.Error):
            db.rollback()

"""EDGE. What the queries of a part are given: statements of one transaction, and no way to end it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

Value = str | bytes | int | float | None
Row = tuple[Any, ...]

_ENDS_IT = frozenset(
    {"BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE", "PRAGMA", "ATTACH", "DETACH", "VACUUM"}
)
"""First words of statements that begin or end a transaction, or can't be made within one."""


class Sql:
    """Statements of one transaction. Use it only inside the call that was given it.

    Every call raises `sqlite3.DatabaseError`, which the database turns into a StoreError for the caller of the
    transaction.
    """

    __slots__ = ("_db",)

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def rows(self, statement: str, values: Sequence[Value] = ()) -> list[Row]:
        """Return all rows that the statement finds. For many rows, ask for them in pages."""
        return self._execute(statement, values).fetchall()

    def row(self, statement: str, values: Sequence[Value] = ()) -> Row | None:
        """Return the first row that the statement finds; None = there is none."""
        cursor = self._execute(statement, values)
        try:
            found: Row | None = cursor.fetchone()
            return found
        finally:
            cursor.close()  # Else the statement stays open, and with it what it has locked.

    def change(self, statement: str, values: Sequence[Value] = ()) -> int:
        """Carry the statement out and return how many rows it has inserted, updated or deleted."""
        return self._execute(statement, values).rowcount

    def change_all(self, statement: str, rows: Iterable[Sequence[Value]]) -> int:
        """Carry the statement out once for each of `rows` and return how many rows were changed in all."""
        _check(statement)
        return self._db.executemany(statement, rows).rowcount

    def _execute(self, statement: str, values: Sequence[Value]) -> sqlite3.Cursor:
        _check(statement)
        return self._db.execute(statement, values)


_FIRST_WORD = re.compile(r"(?:[\s;\ufeff]|--[^\n]*|/\*.*?(?:\*/|\Z))*([A-Za-z]*)", re.DOTALL)
"""After all that SQLite passes over before a statement: blanks, semicolons, comments, byte order marks."""


def _check(statement: str) -> None:
    found = _FIRST_WORD.match(statement)
    if found is not None and found[1].upper() in _ENDS_IT:
        raise ValueError(f"cannot carry out {statement!r} inside a transaction: others share it")

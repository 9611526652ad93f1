"""A database of open accounts in memory, whose commits a test can see and copy."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from importlib.resources import files
from typing import TypeVar

from orchd.database.sql import Sql
from orchd.errors import StoreError

T = TypeVar("T")
TABLE = (files("orchd.hooks") / "migrations" / "002_open_accounts.sql").read_text()


class FakeAccountDatabase:
    """After `hooks.hook.HookDatabase`. What was handed over is carried out, in order, also if its caller is cancelled.

    Attributes:
        fails: no transaction can be written.
    """

    def __init__(self, rows: list[tuple[str, str, float]] | None = None) -> None:
        self._db = sqlite3.connect(":memory:", isolation_level=None)
        self._db.executescript(TABLE)
        self._db.executemany("INSERT INTO open_accounts VALUES (?, ?, ?)", rows or [])
        self.fails = False

    @property
    def rows(self) -> list[tuple[str, str, float]]:
        """What a crash would leave."""
        return self._db.execute("SELECT id, account, used_s FROM open_accounts ORDER BY id").fetchall()

    async def transaction(self, work: Callable[[Sql], T]) -> T:
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def commit() -> None:
            result = work(Sql(self._db))
            if not done.done():
                done.set_result(result)

        if self.fails:
            raise StoreError("cannot write the database: the disk is full")
        # As the real one: on the disk some turns later, in order.
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: loop.call_soon(commit))
        return await done

    async def read(self, work: Callable[[Sql], T], timeout_s: float | None = None) -> T:
        return work(Sql(self._db))

    def close(self) -> None:
        self._db.close()

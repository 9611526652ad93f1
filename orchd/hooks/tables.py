"""The tables of hooks: each step of a hook's `migrations` is carried out once, in order."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from orchd.database.sql import Sql
from orchd.errors import HookError
from orchd.hooks.hook import HookDatabase


class MigratedDatabase(HookDatabase, Protocol):
    """The database as it is used before a hook opens."""

    async def back_up(self, state: str) -> None:
        """Write a copy of it beside it, named by its state."""


class _Rehearsed(Exception):
    """All steps can be carried out; raised to undo them."""


async def bring_up(database: MigratedDatabase, hook: str, steps: Sequence[Sequence[str]]) -> int:
    """Carry out the steps that are new, and return how many those were. All of them, or none.

    A database with tables of an earlier version is backed up before. The steps are tried first: one that fails would
    else leave a backup at each start of the daemon.

    Raises:
        HookError: a later version of the hook has been here.
        StoreError: a step fails, or the backup.
    """

    def rehearse(sql: Sql) -> None:
        migrate(sql, hook, steps)
        raise _Rehearsed

    done = await database.read(lambda sql: _done(sql, hook))
    if 0 < done < len(steps):
        with suppress(_Rehearsed):
            await database.transaction(rehearse)
        await database.back_up(f"hook-{hook}-step-{done}")
    return await database.transaction(lambda sql: migrate(sql, hook, steps))


def migrate(sql: Sql, hook: str, steps: Sequence[Sequence[str]]) -> int:
    """Carry out the steps that are new, and return how many those were. All of them, or none.

    Args:
        hook: its name; under another name, a hook begins with no tables.

    Raises:
        HookError: a later version of the hook has been here.
    """
    done = _done(sql, hook)
    if done > len(steps):
        raise HookError(
            f"cannot open the hook {hook}: its tables are at step {done}, and this version of it knows {len(steps)}; "
            "install the later version again, or give the hook another name in hooks.order"
        )
    for number, statements in enumerate(steps[done:], start=done + 1):
        for statement in statements:
            sql.change(statement)
        sql.change("INSERT INTO hook_migrations (hook, step, made_at) VALUES (?, ?, ?)", (hook, number, time.time()))
    return len(steps) - done


def _done(sql: Sql, hook: str) -> int:
    row = sql.row("SELECT count(*) FROM hook_migrations WHERE hook = ?", (hook,))
    return 0 if row is None else int(row[0])

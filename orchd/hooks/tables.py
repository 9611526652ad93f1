"""The tables of hooks: each step of a hook's `migrations` is carried out once, in order."""

from __future__ import annotations

import time
from collections.abc import Sequence

from orchd.database.sql import Sql
from orchd.errors import HookError


def migrate(sql: Sql, hook: str, steps: Sequence[Sequence[str]]) -> int:
    """Carry out the steps that are new, and return how many those were. All of them, or none.

    Args:
        hook: its name; under another name, a hook begins with no tables.

    Raises:
        HookError: a later version of the hook has been here.
    """
    row = sql.row("SELECT count(*) FROM hook_migrations WHERE hook = ?", (hook,))
    done = 0 if row is None else int(row[0])
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

"""Any interleaving of transactions, failures, cancellations and ends of the daemon leaves what a model would hold."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchd.database.database import Database
from orchd.database.sql import Sql
from orchd.errors import StoreError
from orchd.tasks import cancel, spawn
from tests.database.parts import PARTS, add_left, add_pair, ids


class _SaysNo(Exception):
    """A part refuses its transaction."""


def halfway(sql: Sql, id: int) -> None:
    add_left(sql, id)
    raise _SaysNo


def broken(sql: Sql, id: int) -> None:
    add_left(sql, id)
    sql.change("INSERT INTO no_such_table VALUES (1)")


def undoing(sql: Sql, id: int) -> None:
    """Have SQLite undo the whole group."""
    add_left(sql, id)
    sql.change("INSERT OR ROLLBACK INTO pairs_left VALUES (?, '')", (id,))


WORKS: dict[str, Callable[[Sql, int], object]] = {
    "pair": add_pair,
    "halfway": halfway,
    "broken": broken,
    "undoing": undoing,
}


@dataclass(frozen=True)
class Call:
    """Attributes:
    turns: of the loop before the next step.
    cancelled: after as many turns its caller is cancelled; None = it is not.
    """

    work: str
    turns: int
    cancelled: int | None


@dataclass(frozen=True)
class Restart:
    """The database is closed, with calls under way, and opened again."""


CALLS = st.builds(
    Call, st.sampled_from([*WORKS, "pair", "pair"]), st.integers(0, 3), st.none() | st.none() | st.integers(1, 4)
)
STEPS = st.lists(CALLS | CALLS | CALLS | st.just(Restart()), max_size=30)


@settings(max_examples=60, deadline=None)
@given(STEPS)
async def test_every_transaction_is_whole_and_those_that_fail_leave_nothing(steps: list[Call | Restart]) -> None:
    tasks: dict[int, tuple[Call, asyncio.Task[Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "orchd.db", PARTS)
        await database.open()
        for id, step in enumerate(steps):
            if isinstance(step, Restart):
                await database.close()
                database = Database(Path(folder) / "orchd.db", PARTS)
                await database.open()
                continue
            task = spawn(ended(database, step.work, id), name=f"{step.work} {id}")
            tasks[id] = step, task
            for _ in range(step.turns):
                await asyncio.sleep(0)
            if step.cancelled is not None:
                for _ in range(step.cancelled):
                    await asyncio.sleep(0)
                await cancel(task)
        await asyncio.gather(*(task for _, task in tasks.values()), return_exceptions=True)
        await database.transaction(lambda sql: None)  # Those whose callers were cancelled come before it.
        left, right = await database.transaction(ids)
        await database.close()
    assert left == right
    assert left == {id for id, (step, task) in tasks.items() if step.work == "pair" and begun(task)}


async def ended(database: Database, work: str, id: int) -> str:
    """Return how it ended; that of a work that can't be carried out is what it must be."""
    try:
        await database.transaction(lambda sql: WORKS[work](sql, id))
    except _SaysNo:
        assert work == "halfway"
    except StoreError as exc:
        if "closed" in exc.message:
            return "refused"
        assert work in ("broken", "undoing")
    else:
        assert work == "pair"
    return "done"


def begun(task: asyncio.Task[str]) -> bool:
    """Return whether the transaction was handed over; that takes one turn, and a cancelled task has had it."""
    return task.cancelled() or task.result() == "done"

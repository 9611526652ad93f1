"""Transactions that parts share: whole or not at all, in order, many to one fsync, and reads beside them."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchd.database.database import Database
from orchd.database.sql import Sql
from orchd.errors import Code, StoreError
from orchd.tasks import cancel, spawn
from tests.database.parts import PARTS, add_left, add_pair, add_right, ids, opened


async def test_a_transaction_over_the_tables_of_two_parts_is_there_in_the_next_life(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        assert await database.transaction(partial(add_pair, id=7)) == 7
    async with opened(tmp_path) as database:
        assert await database.read(ids) == ({7}, {7})


async def test_a_transaction_that_fails_in_its_second_part_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    def half(sql: Sql) -> None:
        add_left(sql, 1)
        raise LookupError("the second part says no")

    async with opened(tmp_path) as database:
        with pytest.raises(LookupError, match="the second part says no"):
            await database.transaction(half)
        assert await database.read(ids) == (set(), set())


async def counted(database: Database) -> list[str]:
    """Return the list to which each COMMIT is added from now on."""
    commits: list[str] = []

    def watch() -> None:
        connection = database._file.connection
        connection.set_trace_callback(lambda text: commits.append(text) if text == "COMMIT" else None)

    await database._on_writer(watch)
    return commits


async def test_those_that_wait_at_the_same_time_share_a_commit(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        commits = await counted(database)
        await asyncio.gather(*(database.transaction(partial(add_pair, id=id)) for id in range(64)))
        assert len(commits) == 1
        assert await database.read(ids) == (set(range(64)), set(range(64)))


async def test_callers_that_go_on_at_once_stay_together(tmp_path: Path) -> None:
    """Those who wait for one commit are all in the next: groups don't fall apart into ever smaller ones."""
    async with opened(tmp_path) as database:
        commits = await counted(database)

        async def caller(first: int) -> None:
            for id in range(first, first + 10):
                await database.transaction(partial(add_pair, id=id))

        await asyncio.gather(*(caller(1000 * n) for n in range(64)))
        assert len(commits) <= 11


async def test_callers_that_came_in_two_halves_come_together(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        commits = await counted(database)
        begun, go_on = threading.Event(), threading.Event()

        def slow(sql: Sql) -> None:
            begun.set()
            go_on.wait()

        async def caller(first: int) -> None:
            for id in range(first, first + 10):
                await database.transaction(partial(add_pair, id=id))

        first = [spawn(database.transaction(slow), name="slow")]
        first += [spawn(caller(1000 * n), name="first half") for n in range(32)]
        await asyncio.to_thread(begun.wait)
        second = [spawn(caller(1000 * n), name="second half") for n in range(32, 64)]
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(*first, *second)
        assert len(commits) <= 13


async def test_a_transaction_that_fails_does_not_undo_its_neighbours(tmp_path: Path) -> None:
    def bad(sql: Sql) -> None:
        add_left(sql, 100)
        add_right(sql, 1)  # The neighbour's.

    async with opened(tmp_path) as database:
        one, two, three = await asyncio.gather(
            database.transaction(partial(add_pair, id=1)),
            database.transaction(bad),
            database.transaction(partial(add_pair, id=3)),
            return_exceptions=True,
        )
        assert (one, three) == (1, 3)
        assert isinstance(two, StoreError)
        assert "UNIQUE constraint failed" in two.message
        assert two.code is Code.STORE_BROKEN
        assert await database.read(ids) == ({1, 3}, {1, 3})


async def test_where_sqlite_gives_up_the_whole_group_each_is_carried_out_alone(tmp_path: Path) -> None:
    def bad(sql: Sql) -> None:
        sql.change("INSERT OR ROLLBACK INTO pairs_left VALUES (1, '')")

    async with opened(tmp_path) as database:
        results = await asyncio.gather(
            *(database.transaction(work) for work in (partial(add_pair, id=1), bad, partial(add_pair, id=3))),
            return_exceptions=True,
        )
        assert results[0::2] == [1, 3]
        assert isinstance(results[1], StoreError)
        assert await database.read(ids) == ({1, 3}, {1, 3})


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("error", [StopIteration(), SystemExit(3), asyncio.CancelledError(), GeneratorExit()])
async def test_whatever_a_transaction_raises_it_and_its_neighbours_are_told(
    tmp_path: Path, error: BaseException, alone: bool
) -> None:
    def bad(sql: Sql) -> None:
        add_left(sql, 100)
        raise error

    def undone(sql: Sql) -> None:
        sql.change("INSERT OR ROLLBACK INTO pairs_left VALUES (1, '')")

    works: list[Callable[[Sql], Any]] = [
        partial(add_pair, id=1),
        bad,
        partial(add_pair, id=3),
        *([undone] if alone else []),
    ]
    async with opened(tmp_path) as database, asyncio.timeout(30):
        results: list[Any] = await asyncio.gather(*map(database.transaction, works), return_exceptions=True)
        assert results[0:3:2] == [1, 3]
        assert isinstance(results[1], RuntimeError)
        assert repr(error) in str(results[1])
        assert await database.read(ids) == ({1, 3}, {1, 3})
        with pytest.raises(RuntimeError, match="it raised StopIteration"):
            await database.read(lambda sql: next(iter(sql.rows("SELECT 1 WHERE 0"))))


@pytest.mark.parametrize("before", ["/* why */ ", "-- why\n", "\ufeff", " ;\n", "/**/ --\n\t;"])
async def test_a_comment_hides_no_end_of_the_transaction(tmp_path: Path, before: str) -> None:
    """Else what its neighbours have written is there twice: by this COMMIT, and when they are carried out again."""
    async with opened(tmp_path) as database:
        first = spawn(database.transaction(lambda sql: add_left(sql, 1)), name="first")
        with pytest.raises(ValueError, match="others share it"):
            await database.transaction(lambda sql: sql.change(f"{before}COMMIT"))
        await first
        await database.transaction(lambda sql: sql.change(f"{before}DELETE FROM pairs_left"))
        assert await database.read(ids) == (set(), set())
        await database.transaction(lambda sql: sql.change(""))


@pytest.mark.parametrize("word", ["COMMIT", " rollback", "savepoint x", "PRAGMA synchronous = OFF", "vacuum"])
async def test_a_part_cannot_end_the_transaction_that_it_shares(tmp_path: Path, word: str) -> None:
    async with opened(tmp_path) as database:
        first = spawn(database.transaction(partial(add_pair, id=1)), name="first")
        with pytest.raises(ValueError, match="others share it"):
            await database.transaction(lambda sql: sql.change(word))
        await first
        assert await database.read(ids) == ({1}, {1})


async def test_transactions_take_effect_in_the_order_of_their_calls(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        order: list[int] = []
        await asyncio.gather(*(database.transaction(lambda _, n=n: order.append(n)) for n in range(700)))  # type: ignore[misc]
        assert order == [*range(700)]


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
async def test_a_caller_that_is_cancelled_loses_nothing(tmp_path: Path, turns: int) -> None:
    async with opened(tmp_path) as database:
        waiting = spawn(database.transaction(partial(add_pair, id=1)), name="cancelled")
        await asyncio.sleep(0)  # It has handed its transaction over.
        for _ in range(turns):
            await asyncio.sleep(0)
        await cancel(waiting)
        await database.transaction(partial(add_pair, id=2))
        assert await database.read(ids) == ({1, 2}, {1, 2})


async def test_what_was_handed_over_is_carried_out_before_the_end(tmp_path: Path) -> None:
    database = Database(tmp_path / "orchd.db", PARTS)
    await database.open()
    waiting = [spawn(database.transaction(partial(add_pair, id=id)), name=str(id)) for id in range(300)]
    await asyncio.sleep(0)
    await database.close()
    assert [await each for each in waiting] == [*range(300)]
    async with opened(tmp_path) as again:
        assert len((await again.read(ids))[0]) == 300


async def test_after_its_end_nothing_can_be_asked_of_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        pass
    for call in (database.transaction(partial(add_pair, id=1)), database.read(ids)):
        with pytest.raises(StoreError, match="it is closed"):
            await call


async def test_a_long_read_holds_up_no_transaction_and_sees_one_moment(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        await database.transaction(partial(add_pair, id=1))
        begun, go_on = threading.Event(), threading.Event()

        def long(sql: Sql) -> tuple[set[int], set[int]]:
            first = ids(sql)
            begun.set()
            go_on.wait()
            assert ids(sql) == first
            return first

        reading = spawn(database.read(long), name="long read")
        await asyncio.to_thread(begun.wait)
        await database.transaction(partial(add_pair, id=2))
        go_on.set()
        assert await reading == ({1}, {1})
        assert await database.read(ids) == ({1, 2}, {1, 2})


async def test_a_read_cannot_write(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        with pytest.raises(StoreError, match="may not be written"):
            await database.read(partial(add_pair, id=1))
        assert await database.transaction(ids) == (set(), set())


async def test_a_read_that_takes_too_long_is_interrupted_and_the_next_one_is_served(tmp_path: Path) -> None:
    forever = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    async with opened(tmp_path) as database:
        with pytest.raises(StoreError):
            await database.read(lambda sql: sql.row(forever), timeout_s=0.05)
        async with asyncio.timeout(30):
            while True:
                try:
                    assert await database.read(ids) == (set(), set())
                    return
                except StoreError:  # The thread has not come back from it yet.
                    await asyncio.sleep(0)


async def test_a_read_that_had_to_wait_too_long_for_another_one_leaves_that_alone(tmp_path: Path) -> None:
    some = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 20000) SELECT count(*) FROM n"
    async with opened(tmp_path) as database:
        begun, enough = threading.Event(), threading.Event()

        def long(sql: Sql) -> str:
            while not enough.is_set():
                assert sql.row(some) == (20000,)
                begun.set()
            return "read to its end"

        reading = spawn(database.read(long), name="long read")
        await asyncio.to_thread(begun.wait)
        with pytest.raises(StoreError):
            await database.read(ids, timeout_s=0.05)
        await database.keep()
        enough.set()
        assert await reading == "read to its end"


async def test_a_disk_that_hangs_is_an_error_each_time_and_holds_up_nobody(tmp_path: Path) -> None:
    answers = threading.Event()
    database = Database(tmp_path / "orchd.db", PARTS)

    def hang(_: Sql) -> None:
        answers.wait()
        database._file.close()  # Nobody else is left who would.

    await database.open()
    database.timeout_s = 0.05
    with pytest.raises(StoreError, match="its disk does not answer"):
        await database.transaction(hang)
    for _ in range(2):
        with pytest.raises(StoreError, match="its disk does not answer"):
            await database.transaction(partial(add_pair, id=2))
        with pytest.raises(StoreError, match="its disk does not answer"):
            await database.keep()
    await database.close()
    answers.set()


async def test_another_program_that_holds_the_file_is_named_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchd.database.file.BUSY_TIMEOUT_S", 0.0)
    async with opened(tmp_path) as database:
        with closing(sqlite3.connect(tmp_path / "orchd.db", isolation_level=None)) as shell:
            shell.execute("BEGIN IMMEDIATE")
            results = await asyncio.gather(
                *(database.transaction(partial(add_pair, id=id)) for id in range(3)), return_exceptions=True
            )
            assert ["another program holds it" in str(result) for result in results] == [True] * 3
        await database.transaction(partial(add_pair, id=1))


async def test_it_writes_ahead_and_waits_for_the_disk(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        ask = database._file.connection.execute
        pragmas = await database._on_writer(
            lambda: [ask(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")]
        )
    assert pragmas == ["wal", 2, 1]

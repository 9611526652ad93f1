"""A real kill -9 while the ledger works: what was reported as done is there, whole, and it is not taken for old."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchd.tickets.ledger.reconcile import reconcile
from orchd.tickets.validation.faults import Fault, PaymentRefused
from tests.tickets.ledger.kept import KEY, MODEL, PAYER, PRICE, Kept, World, opened, paid, terms_of
from tests.tickets.ledger.test_restore import copy_database

CHILD = """
import asyncio, os, sys
from pathlib import Path
from tests.tickets.ledger.kept import *

async def main():
    async with opened(World(Path(sys.argv[1]))) as kept:
        books = kept.books

        async def pay(caller):
            for number in range(caller, 10**6, 8):
                await books.take(paid(terms_of(books, number), [1, 2], [2]), KEY, MODEL)
                yield number

        async def work(caller):
            for number in range(caller, 10**6, 8):
                books.begin(session(str(number)))
                books.charge(str(number), S)
                await books.write_charges()
                await books.end(str(number), 2 * S)
                yield number

        async def rotate(caller):
            while True:
                await books.rotate()
                yield books.terms_key.id

        async def report(kind, caller):
            async for done in kind(caller):
                os.write(2, b"%d\\n" % done)  # Whole at once: a pipe keeps what was written before the kill.

        kind = {"pay": pay, "work": work, "rotate": rotate}[sys.argv[2]]
        await asyncio.gather(*(report(kind, caller) for caller in range(1, 2 if kind is rotate else 9)))

asyncio.run(main())
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    folder = tmp_path / "state"
    folder.mkdir()
    return World(folder)


def killed_after(told: int, world: World, kind: str) -> list[int]:
    """Return what a child has reported as done before it was killed."""
    command = [sys.executable, "-c", CHILD, str(world.folder), kind]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[3]
    ) as child:
        assert child.stderr
        lines = [child.stderr.readline() for _ in range(told)]
        child.kill()
        lines += child.stderr.readlines()
    return [int(line) for line in lines if line.endswith(b"\n")]


async def reconciles(kept: Kept) -> None:
    assert kept.void_why == "", "it is as new as its marker"
    assert (await kept.database.read(reconcile)).differences == ()


async def test_payments_outlive_a_kill_and_no_replay_does(world: World) -> None:
    reported = killed_after(40, world, "pay")
    async with opened(world) as kept:
        await reconciles(kept)
        terms = {number: terms_of(kept.books, number) for number in reported}
        for each in terms.values():
            assert {1, 2} == {*kept.books.book_facts(each.commitment).seen}
            with pytest.raises(PaymentRefused) as refused:
                await kept.books.take(paid(each, [2, 3]), KEY, MODEL)
            assert refused.value.fault is Fault.NONCE_SEEN
        payments = len(kept.books.view.terms)
        assert payments >= len(reported) >= 40
        assert kept.books.unredeemed(PAYER) == payments * terms[reported[0]].face_value
        assert len(kept.books.view.owed) == payments


async def test_a_copy_that_is_put_back_after_a_kill_is_known_to_be_old(world: World, tmp_path: Path) -> None:
    async with opened(world):
        copy_database(world.folder, tmp_path / "copy")
    killed_after(1, world, "pay")
    copy_database(tmp_path / "copy", world.folder)
    async with opened(world) as kept:
        assert "older than the marker" in kept.void_why


async def test_charges_outlive_a_kill_and_a_session_that_died_is_charged_what_was_written(world: World) -> None:
    reported = killed_after(40, world, "work")
    async with opened(world) as kept:
        await reconciles(kept)
        rows = await kept.database.read(
            lambda sql: sql.rows("SELECT session, units, state FROM ledger_journal WHERE kind = 'charge'")
        )
        units = {int(session): (charged, state) for session, charged, state in rows}
        assert len(units) == len(rows)
        assert all(units[number] == (2, "done") for number in reported)
        assert {state for _, state in units.values()} <= {"done", "died"}
        assert kept.books.balance(KEY).wei == -PRICE * sum(charged for charged, _ in units.values())


async def test_secrets_that_were_made_void_stay_so_after_a_kill(world: World) -> None:
    reported = killed_after(5, world, "rotate")
    async with opened(world) as kept:
        await reconciles(kept)
        assert kept.books.terms_key.id not in reported[:-1]
        assert len(kept.books.terms_keys.by_id) == 1

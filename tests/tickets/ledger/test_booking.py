"""A disk that answers too late: whether a transaction is there is found out before anything else is booked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from structlog.testing import capture_logs

from orchd.database.database import Database
from orchd.database.sql import Sql
from orchd.errors import Code, StoreError
from orchd.tickets.ledger import tables
from orchd.tickets.ledger.booking import AT_ONCE, Booking
from orchd.tickets.ledger.books import Books
from orchd.tickets.ledger.changes import Tidy
from orchd.tickets.ledger.draft import LedgerDraft
from orchd.tickets.ledger.keyring import Keyring
from orchd.tickets.ledger.reconcile import reconcile
from orchd.tickets.validation.faults import Fault, PaymentRefused
from tests.tickets.ledger.kept import KEY, MIGRATIONS, MODEL, Chain, paid, terms_of

T = TypeVar("T")


class LateDatabase(Database):
    """A database whose disk may answer too late.

    Attributes:
        lost: answers that still come too late: the transaction is there, and its caller is told that it may not be.
        silent: transactions after those that fail without being carried out.
    """

    lost = 0
    silent = 0

    async def transaction(self, work: Callable[[Sql], T]) -> T:
        if self.lost:
            self.lost -= 1
            await super().transaction(work)
            raise StoreError("its disk does not answer, so this may not be written")
        if self.silent:
            self.silent -= 1
            raise StoreError("its disk does not answer")
        return await super().transaction(work)


@pytest.fixture
async def late(tmp_path: Path) -> AsyncIterator[LateDatabase]:
    database = LateDatabase(tmp_path / "orchd.db", MIGRATIONS)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def books(late: LateDatabase, tmp_path: Path) -> AsyncIterator[Books]:
    books = Books(late, tmp_path, chain=Chain().facts)
    await books.open()
    yield books
    await books.close()
    assert (await late.read(reconcile)).differences == ()


async def test_a_payment_that_was_kept_after_all_is_credited_once(books: Books, late: LateDatabase) -> None:
    terms = terms_of(books)
    late.lost = 1
    await books.take(paid(terms, [1], winning=[1]), KEY, MODEL)
    assert books.balance(KEY).wei == terms.expected_value
    await books.take(paid(terms, [2]), KEY, MODEL)
    assert books.balance(KEY).wei == 2 * terms.expected_value


async def test_while_that_is_not_known_nothing_is_booked(books: Books, late: LateDatabase) -> None:
    terms = terms_of(books)
    late.lost, late.silent = 1, 2
    for nonce in (1, 2):
        with pytest.raises(StoreError):
            await books.take(paid(terms, [nonce]), KEY, MODEL)
    with pytest.raises(PaymentRefused) as refused:
        await books.take(paid(terms, [1]), KEY, MODEL)
    assert refused.value.fault is Fault.NONCE_SEEN
    assert books.balance(KEY).wei == 0
    await books.take(paid(terms, [2]), KEY, MODEL)
    assert books.balance(KEY).wei == 2 * terms.expected_value, "the first one was kept after all"


async def test_a_payment_that_was_not_kept_may_come_again(books: Books, late: LateDatabase) -> None:
    terms = terms_of(books)
    late.silent = 2
    for _ in range(2):
        with pytest.raises((StoreError, PaymentRefused)):
            await books.take(paid(terms, [1]), KEY, MODEL)
    assert books.balance(KEY).wei == 0
    await books.take(paid(terms, [2]), KEY, MODEL)
    await books.take(paid(terms, [1]), KEY, MODEL)
    assert books.balance(KEY).wei == 2 * terms.expected_value


async def test_a_ledger_that_somebody_else_writes_is_not_written(books: Books, late: LateDatabase) -> None:
    state = books.view.state
    for commits in (1, 2):
        ahead = state._replace(commits=state.commits + commits)
        await late.transaction(partial(tables.put_state, state=ahead))
    terms = terms_of(books)
    for nonce in (1, 2):
        with pytest.raises(StoreError, match="another program"):
            await books.take(paid(terms, [nonce]), KEY, MODEL)
    assert books.balance(KEY).wei == 0


async def test_after_a_bug_that_leaves_the_ledger_unknown_nobody_waits_and_nothing_is_booked(
    books: Books, late: LateDatabase
) -> None:
    def crash(commits: int, keys: Keyring | None) -> None:
        raise KeyError("no such account")

    booking = Booking(late, lambda: None, lambda: LedgerDraft(books.view, 0.0, 1000), crash)
    change = Tidy(1e9, 0)
    with capture_logs() as lines:
        told = await asyncio.gather(*(booking.book(change) for _ in range(AT_ONCE + 2)), return_exceptions=True)
        with pytest.raises(StoreError) as later:
            await booking.book(change)
    assert {type(each) for each in told} == {StoreError}
    assert {each.code for each in (*told, later.value) if isinstance(each, StoreError)} == {Code.INTERNAL}
    assert [line["event"] for line in lines] == ["ledger_broken"]
    await booking.finish()

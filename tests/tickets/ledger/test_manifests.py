"""What sessions that were paid on were promised: kept with their first credit, and as long as it is of use."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from orchd.errors import StoreError
from orchd.tickets.ledger.books import Books
from orchd.tickets.ledger.changes import AT_ONCE, FORGET_AFTER_S, Tidy
from orchd.tickets.ledger.draft import LedgerDraft
from orchd.tickets.ledger.ports import LedgerKey, Manifest
from tests.tickets.ledger.kept import DAY_S, KEY, MODEL, PAYER, PRICE, Kept, S, World, opened, paid, session, terms_of


def manifest(number: int = 1, *, fixed: bool = False) -> Manifest:
    key = LedgerKey("live-runner", PAYER, f"session_{number}")
    return Manifest(key, "paint", MODEL, PRICE, fixed=fixed, persistent=True, issued_at=1_790_000_000 + number)


async def take(books: Books, number: int, *, fixed: bool = False) -> Manifest:
    made = manifest(number, fixed=fixed)
    await books.take(paid(terms_of(books, number), [1]), made.key, MODEL, made)
    return made


async def test_a_manifest_is_kept_with_its_first_credit_and_stays_as_it_was(tmp_path: Path) -> None:
    async with opened(World(tmp_path)) as kept:
        assert kept.books.manifest("session_1") is None
        made = await take(kept.books, 1)
        dearer = made._replace(price=2 * made.price)
        await kept.books.take(paid(terms_of(kept.books), [2]), made.key, MODEL, dearer)
        assert kept.books.manifest("session_1") == made
    async with opened(World(tmp_path)) as kept:
        assert kept.books.manifest("session_1") == made


async def test_what_can_not_be_kept_promises_nothing(tmp_path: Path) -> None:
    async with opened(World(tmp_path)) as kept:
        database = tmp_path / "orchd.db"
        database.rename(tmp_path / "elsewhere")
        with pytest.raises(StoreError):
            await take(kept.books, 1)
        assert kept.books.manifest("session_1") is None
        (tmp_path / "elsewhere").rename(database)


async def test_a_fixed_price_is_noted_in_the_transaction_that_charges_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with opened(world) as kept:
        made = await take(kept.books, 1, fixed=True)
        kept.books.begin(session("job 1", made.key, rounding=None))
        kept.books.charge("job 1", 0)
        assert kept.books.manifest(made.id) == made._replace(charged=True), "on its way to the disk"
        assert kept.books.view.manifests[made.id] == made
        await kept.books.write_charges()
        assert kept.books.view.manifests[made.id] == made._replace(charged=True)
        assert kept.books.manifest(made.id) == made._replace(charged=True)
        await kept.books.end("job 1", S, nothing=True)
        assert kept.books.manifest(made.id) == made, "given back"
        kept.books.begin(session("job 2", made.key, rounding=None))
        await kept.books.end("job 2", S)
    async with opened(world) as kept:
        assert kept.books.manifest(made.id) == made._replace(charged=True)
        goes_on = session("job 2", made.key, rounding=None)
        kept.books.begin(replace(goes_on, meter=replace(goes_on.meter, units=1)))
        await kept.books.end("job 2", S, nothing=True)
        assert kept.books.manifest(made.id) == made._replace(charged=True), "by an orchd before it stays charged"


async def test_a_manifest_goes_with_its_account(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with opened(world) as kept:
        made = await take(kept.books, 1)
        world.clock.now += 8 * DAY_S
        await kept.books.tidy(7 * DAY_S)
        assert kept.books.balance(made.key).wei == 0
        world.clock.now += FORGET_AFTER_S
        await kept.books.tidy(7 * DAY_S)
        assert kept.books.manifest(made.id) is None
    async with opened(world) as kept:
        assert kept.books.manifest(made.id) is None


async def test_of_too_many_manifests_those_go_that_were_not_used_for_longest(tmp_path: Path) -> None:
    async with opened(World(tmp_path)) as kept:
        books = kept.books
        await books.take(paid(terms_of(books, 9), [1]), KEY, MODEL)
        for number in range(1, 6):
            await take(books, number)
        books.begin(session("job 1", manifest(1).key))
        await books.take(paid(terms_of(books, 2), [2]), manifest(2).key, MODEL, manifest(2))
        left = sum(books.balance(manifest(number).key).wei for number in (3, 4))
        await tidy(kept, most_manifests=3)
        assert [*books.view.manifests] == ["session_1", "session_2", "session_5"], "one runs, one was topped up"
        assert books.balance(manifest(3).key).wei == 0
        assert books.balance(KEY).wei > 0, "an account without a manifest stays"
        assert books.view.forfeited == left > 0


async def test_credit_that_goes_with_its_manifest_is_told_by_the_journal_for_as_long_as_there_is_room(
    tmp_path: Path,
) -> None:
    async with opened(World(tmp_path)) as kept:
        books = kept.books
        for number in range(1, 6):
            await take(books, number)
        books.begin(session("job 1", manifest(1).key))
        await tidy(kept, most_manifests=3)
        kinds = await kept.database.read(
            lambda sql: sql.rows("SELECT kind, count(*) FROM ledger_journal GROUP BY kind")
        )
        assert sorted(kinds) == [("credit", 5), ("forfeited", 2)]
        assert len(books.view.accounts) == 5
        await tidy(kept, most_manifests=3, most_accounts=4)
        assert len(books.view.accounts) == 4
        assert manifest(2).key not in books.view.accounts, "that of which was told first"
        await books.end("job 1", S)


async def test_whatever_has_come_up_since_the_last_turn_is_done_in_more_turns(tmp_path: Path) -> None:
    async with opened(World(tmp_path)) as kept:
        books = kept.books
        for number in range(1, 9):
            await take(books, number)
        left: list[int] = []
        while await tidy(kept, most_manifests=1, at_once=3):
            left.append(len(books.view.manifests))
        assert (left, [*books.view.manifests]) == ([5, 2], ["session_8"])


async def test_turns_are_told_that_there_is_more(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with opened(world) as kept:
        await asyncio.gather(*(take(kept.books, number) for number in range(AT_ONCE + 1)))
        world.chain.l1_block += 1000
        assert await kept.books.tidy(7 * DAY_S)
        assert len(kept.books.view.terms) == 1
        assert not await kept.books.tidy(7 * DAY_S)
        assert not kept.books.view.terms


async def tidy(kept: Kept, **most: int) -> bool:
    """Tidy up with other bounds; return whether there is more to do."""
    tidying = Tidy(7 * DAY_S, 10, **most)
    draft = LedgerDraft(kept.books.view, 1_790_000_000.0, 1000)
    tidying.draw(draft)
    await kept.database.transaction(draft.write)
    draft.apply()
    return tidying.more

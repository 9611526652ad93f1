"""Credit, charges, nonces and winners over a real database: what was acknowledged is there after a restart."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from orchd.database.sql import Sql
from orchd.errors import StoreError
from orchd.tasks import cancel, spawn
from orchd.tickets.ledger.reconcile import reconcile
from orchd.tickets.ledger.values import SumsKey, WinnerState
from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.signatures import MAX_U256
from orchd.tickets.validation.validate import Taken
from tests.tickets.ledger.kept import DAY_S, KEY, MODEL, PAYER, PRICE, Kept, S, World, opened, paid, session, terms_of


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def reconciles(kept: Kept) -> None:
    found = await kept.database.read(reconcile)
    assert found.differences == ()


async def test_a_payment_is_there_after_a_restart_and_its_nonces_stay_used(world: World) -> None:
    async with opened(world) as kept:
        terms = terms_of(kept.books)
        balance = await kept.books.take(paid(terms, [1, 2, 700]), KEY, MODEL)
        assert balance.wei == terms.expected_value * 3
    async with opened(world) as kept:
        assert kept.void_why == ""
        assert kept.books.balance(KEY) == balance
        assert [*kept.books.book_facts(terms.commitment).seen] == [1, 2, 700]
        with pytest.raises(PaymentRefused) as refused:
            await kept.books.take(paid(terms, [3, 700]), KEY, MODEL)
        assert refused.value.fault is Fault.NONCE_SEEN
        assert 3 not in kept.books.book_facts(terms.commitment).seen
        await reconciles(kept)


async def test_two_payments_at_once_cannot_use_one_nonce(world: World) -> None:
    async with opened(world) as kept:
        terms = terms_of(kept.books)
        both = await asyncio.gather(
            *(kept.books.take(paid(terms, [nonce, 5]), KEY, MODEL) for nonce in (1, 2)), return_exceptions=True
        )
        assert [type(each).__name__ for each in both] == ["Balance", "PaymentRefused"]
        assert kept.books.balance(KEY).wei == terms.expected_value * 2


async def test_a_payer_who_leaves_is_credited_all_the_same(world: World) -> None:
    async with opened(world) as kept:
        terms = terms_of(kept.books)
        leaving = spawn(kept.books.take(paid(terms, [1]), KEY, MODEL), name="leaving")
        await asyncio.sleep(0)
        await cancel(leaving)
        await kept.books.take(paid(terms, [2]), KEY, MODEL)
        assert kept.books.balance(KEY).wei == terms.expected_value * 2


async def test_a_payment_that_cannot_be_kept_counts_for_nothing_and_may_come_again(world: World) -> None:
    async with opened(world) as kept:
        terms = terms_of(kept.books)
        (world.folder / "orchd.db").rename(world.folder / "away.db")
        with pytest.raises(StoreError):
            await kept.books.take(paid(terms, [1], winning=[1]), KEY, MODEL)
        assert kept.books.balance(KEY).wei == 0
        assert not kept.books.book_facts(terms.commitment).seen
        assert kept.books.unredeemed(PAYER) == 0
        (world.folder / "away.db").rename(world.folder / "orchd.db")
        balance = await kept.books.take(paid(terms, [1], winning=[1]), KEY, MODEL)
        assert balance.wei == terms.expected_value
        await reconciles(kept)


async def test_a_free_payment_books_nothing(world: World) -> None:
    async with opened(world) as kept:
        assert (await kept.books.take(Taken(PAYER), KEY, MODEL)).wei == 0
        assert await kept.database.read(lambda sql: sql.rows("SELECT * FROM ledger_accounts")) == []


async def test_what_the_ledger_alone_knows_for_sure_refuses_a_payment(world: World) -> None:
    async with opened(world) as kept:
        old, void, many = (terms_of(kept.books, number) for number in (1, 2, 3))
        await kept.books.take(paid(many, range(600)), KEY, MODEL)
        faults = [await refused(kept, many, [70_000])]
        world.chain.l1_block = old.expiration_block
        faults.append(await refused(kept, old, [1]))
        world.chain.l1_block = 0  # A server that lies, or a chain that was put back: what has expired stays so.
        await kept.books.tidy(DAY_S)
        world.chain.l1_block = 1000
        await kept.books.rotate()
        faults.append(await refused(kept, void, [1]))
        assert faults == [Fault.NONCES_USED_UP, Fault.TERMS_EXPIRED, Fault.COMMITMENT_KEY]


async def refused(kept: Kept, terms: object, nonces: list[int]) -> Fault:
    with pytest.raises(PaymentRefused) as why:
        await kept.books.take(paid(terms, nonces), KEY, MODEL)  # type: ignore[arg-type]
    return why.value.fault


async def test_nonces_go_when_their_terms_have_expired_and_no_replay_follows_from_that(world: World) -> None:
    async with opened(world) as kept:
        terms = terms_of(kept.books)
        await kept.books.take(paid(terms, [1]), KEY, MODEL)
        world.chain.l1_block = terms.expiration_block
        await kept.books.tidy(DAY_S)
        assert await kept.database.read(lambda sql: sql.rows("SELECT * FROM ledger_terms")) == []
    world.chain.l1_block = 1000
    async with opened(world) as kept:
        assert kept.books.l1_block == terms.expiration_block
        assert await refused(kept, terms, [1]) is Fault.TERMS_EXPIRED


async def test_charges_count_at_once_and_are_written_from_time_to_time(world: World) -> None:
    async with opened(world) as kept:
        terms = terms_of(kept.books)
        credit = (await kept.books.take(paid(terms, [1]), KEY, MODEL)).wei
        kept.books.begin(session())
        assert kept.books.charge("job 1", 3 * S).wei == credit - 3 * PRICE
        assert await stored_balance(kept) == credit
        await kept.books.write_charges()
        assert await stored_balance(kept) == credit - 3 * PRICE
        assert kept.books.charge("job 1", 2 * S).wei == credit - 3 * PRICE, "time does not go back"
        await kept.books.end("job 1", 4 * S)
        await kept.books.end("job 1", 9 * S)
        assert kept.books.balance(KEY).wei == await stored_balance(kept) == credit - 4 * PRICE
        assert await journal(kept) == [("credit", "done"), ("charge", "done")]
        await reconciles(kept)


async def stored_balance(kept: Kept) -> Fraction:
    rows = await kept.database.read(lambda sql: sql.rows("SELECT balance FROM ledger_accounts"))
    return Fraction(rows[0][0])


async def journal(kept: Kept) -> list[tuple[str, str]]:
    def find(sql: Sql) -> list[tuple[str, str]]:
        return [(kind, state) for kind, state in sql.rows("SELECT kind, state FROM ledger_journal ORDER BY id")]

    return await kept.database.read(find)


async def test_where_nothing_changes_nothing_is_written(world: World) -> None:
    async with opened(world) as kept:
        await kept.books.take(paid(terms_of(kept.books), [1]), KEY, MODEL)
        commits = kept.books.view.state.commits
        kept.books.begin(session(price=Fraction()))
        kept.books.charge("job 1", 5 * S)
        await kept.books.end("job 1", 6 * S)
        assert not kept.books.view.running
        await kept.books.tidy(DAY_S)
        await kept.books.write_charges()
        assert kept.books.view.state.commits == commits
        await reconciles(kept)


async def test_a_payment_writes_what_its_sessions_were_charged(world: World) -> None:
    async with opened(world) as kept:
        terms = terms_of(kept.books)
        kept.books.begin(session())
        kept.books.charge("job 1", 5 * S)
        balance = await kept.books.take(paid(terms, [1]), KEY, MODEL)
        assert balance.wei == await stored_balance(kept) == terms.expected_value - 5 * PRICE


async def test_a_session_that_is_charged_nothing_gets_back_what_was_written(world: World) -> None:
    async with opened(world) as kept:
        credit = (await kept.books.take(paid(terms_of(kept.books), [1]), KEY, MODEL)).wei
        kept.books.begin(session(rounding=None))
        kept.books.charge("job 1", 0)
        await kept.books.write_charges()
        assert await stored_balance(kept) == credit - PRICE
        await kept.books.end("job 1", 5 * S, nothing=True)
        assert kept.books.balance(KEY).wei == await stored_balance(kept) == credit
        assert await journal(kept) == [("credit", "done"), ("charge", "done"), ("given_back", "done")]
        await reconciles(kept)


async def test_a_session_that_is_charged_nothing_leaves_no_trace_if_none_was_written(world: World) -> None:
    async with opened(world) as kept:
        kept.books.begin(session())
        kept.books.charge("job 1", 5 * S)
        await kept.books.end("job 1", 5 * S, nothing=True)
        assert kept.books.balance(KEY).wei == 0
        assert await journal(kept) == []


async def test_a_session_that_died_with_orchd_is_charged_what_was_written(world: World) -> None:
    async with opened(world) as kept:
        kept.books.begin(session())
        kept.books.charge("job 1", 2 * S)
        await kept.books.write_charges()
    world.clock.now += DAY_S
    async with opened(world) as kept:
        assert kept.books.balance(KEY).wei == -2 * PRICE
        assert await journal(kept) == [("charge", "died")]
        await reconciles(kept)


async def test_a_session_has_a_row_for_each_hour(world: World) -> None:
    async with opened(world) as kept:
        kept.books.begin(session())
        for hour in (1, 2, 3):
            kept.books.charge("job 1", hour * 3600 * S)
            await kept.books.write_charges()
            world.clock.now += 3600
        rows = await kept.database.read(lambda sql: sql.rows("SELECT units, state FROM ledger_journal ORDER BY id"))
        assert rows == [(3600, "done"), (3600, "done"), (3600, "open")]
        await reconciles(kept)


async def test_an_end_that_cannot_be_written_is_written_as_soon_as_that_works(world: World) -> None:
    async with opened(world) as kept:
        kept.books.begin(session())
        (world.folder / "orchd.db").rename(world.folder / "away.db")
        with pytest.raises(StoreError):
            await kept.books.end("job 1", 2 * S)
        assert kept.books.balance(KEY).wei == -2 * PRICE
        (world.folder / "away.db").rename(world.folder / "orchd.db")
        await kept.books.write_charges()
        assert await stored_balance(kept) == -2 * PRICE
        assert not kept.books.view.running


async def test_winners_are_owed_until_they_are_redeemed_or_expire(world: World) -> None:
    async with opened(world) as kept:
        terms = terms_of(kept.books)
        taken = paid(terms, range(1, 5), winning=[1, 2, 3])
        await kept.books.take(taken, KEY, MODEL)
        first, second, _ = (winner.hash for winner in taken.winners)
        assert kept.books.unredeemed(PAYER) == 3 * terms.face_value
        await kept.books.mark([first], WinnerState.REDEEMED)
        await kept.books.mark([first, second], WinnerState.EXPORTED)
        assert kept.books.unredeemed(PAYER) == 2 * terms.face_value
        assert kept.books.book_facts(terms.commitment).published
        assert await refused(kept, terms, [9]) is Fault.COMMITMENT_PUBLISHED
    async with opened(world) as kept:
        assert kept.books.unredeemed(PAYER) == 2 * terms.face_value
        world.chain.round = terms.creation_round + 2
        await kept.books.tidy(DAY_S)
        assert kept.books.unredeemed(PAYER) == 0
        sums = kept.books.sums()[SumsKey(MODEL, PAYER)]
        assert (sums.tickets, sums.won, sums.redeemed, sums.expired) == (4, 3, 1, 1)
        assert Fraction(sums.expected, MAX_U256) == 4 * terms.expected_value
        states = await kept.database.read(lambda sql: sql.rows("SELECT state, owed FROM ledger_winners ORDER BY nonce"))
        assert states == [("redeemed", 0), ("exported", 0), ("expired", 0)]


async def test_winners_expire_with_their_own_round_in_whatever_order_they_were_won(world: World) -> None:
    """Tickets of the former round may come after those of the new one; and a start loads them in another order."""
    async with opened(world) as kept:
        older = terms_of(kept.books)
        newer = replace(terms_of(kept.books, 2), creation_round=older.creation_round + 1)
        await kept.books.take(paid(newer, [1], winning=[1]), KEY, MODEL)
        await kept.books.take(paid(older, [1], winning=[1]), KEY, MODEL)
        world.chain.round = older.creation_round + 2
        await kept.books.tidy(DAY_S)
        assert [winner.creation_round for winner in kept.books.view.owed.values()] == [newer.creation_round]


async def test_it_is_known_when_the_first_winner_is_lost_that_nobody_has_exported(world: World) -> None:
    async with opened(world) as kept:
        older = terms_of(kept.books)
        newer = replace(terms_of(kept.books, 2), creation_round=older.creation_round + 1)
        assert kept.books.rounds_left() is None, "there are none"
        await kept.books.take(paid(newer, [1], winning=[1]), KEY, MODEL)
        world.chain.round = older.creation_round + 1
        assert kept.books.rounds_left() == 2
        await kept.books.take(paid(older, [1], winning=[1]), KEY, MODEL)
        [exported] = [hash for hash, each in kept.books.view.owed.items() if each.commitment == older.commitment]
        assert kept.books.rounds_left() == 1
    async with opened(world) as kept:
        assert kept.books.rounds_left() == 1
        world.chain.round += 3
        assert kept.books.rounds_left() == 0, "until it is tidied away"
        world.chain.round -= 3
        await kept.books.mark([exported], WinnerState.EXPORTED)
        assert kept.books.rounds_left() == 2
        world.chain.round += 2
        await kept.books.tidy(DAY_S)
        assert kept.books.rounds_left() is None


async def test_idle_credit_is_forfeited_and_debt_never(world: World) -> None:
    async with opened(world) as kept:
        debtor = KEY._replace(work="debt")
        await kept.books.take(paid(terms_of(kept.books), [1]), KEY, MODEL)
        kept.books.begin(session(key=debtor))
        await kept.books.end("job 1", S)
        world.clock.now += 7 * DAY_S - 1
        await kept.books.tidy(7 * DAY_S)
        assert kept.books.balance(KEY).wei > 0
        world.clock.now += 1
        await kept.books.tidy(7 * DAY_S)
        assert [kept.books.balance(key).wei for key in (KEY, debtor)] == [0, -PRICE]
        world.clock.now += 400 * DAY_S
        await kept.books.tidy(7 * DAY_S)
        assert [*kept.books.view.accounts] == [debtor]
        await reconciles(kept)
    async with opened(world) as kept:
        assert kept.books.balance(debtor).wei == -PRICE


async def test_old_rows_are_folded_and_the_balance_stays_what_the_journal_comes_to(world: World) -> None:
    async with opened(world) as kept:
        terms = terms_of(kept.books)
        for nonce in range(1, 4):
            await kept.books.take(paid(terms, [nonce]), KEY, MODEL)
        world.clock.now += 30 * DAY_S + 1
        await kept.books.take(paid(terms, [4]), KEY, MODEL)
        assert not await kept.books.fold()
        assert await journal(kept) == [("credit", "done")]
        await reconciles(kept)
        await kept.database.transaction(lambda sql: sql.change("UPDATE ledger_accounts SET checkpoint = '0'"))
        found = await kept.database.read(reconcile)
        assert [(each.key, each.kept, each.computed) for each in found.differences] == [
            (KEY, 4 * terms.expected_value, terms.expected_value)
        ]


async def test_what_was_earned_today_begins_again_each_day(world: World) -> None:
    async with opened(world) as kept:
        terms = terms_of(kept.books)
        await kept.books.take(paid(terms, [1]), KEY, MODEL)
        await kept.books.take(paid(terms, [2]), KEY, MODEL)
    async with opened(world) as kept:
        assert kept.books.earned_today().wei == 2 * terms.expected_value
        world.clock.now += DAY_S
        assert kept.books.earned_today().wei == 0
        await kept.books.take(paid(terms, [3]), KEY, MODEL)
        assert kept.books.earned_today().wei == terms.expected_value

"""A database that was put back from a copy: it must not admit the nonces again that were used since."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchd.tickets.ledger.books import MARKER
from orchd.tickets.validation.faults import Fault, PaymentRefused
from tests.tickets.ledger.kept import KEY, MODEL, World, opened, paid, terms_of

DATABASE = ("orchd.db", "orchd.db-wal", "orchd.db-shm")


@pytest.fixture
def world(tmp_path: Path) -> World:
    folder = tmp_path / "state"
    folder.mkdir()
    return World(folder)


def copy_database(source: Path, target: Path) -> None:
    """Copy the database with the files beside it, as they are."""
    target.mkdir(exist_ok=True)
    for name in DATABASE:
        (target / name).unlink(missing_ok=True)
        if (source / name).exists():
            shutil.copy(source / name, target / name)


@pytest.mark.parametrize("running", [True, False], ids=["copied while orchd runs", "copied after it has ended"])
async def test_a_restored_ledger_makes_all_terms_void_by_itself(running: bool, world: World, tmp_path: Path) -> None:
    async with opened(world) as kept:
        terms = terms_of(kept.books)
        before = await kept.books.take(paid(terms, [1]), KEY, MODEL)
        if running:
            copy_database(world.folder, tmp_path / "copy")
            assert (tmp_path / "copy" / "orchd.db-wal").stat().st_size > 0
    if not running:
        copy_database(world.folder, tmp_path / "copy")
    async with opened(world) as kept:
        await kept.books.take(paid(terms, [2]), KEY, MODEL)
        secret = kept.books.terms_key.secret
    copy_database(tmp_path / "copy", world.folder)
    world.chain.l1_block = 900  # What was seen before may have been a lie: new secrets are the way out of it.
    async with opened(world) as kept:
        assert "older than the marker beside it, by 1 transactions" in kept.void_why
        assert kept.books.terms_key.secret != secret
        assert len(kept.books.auth_keys) == 1
        for nonce in (1, 2, 3):
            with pytest.raises(PaymentRefused) as refused:
                await kept.books.take(paid(terms, [nonce]), KEY, MODEL)
            assert refused.value.fault is Fault.COMMITMENT_KEY
        assert kept.books.balance(KEY) == before, "what was in the copy is there"
        assert kept.books.l1_block == 900, "nothing is out there that must not be taken again"
        again = terms_of(kept.books)
        await kept.books.take(paid(again, [1]), KEY, MODEL)
    async with opened(world) as kept:
        assert kept.void_why == "", "it is not old any more"


async def test_a_ledger_that_is_not_old_keeps_its_terms(world: World) -> None:
    async with opened(world) as kept:
        terms = terms_of(kept.books)
        await kept.books.take(paid(terms, [1]), KEY, MODEL)
    async with opened(world) as kept:
        assert kept.void_why == ""
        await kept.books.take(paid(terms, [2]), KEY, MODEL)


@pytest.mark.parametrize("left", [b"", b"orchd-l1 of another ledger with a large number"[:32], None])
async def test_without_its_marker_a_ledger_may_be_old(left: bytes | None, world: World) -> None:
    async with opened(world) as kept:
        terms = terms_of(kept.books)
        await kept.books.take(paid(terms, [1]), KEY, MODEL)
    if left is None:
        (world.folder / MARKER).unlink()
    else:
        (world.folder / MARKER).write_bytes(left)
    async with opened(world) as kept:
        assert "marker beside the database is missing" in kept.void_why
        assert terms.seed >> 224 not in kept.books.terms_keys.by_id


async def test_a_new_ledger_needs_no_marker(world: World) -> None:
    for _ in range(2):
        async with opened(world) as kept:
            assert kept.void_why == ""
        (world.folder / MARKER).unlink()


async def test_a_marker_that_was_removed_is_written_again_while_orchd_runs(world: World) -> None:
    async with opened(world) as kept:
        await kept.books.take(paid(terms_of(kept.books), [1]), KEY, MODEL)
        (world.folder / MARKER).unlink()
        await kept.books.write_charges()
        assert (world.folder / MARKER).stat().st_mode & 0o777 == 0o600
    async with opened(world) as kept:
        assert kept.void_why == ""


async def test_payments_for_another_chain_make_all_terms_void_and_its_blocks_count_from_the_start(
    world: World,
) -> None:
    world.chain_id, world.chain.l1_block = 0, 150_000_000
    async with opened(world) as kept:
        terms = terms_of(kept.books)
        balance = await kept.books.take(paid(terms, [1]), KEY, MODEL)
    world.chain_id, world.chain.l1_block = 42161, 23_500_000
    async with opened(world) as kept:
        assert "payments were for the chain 0 before, and are for 42161 now" in kept.void_why
        assert kept.books.l1_block == 23_500_000
        assert not kept.books.book_facts(terms.commitment).seen
        assert kept.books.balance(KEY) == balance
        await kept.books.take(paid(terms_of(kept.books, 2), [1]), KEY, MODEL)

"""The secrets of terms and tokens: there before anything is made with them, changed daily, encrypted if asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchd.domain.model import Secret
from orchd.errors import Code, SettingsError, StoreError
from orchd.tickets.ledger.books import Books
from orchd.tickets.ledger.keyring import KEEP_S, USE_S
from orchd.tickets.ledger.sealing import Seal
from orchd.tickets.validation.faults import Fault, PaymentRefused
from tests.tickets.ledger.kept import DAY_S, KEY, MODEL, Kept, World, opened, paid, terms_of

KEY_TEXT = "0123456789abcdef" * 4


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def stored(kept: Kept) -> list[tuple[bytes, int]]:
    return await kept.database.read(
        lambda sql: [(row[0], row[1]) for row in sql.rows("SELECT secret, sealed FROM ledger_keys")]
    )


def known(books: Books) -> tuple[set[int], set[int]]:
    return set(books.terms_keys.by_id), set(books.auth_keys)


async def test_they_are_on_the_disk_before_they_are_used_and_stay_the_same(world: World) -> None:
    async with opened(world) as kept:
        secrets = {kept.books.terms_key.secret, kept.books.auth_key.secret}
        assert {secret for secret, _ in await stored(kept)} == secrets
        assert len(secrets) == 2
        assert (world.folder / "orchd.db").stat().st_mode & 0o777 == 0o600
    async with opened(world) as kept:
        assert {kept.books.terms_key.secret, kept.books.auth_key.secret} == secrets


async def test_they_change_daily_and_the_former_ones_are_known_while_their_terms_live(world: World) -> None:
    async with opened(world) as kept:
        terms, first = terms_of(kept.books), known(kept.books)
        await kept.books.tidy(DAY_S)
        assert known(kept.books) == first
        world.clock.now += USE_S
        await kept.books.tidy(DAY_S)
        both = known(kept.books)
        assert [len(ids) for ids in both] == [2, 2]
        assert kept.books.terms_key.id not in first[0]
        await kept.books.take(paid(terms, [1]), KEY, MODEL)
    async with opened(world) as kept:
        assert known(kept.books) == both
        world.clock.now += KEEP_S
        await kept.books.tidy(DAY_S)
        assert known(kept.books) == ({kept.books.terms_key.id}, {kept.books.auth_key.id})
        assert len(await stored(kept)) == 2


async def test_a_clock_that_was_set_back_changes_them_at_once(world: World) -> None:
    async with opened(world) as kept:
        first = known(kept.books)
        world.clock.now -= USE_S
        await kept.books.tidy(DAY_S)
        assert kept.books.terms_key.id not in first[0]


async def test_rotate_makes_all_void_that_is_out_there(world: World) -> None:
    async with opened(world) as kept:
        terms, first = terms_of(kept.books), known(kept.books)
        await kept.books.rotate()
        assert not first[0] & known(kept.books)[0]
        assert not first[1] & known(kept.books)[1]
        with pytest.raises(PaymentRefused) as refused:
            await kept.books.take(paid(terms, [1]), KEY, MODEL)
        assert refused.value.fault is Fault.COMMITMENT_KEY
    async with opened(world) as kept:
        assert not first[0] & known(kept.books)[0]
        kept_ids = known(kept.books)
    async with opened(world, void_why="asked for") as kept:
        assert kept.void_why == "asked for"
        assert not kept_ids[0] & known(kept.books)[0]


async def test_with_a_key_they_are_encrypted_and_those_that_were_not_become_so(world: World) -> None:
    async with opened(world) as kept:
        secrets = [kept.books.terms_key.secret, kept.books.auth_key.secret]
    world.seal = Seal(Secret(KEY_TEXT))
    for _ in range(2):
        async with opened(world) as kept:
            assert [kept.books.terms_key.secret, kept.books.auth_key.secret] == secrets
            assert [sealed for _, sealed in await stored(kept)] == [1, 1]
            assert not {sealed for sealed, _ in await stored(kept)} & {*secrets}
    assert not any(secret in file.read_bytes() for file in world.folder.glob("orchd.db") for secret in secrets)


@pytest.mark.parametrize("other", [None, Seal(Secret("f" * 64))], ids=["without the key", "with another key"])
async def test_what_was_encrypted_is_not_read_otherwise_and_can_be_made_new(other: Seal | None, world: World) -> None:
    world.seal = Seal(Secret(KEY_TEXT))
    async with opened(world) as kept:
        first = known(kept.books)
    world.seal = other
    with pytest.raises(StoreError, match=r"tickets\.key_file") as why:
        async with opened(world):
            pass
    assert why.value.code is Code.SECRET_UNREADABLE
    async with opened(world, void_why="asked for") as kept:
        assert not first[0] & known(kept.books)[0]


def test_a_short_key_is_refused_and_no_key_is_shown() -> None:
    with pytest.raises(SettingsError, match="at least 32"):
        Seal(Secret("short"))
    seal = Seal(Secret(KEY_TEXT))
    sealed = seal.close(b"s" * 32, b"terms 1")
    assert seal.open(sealed, b"terms 1") == b"s" * 32
    with pytest.raises(ValueError, match="MAC"):
        seal.open(sealed, b"terms 2")
    assert KEY_TEXT not in repr(seal)


async def test_no_secret_is_in_a_repr(world: World) -> None:
    async with opened(world) as kept:
        shown = repr(kept.books._keys) + repr(kept.books.terms_keys)
        assert repr(kept.books.terms_key.secret)[2:-1] not in shown

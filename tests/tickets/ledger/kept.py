"""A ledger over a real database, and payments that were found good."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

from orchd.database.database import Database
from orchd.database.migrations import find_migrations
from orchd.domain.chain import ChainFacts
from orchd.domain.ids import ModelKey
from orchd.tickets.ledger.books import Books
from orchd.tickets.ledger.ports import LedgerKey, LedgerSession
from orchd.tickets.ledger.sealing import Seal
from orchd.tickets.validation.credit import Meter
from orchd.tickets.validation.keys import SEED_RANDOM_BYTES
from orchd.tickets.validation.schemes import Rounding
from orchd.tickets.validation.tickets import TicketTerms
from orchd.tickets.validation.validate import Taken, Winner
from tests.database.parts import PARTS

MIGRATIONS = {"ledger": find_migrations()["ledger"], "left": PARTS["left"]}
"""The ledger's own, and a neighbour's in the same file."""
MODEL = ModelKey("text-to-image", "org/paint")
PAYER = b"\x46" * 20
KEY = LedgerKey("byoc", PAYER, "paint")
PRICE = Fraction(2_500_000)
S = 10**9
DAY_S = 86_400.0


@dataclass
class Chain:
    """The chain as the test says that it is."""

    l1_block: int = 1000
    round: int = 10

    def facts(self) -> ChainFacts:
        return ChainFacts(self.l1_block, self.round, active=True)


@dataclass
class Clock:
    """Unix time, which the test moves."""

    now: float = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """What outlives the ledger."""

    folder: Path
    chain: Chain = field(default_factory=Chain)
    clock: Clock = field(default_factory=Clock)
    seal: Seal | None = None
    chain_id: int | None = None


@dataclass
class Kept:
    """An open ledger."""

    books: Books
    database: Database
    void_why: str


@asynccontextmanager
async def opened(world: World, void_why: str = "", database_type: type[Database] = Database) -> AsyncIterator[Kept]:
    database = database_type(world.folder / "orchd.db", MIGRATIONS)
    await database.open()
    books = Books(database, world.folder, world.seal, world.chain_id, world.chain.facts, world.clock)
    try:
        kept = Kept(books, database, await books.open(void_why))
        yield kept
        await books.close()
    finally:
        await database.close()


def terms_of(books: Books, number: int = 1, *, blocks: int = 40, work: int = 0) -> TicketTerms:
    """Return terms as a quote would make them; each number makes others."""
    random = number.to_bytes(SEED_RANDOM_BYTES, "big")
    return TicketTerms(
        recipient=b"\x11" * 20,
        face_value=36 * 10**15,
        win_prob=(1 << 256) // 9000 + number,
        commitment=work.to_bytes(8, "big") + number.to_bytes(24, "big"),
        seed=books.terms_key.seed(random),
        expiration_block=books.l1_block + blocks,
        creation_round=10,
        round_hash=b"\x6d" * 32,
    )


def paid(terms: TicketTerms, nonces: Iterable[int], winning: Iterable[int] = (), payer: bytes = PAYER) -> Taken:
    """Return a payment that was found good."""
    sent = tuple(nonces)
    winners = tuple(
        Winner(nonce, b"s" * 65, sha256(terms.commitment + nonce.to_bytes(4, "big")).digest(), nonce + 7)
        for nonce in winning
    )
    return Taken(payer, terms, PRICE, sent, winners, terms.expected_value * len(sent))


def session(
    id: str = "job 1",
    key: LedgerKey = KEY,
    price: Fraction = PRICE,
    rounding: Rounding | None = Rounding.STARTED,
) -> LedgerSession:
    return LedgerSession(id, key, MODEL, Meter(price, rounding))

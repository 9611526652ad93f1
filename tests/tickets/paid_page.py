"""The machine of `docs/how-to/paid-jobs.md` and `restore.md`: a ledger that has taken payments, and no daemon.

`python -m tests.tickets.paid_page` writes what the commands of the first page print now into it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from orchd.database.database import Database
from orchd.domain.chain import ChainFacts
from orchd.domain.ids import ModelKey
from orchd.tickets.ledger.books import Books
from orchd.tickets.ledger.ports import LedgerKey
from orchd.tickets.validation.signatures import MAX_U256
from tests.day_two.walk import ROOT, Machine, written
from tests.tickets.ledger.kept import S, paid, session, terms_of

PAGE = ROOT / "docs" / "how-to" / "paid-jobs.md"
PAINT, CHAT = ModelKey("text-to-image", "acme/paint"), ModelKey("llm", "acme/chat")
BUSY = LedgerKey("byoc", bytes.fromhex("9d8a62f656a8d1615c1294fd71e9cfb3e4855a4f"), "paint")
RARE = LedgerKey("byoc", bytes.fromhex("b595b18c88b1f651ca387489067f855b5c8e6720"), "chat")
TICKETS = 600


async def pay(books: Books, number: int, key: LedgerKey, model: ModelKey, won: bool) -> None:
    """Pay with 600 tickets of which one in a thousand wins 0.001 ETH."""
    terms = replace(terms_of(books, number), face_value=10**15, win_prob=MAX_U256 // 1000)
    await books.take(paid(terms, range(TICKETS), [number] if won else [], key.payer), key, model)


async def take_payments(books: Books) -> None:
    """A day's payments of one payer, and one of another."""
    for number in range(20):
        await pay(books, number, BUSY, PAINT, won=number % 3 == 1 or number > 17)
    await pay(books, 20, RARE, CHAT, won=False)
    books.begin(session("job 1", BUSY))
    await books.end("job 1", 93 * S)


def with_ledger(folder: Path, work: Callable[[Books], Awaitable[object]]) -> str:
    """Do something with the ledger of a folder; return why its terms were void, if they were."""

    async def opened() -> str:
        database = Database(folder / "orchd.db")
        await database.open()
        books = Books(database, folder, chain=lambda: ChainFacts(1000, 10, active=True), clock=lambda: time.time() - 60)
        try:
            void_why = await books.open()
            await work(books)
            await books.close()
        finally:
            await database.close()
        return void_why

    return asyncio.run(opened())


def machine(folder: Path) -> Machine:
    """Return this machine, on which `orchd` reads that folder."""
    settings = folder / "orchd.toml"
    settings.write_text(f'state_dir = "{folder}"\n')
    env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "ORCHD_CONFIG": str(settings)}
    return Machine(["bash", "-s"], env)


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with_ledger(folder, take_payments)
        PAGE.write_text(written(machine(folder), PAGE.read_text()))


if __name__ == "__main__":
    main()

"""Payments per second on one core: read, found good and booked, with the ledger on a memory disk.

64 payers pay at once, each the next payment as soon as the last one is booked. Tickets are signed beforehand. The load
is a process of its own that may use one core alone: the event loop and the writer of the database share it. Beside it
stands what the disk of the temporary folder would allow: payments that wait at the same time share one fsync.

The bars are of what one core does in a second of its own, so that others who use it meanwhile change nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from orchd.database.database import Database
from orchd.domain.chain import ChainFacts, TermsOf
from orchd.domain.ids import ModelKey
from orchd.logs import configure_logs
from orchd.tickets.ledger.books import Books
from orchd.tickets.ledger.ports import LedgerKey
from orchd.tickets.validation.facts import PaymentFacts
from orchd.tickets.validation.keys import Basis
from orchd.tickets.validation.payment import read_payment
from orchd.tickets.validation.schemes import BYOC, MAX_NONCES
from orchd.tickets.validation.validate import Expected, validate
from orchd.tickets.validation.worth import Economics, make_terms
from tests.bench.database import fsyncs_per_s
from tests.bench.report import Row, Section
from tests.tickets.validation.receiver import FUNDED
from tests.tickets.validation.sender import Signer, header

TITLE = "Payments"
ABOUT = "64 payers at once on one core: read, validated and booked; the ledger on a memory disk."
HEAD = ("", "tickets/s", "payments/s", "tickets per CPU second", "bars")
PAYERS = 64
LEAST_TICKETS = {100: 5000, 1: 2000}
"""Per CPU second, by the tickets of each payment."""
MEMORY_DISK = Path("/dev/shm")
MODEL = ModelKey("text-to-image", "org/paint")
PRICE = Fraction(2_500_000)
CHAIN = ChainFacts(23_500_000, 4321, active=True)
TERMS_OF = TermsOf(CHAIN.l1_block, CHAIN.round, b"\x6d" * 32)
ECONOMICS = Economics(ticket_value=8 * 10**9, gas_price=10**7)
RECIPIENT = b"\x11" * 20


class PaymentLoad(NamedTuple):
    """What one load has come to."""

    tickets: int
    payments: int
    seconds: float
    cpu_s: float


@dataclass(frozen=True)
class BenchPayer:
    """One payer, and the headers that it is going to send."""

    address: bytes
    headers: Sequence[bytes]


def payments(folder: Path, rounds: int) -> Section:
    """Measure and return the section.

    Args:
        rounds: payments of a hundred tickets that each payer makes; of single ones it makes ten times as many.
    """
    if not os.access(MEMORY_DISK, os.W_OK):
        return Section(TITLE, ABOUT, left_out=f"no memory disk at {MEMORY_DISK}")
    rows = [_row(size, _measured(size, count)) for size, count in ((100, rounds), (1, 10 * rounds))]
    disk = Row(("the disk: fsyncs after 8 KiB each", "", f"{fsyncs_per_s(folder, 0.2 * rounds):.0f}", "", ""))
    return Section(TITLE, ABOUT, HEAD, (*rows, disk))


def _row(size: int, load: PaymentLoad) -> Row:
    rate, least = load.tickets / load.cpu_s, LEAST_TICKETS[size]
    return Row(
        (
            f"{size} tickets a payment",
            f"{load.tickets / load.seconds:.0f}",
            f"{load.payments / load.seconds:.0f}",
            f"{rate:.0f}",
            f"{'kept' if rate >= least else 'BROKEN'}: at least {least}",
        )
    )


def _measured(size: int, count: int) -> PaymentLoad:
    with tempfile.TemporaryDirectory(prefix="orchd-bench-", dir=MEMORY_DISK) as folder:
        command = [sys.executable, "-m", "tests.bench.ledger", folder, str(size), str(count)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return PaymentLoad(*json.loads(done.stdout))


async def load(folder: Path, size: int, count: int) -> PaymentLoad:
    """Let each payer pay `count` times `size` tickets."""
    database = Database(folder / "orchd.db")
    await database.open()
    books = Books(database, folder, chain=lambda: CHAIN)
    await books.open()
    payers = [_payer(books, number, size, count) for number in range(PAYERS)]
    begin, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(_pay(books, payer) for payer in payers))
    measured = PaymentLoad(
        PAYERS * size * count, PAYERS * count, time.perf_counter() - begin, time.process_time() - cpu
    )
    await books.close()
    await database.close()
    return measured


def _payer(books: Books, number: int, size: int, count: int) -> BenchPayer:
    signer = Signer((number + 1).to_bytes(32, "big"))
    per_terms = MAX_NONCES // size
    headers: list[bytes] = []
    for first in range(0, count, per_terms):
        random = first.to_bytes(28, "big")
        basis = Basis(BYOC.name, signer.address, PRICE, MODEL.model_id)
        terms = make_terms(books.terms_key, random, basis, RECIPIENT, ECONOMICS, FUNDED, TERMS_OF)
        headers += [
            header(signer.payment(terms, range(at * size, (at + 1) * size), PRICE))
            for at in range(min(per_terms, count - first))
        ]
    return BenchPayer(signer.address, headers)


async def _pay(books: Books, payer: BenchPayer) -> None:
    expected = Expected(BYOC, RECIPIENT, payer.address, MODEL.model_id, PRICE)
    key = LedgerKey(BYOC.name, payer.address, MODEL.model_id)
    for sent in payer.headers:
        payment = read_payment(sent)
        assert payment.terms is not None
        facts = PaymentFacts(CHAIN, FUNDED, books.book_facts(payment.terms.commitment))
        await books.take(validate(payment, expected, books.terms_keys, facts), key, MODEL)


def main() -> None:
    """Be the process of one load, on one core; the result goes to stdout as JSON."""
    folder, size, count = sys.argv[1:]
    configure_logs("text", "error", sys.stderr)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(json.dumps(asyncio.run(load(Path(folder), int(size), int(count)))))


if __name__ == "__main__":
    main()

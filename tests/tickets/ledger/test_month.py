"""A million tickets over 30 simulated days: every balance is exact to the last fraction of a wei, and reconciles.

16 payers pay, each for its sessions, in batches of 1 to 100 tickets; terms expire, secrets change daily, the journal is
folded, orchd starts again once a day. In one process, on a clock that jumps.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from orchd.tickets.ledger.ports import LedgerKey, LedgerSession
from orchd.tickets.ledger.reconcile import reconcile
from orchd.tickets.ledger.values import SumsKey
from orchd.tickets.validation.credit import Meter
from orchd.tickets.validation.schemes import Rounding
from orchd.tickets.validation.signatures import MAX_U256
from tests.soak import examples
from tests.tickets.ledger.kept import DAY_S, KEY, MODEL, Kept, S, World, opened, paid, terms_of

DAYS = 30
PAYERS = [bytes([number]) * 20 for number in range(1, 17)]
PRICES = [Fraction(2_500_000), Fraction(7), Fraction(10**9, 3)]
TURN_S = 3 * 3600.0
"""After each turn of payments so much time passes: all terms expire."""
TURNS = int(DAYS * DAY_S / TURN_S)


@pytest.fixture
def memory_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: what an fsync costs is not what this looks at."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="orchd-test-", dir="/dev/shm") as folder:
        yield Path(folder)


class Month:
    """What the tickets and the work come to, told by plain sums.

    Attributes:
        tickets: how many were taken.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.balances = defaultdict[LedgerKey, Fraction](Fraction)
        self.won = defaultdict[bytes, int](int)
        self.earned = defaultdict[bytes, Fraction](Fraction)
        self.tickets = 0
        self.numbers = 0

    async def pays(self, kept: Kept, payer: bytes, count: int) -> None:
        """Let a payer buy so many tickets on new terms, at most 600, and have some work done."""
        self.numbers += 1
        terms = terms_of(kept.books, self.numbers)
        key = KEY._replace(payer=payer, work=f"work {self.random.randrange(2)}")
        price, id = self.random.choice(PRICES), str(self.numbers)
        kept.books.begin(LedgerSession(id, key, MODEL, Meter(price, Rounding.WHOLE)))
        served, nonce = 0, 0
        while nonce < count:
            batch = range(nonce, nonce := min(count, nonce + self.random.randint(1, 100)))
            winning = [each for each in batch if not self.random.randrange(9000)]
            await kept.books.take(paid(terms, batch, winning, payer), key, MODEL)
            served += self.random.randrange(20)
            kept.books.charge(id, served * S)
            self.balances[key] += len(batch) * terms.expected_value
            self.earned[payer] += len(batch) * terms.expected_value
            self.won[payer] += len(winning)
        await kept.books.end(id, served * S)
        self.balances[key] -= served * price
        self.tickets += count


@pytest.mark.soak
async def test_a_month_of_tickets_reconciles_to_the_wei(memory_disk: Path) -> None:
    month, world = Month(1), World(memory_disk)
    wanted = examples(1_000_000, 0.1)
    for day in range(DAYS):
        async with opened(world) as kept:
            for turn in range(TURNS // DAYS):
                left = wanted * (day * TURNS // DAYS + turn + 1) // TURNS - month.tickets
                while left > 0:
                    count = min(left, month.random.randint(1, 600))
                    await month.pays(kept, month.random.choice(PAYERS), count)
                    left -= count
                world.clock.now += TURN_S
                world.chain.l1_block += int(TURN_S / 12)
                await kept.books.tidy(400 * DAY_S)
                while await kept.books.fold():
                    pass
    assert month.tickets == wanted
    world.clock.now += DAY_S
    async with opened(world) as kept:
        while await kept.books.fold():
            pass
        found = await kept.database.read(reconcile)
        assert found.differences == ()
        assert 0 < found.entries < kept.books.view.next_entry - 1, "the rows of the first day are folded"
        assert {key: account.balance for key, account in kept.books.view.accounts.items()} == month.balances
        assert kept.books.view.terms == {}
        for payer in PAYERS:
            sums = kept.books.sums()[SumsKey(MODEL, payer)]
            assert Fraction(sums.expected, MAX_U256) == month.earned[payer]
            assert sums.won == month.won[payer]
        assert all((MAX_U256 * 3) % balance.denominator == 0 for balance in month.balances.values())

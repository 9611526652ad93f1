"""Paid jobs that are cut, fail and overlap in any order: each is settled once, and the books agree."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from dataclasses import replace
from fractions import Fraction

import pytest

from orchd.domain.ids import ModelKey
from orchd.domain.money import Price
from orchd.errors import StoreError
from orchd.tickets.ledger.ports import LedgerKey, Manifest
from orchd.tickets.validation.credit import Balance
from orchd.tickets.validation.validate import Taken
from tests import soak
from tests.fakes.ledger import FakeLedger
from tests.jobs.messages import answer
from tests.relay.transport import FakeTransport
from tests.tickets.till import PAID, PRICE, Till, job, job_header
from tests.tickets.validation.made import OTHER, PAYER
from tests.virtual_time import run_virtual, settle

SEEDS = 160


class SlowLedger(FakeLedger):
    """Books when it is told to, or fails; counts what it has booked."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.chance = chance
        self.credited: defaultdict[LedgerKey, Fraction] = defaultdict(Fraction)

    async def take(self, taken: Taken, key: LedgerKey, model: ModelKey, manifest: Manifest | None = None) -> Balance:
        await asyncio.sleep(self.chance.choice((0, 0, 0.1, 2, 9)))
        if self.chance.random() < 0.1:
            raise StoreError("cannot write the store")
        balance = await super().take(taken, key, model, manifest)
        self.credited[key] += taken.credit
        return balance

    async def end(self, session_id: str, served_ns: int, *, nothing: bool = False) -> None:
        await asyncio.sleep(self.chance.choice((0, 0, 0.1)))
        await super().end(session_id, served_ns, nothing=nothing)


async def play(seed: int) -> None:
    chance = random.Random(seed)
    ledger = SlowLedger(chance)
    till = Till(replace(PAID, price=Price(Fraction(PRICE)), max_sessions=3), ledger=ledger)
    till.network.reply = None
    callers: list[FakeTransport] = []
    said = 0
    for _ in range(60):
        what = chance.random()
        if what < 0.3:
            payer = chance.choice((PAYER, OTHER))
            payment = await till.paid(chance.choice((1, 60, 90)), payer) if chance.random() < 0.6 else None
            head = job_header(payer, timeout_s=chance.choice((5, 40)))
            callers.append(till.caller(job(payment, livepeer=head)))
        elif what < 0.45 and callers:
            chance.choice(callers).lose()
        elif what < 0.7 and till.network.ends:
            end = chance.choice(till.network.ends)
            if chance.random() < 0.7 and not end.over and end.messages:
                end.say(answer(b"made", status=chance.choice((200, 200, 500))))
                said += 1
            else:
                end.lose()
        elif what < 0.75:
            till.handler.abort_all("a rehearsal")
        else:
            await asyncio.sleep(chance.choice((0, 0.1, 0.7, 3, 30)))
        await settle()
    for caller in callers:
        caller.lose()
    for end in till.network.ends:
        end.lose()
    await till.idle()
    assert till.table.active(PAID.key) == 0
    assert len(till.sessions) == 0
    assert ledger.running == {}
    assert till.sessions._of == {}
    assert till.tickets._charged == {}
    assert len(ledger.ended) == len(set(ledger.ended))
    for key, balance in ledger.balances.items():
        assert balance.wei == ledger.credited[key] - ledger.charged[key], "what was booked, less what was charged"
        assert balance.wei > -3 * 2 * PRICE, "no more than the second that runs of each session is owed"
    await till.server.close()


@pytest.mark.soak
def test_each_paid_job_is_settled_once_and_the_books_agree() -> None:
    for seed in range(soak.examples(SEEDS)):
        try:
            run_virtual(play(seed))
        except BaseException as exc:
            exc.add_note(f"seed {seed}")
            raise

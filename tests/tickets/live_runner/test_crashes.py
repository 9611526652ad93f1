"""Orchd dies after each write of a session's life: what it has answered holds, and nothing is paid or charged twice.

A crash leaves the files as they are when a transaction has been committed, before anybody is told of it. Until the next
one more may have been answered, and the crash may come as late as that.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import pytest

from orchd.database.database import Database
from orchd.database.sql import Sql
from orchd.hooks.refusal import Refusal
from orchd.tickets.ledger.books import Books
from tests.tickets.ledger.kept import World, opened
from tests.tickets.live_runner.counter import FIXED, LIVE, PRICE, Counter, Offer, Reserved, a_counter, done, told

FILES = ("orchd.db", "orchd.db-wal", "orchd.ledger")
T = TypeVar("T")


@dataclass
class Answered:
    """What the client has been told.

    Attributes:
        paid: nonces that were taken, on the terms of which offer.
        sent: all that were sent.
        served: whole seconds of service until the last look.
        lives: its session does.
    """

    paid: list[tuple[Offer, Sequence[int]]] = field(default_factory=list)
    sent: list[tuple[Offer, Sequence[int]]] = field(default_factory=list)
    served: int = 0
    at: Reserved | None = None
    lives: bool = False

    def copy(self) -> Answered:
        return replace(self, paid=[*self.paid], sent=[*self.sent])


@dataclass
class Died:
    """A crash: the files that it leaves, and what had been answered by then at the latest."""

    folder: Path
    latest: Answered


class Recorder:
    """Copies the files after each commit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = Answered()
        self.crashes: list[Died] = []

    def note(self) -> None:
        """Note what has been sent and answered since."""
        if self.crashes:
            self.crashes[-1].latest = self.now.copy()

    def committed(self) -> None:
        self.note()
        copy = self.folder.parent / f"crash {len(self.crashes)}"
        copy.mkdir()
        for name in FILES:
            if (self.folder / name).exists():
                shutil.copy(self.folder / name, copy / name)
        self.crashes.append(Died(copy, self.now.copy()))

    def database(self) -> type[Database]:
        recorder = self

        class CopiedDatabase(Database):
            async def transaction(self, work: Callable[[Sql], T]) -> T:
                result = await super().transaction(work)
                recorder.committed()
                return result

        return CopiedDatabase


class Client:
    """A client, step by step."""

    def __init__(self, counter: Counter, recorder: Recorder) -> None:
        self.counter = counter
        self.recorder = recorder
        self.now = recorder.now

    async def reserve(self, offer: Offer, nonces: Sequence[int]) -> None:
        self.now.sent.append((offer, nonces))
        self.now.at = await self.counter.reserve(offer, nonces)
        self.now.paid.append((offer, nonces))
        self.now.lives = True
        self.recorder.note()

    async def top_up(self, offer: Offer, nonces: Sequence[int]) -> None:
        self.now.sent.append((offer, nonces))
        await self.counter.top_up(offer, nonces)
        self.now.paid.append((offer, nonces))
        self.recorder.note()

    async def lives(self, seconds: int) -> None:
        assert self.now.at is not None
        self.now.served += seconds
        id = self.now.at.session.id
        await self.counter.lives(self.now.at, self.counter.sold.served[id] + seconds)
        assert isinstance(self.counter.ledger, Books)
        await self.counter.ledger.write_charges()
        self.recorder.note()

    async def stop(self) -> None:
        assert self.now.at is not None
        self.now.lives = False
        await self.counter.settle(self.now.at)
        self.recorder.note()


async def live(client: Client) -> None:
    """Reserves, pays, gets new terms, stops, and comes back for what is left."""
    offer = await client.counter.challenge()
    await client.reserve(offer, [1, 2, 3, 4, 5])
    await client.lives(2)
    await client.top_up(offer, [6])
    await client.lives(2)
    again = await client.counter.refresh(offer.manifest)
    await client.top_up(again, [1, 2])
    await client.lives(1)
    await client.stop()
    await client.reserve(again, [3])
    await client.lives(3)
    await client.stop()


async def fixed(client: Client) -> None:
    """Pays too little at first."""
    offer = await client.counter.challenge()
    client.now.sent.append((offer, [1, 2]))
    with pytest.raises(Refusal) as refused:
        await client.counter.reserve(offer, [1, 2])
    assert told(refused.value) == (402, "credit_short")
    client.now.paid.append((offer, [1, 2]))
    client.recorder.note()
    await client.reserve(offer, [3, 4, 5, 6])
    await client.lives(4)
    await client.stop()


@pytest.mark.parametrize("life", [live, fixed], ids=["seconds", "fixed"])
async def test_after_a_crash_at_any_write_what_was_answered_holds(tmp_path: Path, life: Callable[..., object]) -> None:
    model = LIVE if life is live else FIXED
    (tmp_path / "state").mkdir()
    recorder = Recorder(tmp_path / "state")
    async with opened(World(recorder.folder), database_type=recorder.database()) as kept:
        client = Client(Counter(kept.books, model), recorder)
        await done(life(client))
    assert len(recorder.crashes) >= 5
    for died in recorder.crashes:
        await check(died, fixed=life is fixed)


async def check(died: Died, *, fixed: bool) -> None:
    """Start orchd on what a crash has left, and look."""
    sent = died.latest.sent
    if not sent:
        return
    offer = sent[0][0]
    async with a_counter(died.folder, FIXED if fixed else LIVE) as counter:
        worth = [each.terms.expected_value * len(nonces) for each, nonces in sent]
        credit = counter.credit(offer.manifest)
        told_of = sum((each.terms.expected_value * len(nonces) for each, nonces in died.latest.paid), Fraction())
        charged = Fraction(10**12) if fixed else PRICE * Fraction(died.latest.served)
        assert told_of - charged <= credit <= sum(worth), "no more is charged than was served"
        for each, nonces in died.latest.paid:
            with pytest.raises(Refusal) as refused:
                await counter.reserve(each, nonces)
            assert refused.value.word in ("nonce_seen", "manifest_used")
        at = died.latest.at
        if at is None or not died.latest.lives:
            return
        manifest = counter.ledger.manifest(offer.manifest)
        assert manifest is not None
        found = counter.sold.begin(offer.manifest, LIVE.key, at.account.id, payer=at.account.payer, fixed=fixed)
        found.pending = False
        goes_on = replace(at, session=found)
        await counter.lives(goes_on, 1)
        await counter.settle(goes_on)
        after = counter.credit(offer.manifest)
        if fixed:
            assert after == told_of - 10**12, "charged once"
        else:
            assert after == credit - PRICE

"""Any interleaving of payments, work, cancellations, crashes, power cuts and restored copies leaves what a model holds.

Payments are built as found good: what is tried here is the books, not the signatures. Each crash leaves the files as
the kernel has them (kill -9) or as the disk has them (a power cut: the database as of a commit at or after the last
acknowledged one, the marker as it was synced last). What was handed over and not acknowledged may be there or not, but
whole, and in the order of the calls.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchd.database.database import Database
from orchd.domain.chain import SECONDS_PER_L1_BLOCK
from orchd.tasks import cancel, spawn
from orchd.tickets.ledger.books import MARKER, Books
from orchd.tickets.ledger.ports import LedgerKey, LedgerSession
from orchd.tickets.ledger.reconcile import reconcile
from orchd.tickets.ledger.values import SumsKey
from orchd.tickets.validation.credit import Meter
from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.schemes import Rounding
from orchd.tickets.validation.tickets import TicketTerms
from tests.soak import examples
from tests.tickets.ledger.kept import DAY_S, MIGRATIONS, MODEL, Chain, Clock, S, paid, terms_of
from tests.tickets.ledger.model import LedgerModel, ModelChange, ModelSession

PRICE = Fraction(10**11, 3)
MOST_SECONDS = 90
KEEP_S = 7 * DAY_S
KEYS = [
    LedgerKey("byoc", b"\x01" * 20, "paint"),
    LedgerKey("live-runner", b"\x01" * 20, "manifest 1"),
    LedgerKey("byoc", b"\x02" * 20, "paint"),
]
FILES = ("orchd.db", "orchd.db-wal")


@dataclass(frozen=True)
class Pay:
    """Attributes:
    terms: how many terms back; 0 = the newest.
    nonces: those from which the payment takes what it takes: small, so that many are replays.
    cancelled: its payer leaves after so many turns; None = waits.
    """

    key: int
    terms: int
    nonces: frozenset[int]
    winning: bool
    cancelled: int | None = None


@dataclass(frozen=True)
class Work:
    """A session of the account begins if there is none, is served, and ends when credit is gone."""

    key: int
    seconds: int


@dataclass(frozen=True)
class End:
    key: int
    nothing: bool


@dataclass(frozen=True)
class Tick:
    """Charges are written, the marker is synced."""


@dataclass(frozen=True)
class Pass:
    """Time passes, and what is over is tidied up.

    Attributes:
        blocks: that the chain is faster than its clock.
    """

    seconds: float
    blocks: int


@dataclass(frozen=True)
class Together:
    """Payments at once, with so many turns of the loop between them; then everybody is waited for."""

    pays: tuple[Pay, ...]
    turns: int


@dataclass(frozen=True)
class Crash:
    """Orchd ends while payments are on their way.

    Attributes:
        how: `restart` = cleanly, `kill` = kill -9, `power` = the power is cut.
        told: so many of the payers have been told when it happens.
    """

    how: str
    pays: tuple[Pay, ...]
    turns: int
    told: int


@dataclass(frozen=True)
class Copy:
    """Somebody copies the database."""


@dataclass(frozen=True)
class Restore:
    """The last copy is put back, after orchd has ended.

    Attributes:
        killed: it did not end cleanly.
    """

    killed: bool


@dataclass(frozen=True)
class Saved:
    """A copy, and the model of then."""

    folder: Path
    model: LedgerModel
    tickets: int


@dataclass
class Machine:
    """Drives the ledger and the model side by side."""

    root: Path
    chain: Chain = field(default_factory=Chain)
    clock: Clock = field(default_factory=Clock)
    model: LedgerModel = field(default_factory=LedgerModel)
    terms: list[TicketTerms] = field(default_factory=list)
    void: set[bytes] = field(default_factory=set)
    lives: int = 0
    taken: int = 0
    saved: Saved | None = None
    reserved: dict[bytes, frozenset[int]] = field(default_factory=dict)

    async def begin(self, source: Path | None = None, marker: bytes | None = None) -> None:
        """Begin another life with the files of the last one."""
        self.lives += 1
        folder = self.root / str(self.lives)
        folder.mkdir()
        if source is not None:
            copy_files(source, folder)
        if marker is not None:
            (folder / MARKER).write_bytes(marker)
        self.folder = folder
        self.database = Database(folder / "orchd.db", MIGRATIONS)
        await self.database.open()
        self.books = Books(self.database, folder, chain=self.chain.facts, clock=self.clock)
        void_why = await self.books.open()
        self.synced = self.marker()
        if void_why:
            self.void |= {each.commitment for each in self.terms}
            self.model.void()
            self.terms.clear()
        self.void_why = void_why
        if not self.terms:
            self.new_terms()

    async def close(self) -> None:
        await self.books.close()
        await self.database.close()

    def marker(self) -> bytes:
        return (self.folder / MARKER).read_bytes()

    def new_terms(self) -> TicketTerms:
        self.terms.append(terms_of(self.books, 1 + len(self.terms) + 1000 * self.lives))
        return self.terms[-1]

    # -- what happens ------------------------------------------------------------------------------------------------

    async def step(self, step: object) -> None:
        match step:
            case Pay():
                change, paying = self.pay(step)
                await self.settled(step, change, paying)
            case Together(pays, turns):
                await self.together(pays, turns)
            case Work():
                await self.work(step)
            case End():
                await self.end(KEYS[step.key], nothing=step.nothing)
            case Tick():
                self.model.write(KEYS, self.clock())
                await self.books.write_charges()
                self.synced = self.marker()
            case Pass():
                await self.passes(step)
            case Crash():
                await self.crash(step)
            case Copy():
                folder = self.root / f"copy {self.lives}"
                folder.mkdir(exist_ok=True)
                await self.copy(folder)
                self.saved = Saved(folder, self.model.copied(), self.taken)
            case Restore():
                await self.restore(killed=step.killed)
        await self.compare()

    def pay(self, pay: Pay) -> tuple[ModelChange | Fault, Coroutine[Any, Any, object]]:
        """Return what the payment should come to, and the payment."""
        key = KEYS[pay.key]
        terms = self.terms[-1 - pay.terms % len(self.terms)]
        payment = paid(terms, sorted(pay.nonces), sorted(pay.nonces)[: pay.winning], key.payer)
        paying = self.books.take(payment, key, MODEL)
        if pay.nonces & self.on_the_way(terms):
            return Fault.NONCE_SEEN, paying
        if terms.expiration_block <= self.chain.l1_block:
            return Fault.TERMS_EXPIRED, paying
        self.reserved[terms.commitment] = self.on_the_way(terms) | pay.nonces
        return partial(LedgerModel.pay, taken=payment, key=key, now=self.clock()), paying

    def on_the_way(self, terms: TicketTerms) -> frozenset[int]:
        return self.model.used.get(terms.commitment, frozenset()) | self.reserved.get(terms.commitment, frozenset())

    async def settled(self, pay: Pay, change: ModelChange | Fault, paying: Coroutine[Any, Any, object]) -> None:
        """Wait for a payment; it comes to what the model says."""
        if isinstance(change, Fault):
            with pytest.raises(PaymentRefused) as refused:
                await paying
            assert refused.value.fault is change
            return
        if pay.cancelled is None:
            await paying
        else:
            task = spawn(paying, name="leaving")
            for _ in range(1 + pay.cancelled):
                await asyncio.sleep(0)
            await cancel(task)
            await self.books._booking.finish()
        self.acknowledged(change)

    def acknowledged(self, change: ModelChange) -> None:
        change(self.model)
        self.taken = self.model.tickets
        self.reserved.clear()

    async def together(self, pays: tuple[Pay, ...], turns: int) -> None:
        changes = await self.handed_over(pays, turns)
        await asyncio.gather(*(task for _, task in changes))
        for change, _ in changes:
            change(self.model)
        self.taken = self.model.tickets
        self.reserved.clear()

    async def handed_over(self, pays: tuple[Pay, ...], turns: int) -> list[tuple[ModelChange, asyncio.Task[object]]]:
        """Hand over payments, each so many turns after the one before."""
        found = []
        for pay in pays:
            change, paying = self.pay(pay)
            if isinstance(change, Fault):
                paying.close()
                continue
            found.append((change, spawn(paying, name="paying")))
            for _ in range(1 + turns):
                await asyncio.sleep(0)
        return found

    async def work(self, work: Work) -> None:
        key = KEYS[work.key]
        id = str(key)
        if id not in self.model.sessions:
            if self.model.balance(key) < PRICE:
                return
            self.model.sessions[id] = ModelSession(key, PRICE)
            self.books.begin(LedgerSession(id, key, MODEL, Meter(PRICE, Rounding.STARTED)))
        session = self.model.sessions[id]
        session.charged += work.seconds
        balance = self.books.charge(id, session.charged * S)
        assert balance.wei == self.model.balance(key)
        if balance.wei < 0:
            await self.end(key, nothing=False)

    async def end(self, key: LedgerKey, *, nothing: bool) -> None:
        id = str(key)
        if id in self.model.sessions:
            served = self.model.sessions[id].charged
            self.model.end(id, self.clock(), nothing=nothing)
            await self.books.end(id, served * S, nothing=nothing)
        await self.books.end(id, 10**6 * S)  # Changes nothing.

    async def passes(self, passed: Pass) -> None:
        self.clock.now += passed.seconds
        self.chain.l1_block += passed.blocks + int(passed.seconds / SECONDS_PER_L1_BLOCK)
        for terms in self.terms:
            if terms.expiration_block <= self.chain.l1_block:
                self.model.used.pop(terms.commitment, None)
        self.model.forfeit(KEEP_S, self.clock())
        await self.books.tidy(KEEP_S)
        await self.books.fold()
        if self.terms[-1].expiration_block <= self.chain.l1_block:
            self.new_terms()

    # -- ends and beginnings -----------------------------------------------------------------------------------------

    async def crash(self, crash: Crash) -> None:
        changes = await self.handed_over(crash.pays, crash.turns)
        if crash.how == "restart":
            await asyncio.gather(*(task for _, task in changes))
            await self.close()
            for change, _ in changes:
                change(self.model)
            self.model.write(KEYS, self.clock())
            self.model.die()
            await self.begin(self.folder, self.marker())
            assert self.void_why == ""
        else:
            for _, task in changes[: crash.told]:
                await task
            acknowledged = sum(task.done() for _, task in changes)  # In the order of the calls.
            left = self.root / f"left {self.lives}"
            left.mkdir()
            await self.copy(left)
            marker = self.synced if crash.how == "power" else self.marker()
            await asyncio.gather(*(task for _, task in changes))
            await self.close()
            before, possible = self.model, []
            for count in range(acknowledged, len(changes) + 1):
                possible.append(before.copied())
                for change, _ in changes[:count]:
                    change(possible[-1])
                possible[-1].die()
            self.model = possible[0]
            await self.begin(left, marker)
            assert self.void_why == ""
            now = await self.found()
            matching = [each for each in possible if each.same(now)]
            assert len(matching) == 1, "what is there is what the calls up to one of them have left"
            (self.model,) = matching
        self.reserved.clear()
        self.taken = self.model.tickets

    async def restore(self, *, killed: bool) -> None:
        if self.saved is None:
            return
        marker = self.marker()
        await self.close()
        if not killed:
            marker = self.marker()
        paid_since = self.taken != self.saved.tickets
        self.model = self.saved.model.copied()
        self.model.die()
        await self.begin(self.saved.folder, marker)
        if paid_since:
            assert "older than the marker" in self.void_why
        self.taken = self.model.tickets
        self.saved = None

    async def copy(self, folder: Path) -> None:
        """Copy the files between two transactions."""
        await self.database._writer.run(lambda: copy_files(self.folder, folder), 30.0)

    # -- what holds --------------------------------------------------------------------------------------------------

    async def found(self) -> LedgerModel:
        """Return what the ledger holds, as a model."""
        view = self.books.view
        model = LedgerModel(
            balances={key: account.balance for key, account in view.accounts.items()},
            used={commitment: frozenset(used.nonces) for commitment, used in view.terms.items()},
            owed=dict(view.unredeemed),
            tickets=sum(each.tickets for each in view.sums.values()),
        )
        assert not view.reserved
        return model

    async def compare(self) -> None:
        assert (await self.found()).same(self.model)
        for key in KEYS:
            assert self.books.balance(key).wei == self.model.balance(key)
            assert self.books.balance(key).wei >= -MOST_SECONDS * PRICE, "negative beyond the one running job"
            assert self.books.unredeemed(key.payer) == self.model.owed.get(key.payer, 0)
            assert SumsKey(MODEL, key.payer) in self.books.sums() or not self.model.owed.get(key.payer)


def copy_files(source: Path, target: Path) -> None:
    for name in FILES:
        (target / name).unlink(missing_ok=True)
        if (source / name).exists():
            shutil.copy(source / name, target / name)


PAYS = st.builds(
    Pay,
    st.integers(0, len(KEYS) - 1),
    st.integers(0, 3),
    st.frozensets(st.integers(0, 30) | st.integers(595, 605), min_size=1, max_size=5),
    st.booleans(),
    st.none() | st.none() | st.integers(0, 4),
)
WAITING = st.builds(
    Pay,
    st.integers(0, len(KEYS) - 1),
    st.integers(0, 3),
    st.frozensets(st.integers(0, 200), min_size=1, max_size=5),
    st.booleans(),
)
SEVERAL = st.lists(WAITING, max_size=4).map(tuple)
STEPS = st.lists(
    st.one_of(
        PAYS,
        PAYS,
        st.builds(Work, st.integers(0, len(KEYS) - 1), st.integers(1, MOST_SECONDS)),
        st.builds(Work, st.integers(0, len(KEYS) - 1), st.integers(1, 5)),
        st.builds(End, st.integers(0, len(KEYS) - 1), st.booleans()),
        st.just(Tick()),
        st.builds(Pass, st.sampled_from([1.0, 3601.0, 3 * DAY_S, 31 * DAY_S]), st.sampled_from([0, 1, 41])),
        st.builds(Together, SEVERAL, st.integers(0, 3)),
        st.builds(Crash, st.sampled_from(["restart", "kill", "power"]), SEVERAL, st.integers(0, 3), st.integers(0, 4)),
        st.just(Copy()),
        st.builds(Restore, st.booleans()),
    ),
    min_size=12,
    max_size=40,
)


@pytest.mark.soak
@settings(max_examples=examples(500, 0.06), deadline=None)
@given(STEPS)
async def test_the_ledger_is_what_the_model_says(steps: list[object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder))
        await machine.begin()
        try:
            for step in steps:
                await machine.step(step)
            found = await machine.database.read(reconcile)
            assert found.differences == ()
        finally:
            await machine.close()

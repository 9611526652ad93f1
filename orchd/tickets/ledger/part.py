"""The ledger, as a part: it opens the books, writes charges and tidies up."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from fractions import Fraction
from typing import Protocol

import structlog

from orchd.chain.ports import ChainNow
from orchd.database.database import HasDatabase
from orchd.domain.chain import ChainFacts
from orchd.domain.state import MoneyStatus, Snapshot
from orchd.errors import StoreError
from orchd.history.ports import History, Kind
from orchd.part import Context, Part, Roots
from orchd.settings.secrets import read_secret
from orchd.tickets.ledger.books import Books
from orchd.tickets.ledger.metrics import LedgerCollector
from orchd.tickets.ledger.sealing import Seal
from orchd.tickets.validation.signatures import MAX_U256

log = structlog.get_logger("orchd.ledger")

TIDY_S = 60.0
"""Seconds between two turns of tidying."""
DAY_S = 86_400.0


class KnowsNow(Protocol):
    """The chain, as far as the ledger uses it."""

    def now(self) -> ChainNow | None: ...


class HoldsChain(Protocol):
    """What has the chain, from `open` on."""

    @property
    def chain(self) -> KnowsNow: ...


class LedgerPart(Part):
    """Keeps what payers have paid and were charged.

    Args:
        chain_id: of the chain that payments are for; 0 = none.

    Attributes:
        ledger: from `open` on.
    """

    name = "ledger"
    ledger: Books

    def __init__(
        self, context: Context, database: HasDatabase, history: History, chain_id: int, chain: HoldsChain
    ) -> None:
        self._context = context
        self._database = database
        self._history = history
        self._chain_id = chain_id
        self._chain = chain
        self._opened: Books | None = None
        self._failing = False

    async def open(self) -> None:
        """As `Part.open`.

        Raises:
            SettingsError: the key for its secrets can't be read.
            StoreError: see `Books.open`.
        """
        key = read_secret("tickets.key_file", self._context.settings.tickets.key_file, self._context.env)
        seal = None if key is None else Seal(key)
        self.ledger = Books(self._database.database, self._context.state_dir, seal, self._chain_id, self._facts)
        void_why = await self.ledger.open()
        self._opened = self.ledger
        LedgerCollector(self._context.metrics, self.ledger)
        if void_why:
            said = f"{void_why}: new secrets were made, and all terms that payers hold are void"
            log.warning("ledger_rotated", why=said)
            self._history.note(Kind.LEDGER_ROTATED, said)

    def roots(self) -> Roots:
        return {"ledger charges": self._write_charges(), "ledger tidying": self._tidy()}

    def show(self, snapshot: Snapshot) -> Snapshot:
        """Add what tickets came to."""
        ledger, every = self.ledger, self.ledger.view.all_sums
        money = MoneyStatus(
            sessions=sum(ledger.paid_sessions().values()),
            earned_today=ledger.earned_today().wei,
            earned=Fraction(every.expected, MAX_U256),
            won=every.won_wei,
            owed=sum(ledger.view.owed_wei.values()),
        )
        return replace(snapshot, money=money)

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    def _facts(self) -> ChainFacts | None:
        now = self._chain.chain.now()
        return now.facts if now else None

    async def _write_charges(self) -> None:
        while True:
            await asyncio.sleep(self._context.settings.ledger.charge_every_s)
            try:
                await self.ledger.write_charges()
                self._failing = False
            except StoreError as exc:
                if not self._failing:
                    log.error("ledger_charges_wait", reason=exc.message)
                self._failing = True

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_S)
            try:
                while await self.ledger.tidy(self._context.settings.ledger.keep_credit_days * DAY_S):
                    pass
                while await self.ledger.fold():
                    pass
            except StoreError as exc:
                log.warning("ledger_not_tidied", reason=exc.message)

"""The ledger: balances, nonces and winners over a database. What a call returns is on the disk.

It needs no part and no hook: commands open it under the state directory's lock while no daemon runs.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import structlog

from orchd.database.database import Database
from orchd.domain.chain import ChainFacts
from orchd.domain.ids import ModelKey
from orchd.errors import StoreError
from orchd.threads import DaemonThreads
from orchd.tickets.ledger import tables
from orchd.tickets.ledger.booking import Booking
from orchd.tickets.ledger.changes import ROUNDS_VALID, Change, MarkWinners, SetKeys, TakePayment, Tidy, WriteCharges
from orchd.tickets.ledger.checks import check_terms
from orchd.tickets.ledger.draft import DAY_S, LedgerDraft
from orchd.tickets.ledger.keyring import Keyring, new_secrets
from orchd.tickets.ledger.marker import Marker
from orchd.tickets.ledger.nonces import nonces_of
from orchd.tickets.ledger.opening import key_rows, open_ledger
from orchd.tickets.ledger.ports import LedgerKey, LedgerSession, Manifest
from orchd.tickets.ledger.sealing import Seal
from orchd.tickets.ledger.values import ZERO, SumsKey, TicketSums, WinnerState
from orchd.tickets.ledger.view import LedgerView, RunningSession
from orchd.tickets.validation.credit import Balance
from orchd.tickets.validation.facts import BookFacts
from orchd.tickets.validation.grants import AuthKey
from orchd.tickets.validation.keys import TermsKey, TermsKeys
from orchd.tickets.validation.validate import Taken

log = structlog.get_logger("orchd.ledger")

MARKER = "orchd.ledger"
"""The marker's name, beside the database."""
KEEP_JOURNAL_S = 30 * 86_400.0
"""Rows of the journal are folded into their account's checkpoint when they are older."""
FOLD_AT_ONCE = 500
SYNC_TIMEOUT_S = 30.0


class Books:
    """After `ports.Ledger`.

    Args:
        folder: of the database; the marker is written there.
        seal: encrypts the secrets; None = they are kept as they are.
        chain_id: of the chain that payments are for; 0 = none; None = the same as before.
        chain: returns what is known of the chain now; None = nothing.
        clock: Unix time, seconds.

    Attributes:
        failures: changes that could not be kept.
    """

    view: LedgerView

    def __init__(
        self,
        database: Database,
        folder: Path,
        seal: Seal | None = None,
        chain_id: int | None = None,
        chain: Callable[[], ChainFacts | None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._marker = Marker(folder / MARKER)
        self._seal = seal
        self._chain_id = chain_id
        self._chain = chain
        self._clock = clock
        self._keys = Keyring(())
        self._threads = DaemonThreads("ledger-marker")
        self.failures = 0
        self._booking = Booking(database, self._ready, self._new_draft, self._kept)

    async def open(self, void_why: str = "") -> str:
        """Load it, or begin one. Return why all terms are void that payers hold; empty = they are not.

        Args:
            void_why: why new secrets are asked for, if they are.

        Raises:
            StoreError: it can't be read or written, or its secrets were sealed with another key.
        """
        opened = await open_ledger(
            self._database, self._marker, self._seal, chain_id=self._chain_id, now=self._clock(), void_why=void_why
        )
        self.view, self._keys = opened.view, opened.keys
        if opened.died:
            then = "they are charged up to the last written charge; those that go on, again from their first answer on"
            log.warning("ledger_sessions_died", count=opened.died, why="orchd ended before they did", then=then)
        try:
            self._marker.open(self.view.state.ledger, self.view.state.commits)
        except StoreError as exc:  # No payment is taken until it can be.
            log.error("ledger_closed", reason=exc.message)
        return opened.void_why

    # -- secrets -----------------------------------------------------------------------------------------------------

    @property
    def terms_keys(self) -> TermsKeys:
        """To know terms again."""
        return self._keys.terms_keys

    @property
    def terms_key(self) -> TermsKey:
        """To make new terms."""
        return self._keys.terms_key

    @property
    def auth_keys(self) -> Mapping[int, AuthKey]:
        """To know auth tokens again, by id."""
        return self._keys.auth_keys

    @property
    def auth_key(self) -> AuthKey:
        """To make new auth tokens."""
        return self._keys.auth_key

    async def rotate(self) -> None:
        """Make new secrets and forget the others: all terms and auth tokens that are out there are void.

        Raises:
            StoreError: they can't be kept; the former ones stay.
        """
        former = [each.id for each in self._keys.secrets]
        await self._set_keys(Keyring(new_secrets(self._clock(), secrets.token_bytes, former)))

    # -- reading -----------------------------------------------------------------------------------------------------

    @property
    def l1_block(self) -> int:
        """The highest ever seen."""
        facts = self._chain()
        return max(self.view.state.l1_block, facts.l1_block if facts else 0)

    def balance(self, key: LedgerKey) -> Balance:
        return Balance(self.view.balance(key))

    def book_facts(self, commitment: bytes) -> BookFacts:
        used = self.view.terms.get(commitment)
        return BookFacts(self.view.seen(commitment), used is not None and used.published)

    def unredeemed(self, payer: bytes) -> int:
        return self.view.unredeemed.get(payer, 0)

    def sums(self) -> Mapping[SumsKey, TicketSums]:
        """Return the sums over all tickets, by model and payer."""
        return self.view.sums

    def paid_sessions(self) -> Mapping[ModelKey, int]:
        """Return how many sessions are charged now, by model."""
        return Counter(each.session.model for each in self.view.running.values() if not each.ended)

    def earned_today(self) -> Balance:
        """Return the expected value of all payments that were taken on this day (UTC)."""
        state = self.view.state
        return Balance(state.earned_today if state.day == int(self._clock() // DAY_S) else ZERO)

    def rounds_left(self) -> int | None:
        """Return after how many rounds the first of the winners that were not exported is lost; None = there are none,
        or the round is not known."""
        facts, waiting = self._chain(), self.view.waiting
        return max(0, min(waiting) + ROUNDS_VALID - facts.round) if facts and waiting else None

    # -- payments ----------------------------------------------------------------------------------------------------

    def idle_s(self, key: LedgerKey) -> float:
        account = self.view.accounts.get(key)
        return max(0.0, self._clock() - account.changed_at) if account else 0.0

    def manifest(self, id: str) -> Manifest | None:
        return self.view.manifest(id)

    async def take(self, taken: Taken, key: LedgerKey, model: ModelKey, manifest: Manifest | None = None) -> Balance:
        if taken.terms is not None:
            nonces = nonces_of(taken.nonces)
            check_terms(taken.terms, nonces, self.view, self.l1_block, self.terms_keys)
            self.view.reserve(taken.terms.commitment, nonces)
            await self._book(TakePayment(taken, nonces, key, model, manifest))
        return self.balance(key)

    async def mark(self, hashes: Collection[bytes], state: WinnerState) -> None:
        """Note what has become of winners: exported, redeemed or expired. Their random numbers count as known then.

        Those that were redeemed or have expired before, and unknown ones, stay as they are.

        Raises:
            StoreError: it can't be kept.
        """
        await self._book(MarkWinners(hashes, state))

    async def exported(self, hashes: Collection[bytes]) -> None:
        """Note that winners were exported, as `mark`."""
        await self.mark(hashes, WinnerState.EXPORTED)

    # -- sessions ----------------------------------------------------------------------------------------------------

    def begin(self, session: LedgerSession) -> None:
        if session.id in self.view.running:
            raise ValueError(f"cannot charge the session {session.id}: it is charged already")
        self.view.begin(RunningSession(session, session.meter, session.meter.units))

    def charge(self, session_id: str, served_ns: int) -> Balance:
        running = self.view.running[session_id]
        if not running.ended:
            self.view.charge(running, running.meter.after(served_ns))
        return self.balance(running.key)

    async def end(self, session_id: str, served_ns: int, *, nothing: bool = False) -> None:
        running = self.view.running.get(session_id)
        if running is None or running.ended:
            return
        if nothing:
            running.give_back = True
        else:
            self.view.charge(running, running.meter.after(served_ns))
        running.ended = True
        await self._book(WriteCharges(running.key))

    # -- from time to time -------------------------------------------------------------------------------------------

    async def write_charges(self) -> None:
        """Write the charges of all running sessions that are not written yet, in one transaction; sync the marker.

        Raises:
            StoreError: they can't be written now.
        """
        if self.view.unwritten or any(each.ended for each in self.view.running.values()):
            await self._book(WriteCharges())
        try:
            await self._threads.run(self._marker.sync, SYNC_TIMEOUT_S)
        except TimeoutError as exc:
            raise StoreError("cannot sync the ledger's marker: its disk does not answer") from exc
        self._marker.advance(self.view.state.commits)  # It may have been written again meanwhile.

    async def tidy(self, keep_credit_s: float) -> bool:
        """Drop what is over and change the secrets if it is time; a bounded part of it. Return whether there may be
        more.

        Args:
            keep_credit_s: seconds that an idle credit is kept.

        Raises:
            StoreError: it can't be written now.
        """
        facts, now = self._chain(), self._clock()
        tidy = Tidy(keep_credit_s, facts.round if facts else 0)
        await self._book(tidy)
        if self._keys.due(now):
            await self._set_keys(self._keys.turned(now, secrets.token_bytes))
        return tidy.more

    async def fold(self) -> bool:
        """Fold some of the journal's rows that are older than 30 days; return whether there may be more.

        Raises:
            StoreError: it can't be written now.
        """
        before = self._clock() - KEEP_JOURNAL_S
        folded = await self._database.transaction(lambda sql: tables.fold(sql, before, FOLD_AT_ONCE))
        return folded == FOLD_AT_ONCE

    async def close(self) -> None:
        """Write what is not written, and let go of the marker."""
        try:
            await self.write_charges()
        except StoreError as exc:
            log.warning("ledger_charges_lost", reason=exc.message)
        await self._booking.finish()
        self._threads.close()
        self._marker.close()

    # -- what the booking asks ---------------------------------------------------------------------------------------

    def _ready(self) -> None:
        self._database.require_file()
        self._marker.require_open()

    def _new_draft(self) -> LedgerDraft:
        return LedgerDraft(self.view, self._clock(), self.l1_block)

    def _kept(self, commits: int, keys: Keyring | None) -> None:
        self._marker.advance(commits)
        if keys is not None:
            self._keys = keys

    async def _book(self, change: Change) -> None:
        """Book a change.

        Raises:
            StoreError: it can't be kept.
        """
        try:
            await self._booking.book(change)
        except StoreError:
            self.failures += 1
            raise

    async def _set_keys(self, keys: Keyring) -> None:
        await self._book(SetKeys(keys, key_rows(keys, self._seal)))

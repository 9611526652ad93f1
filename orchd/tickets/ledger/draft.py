"""What one transaction of the ledger writes: drawn up from the view, written, then put into the view. Pure.

Changes that wait at the same time are drawn into one draft, one after the other, each on what those before it have
left. At most one draft is on its way to the store, so what it starts from is what the store holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from orchd.database.sql import Sql
from orchd.domain.ids import ModelKey
from orchd.tickets.ledger import tables
from orchd.tickets.ledger.keyring import Keyring
from orchd.tickets.ledger.manifests import ManifestDraft
from orchd.tickets.ledger.nonces import NonceSet
from orchd.tickets.ledger.ports import LedgerKey
from orchd.tickets.ledger.values import (
    ZERO,
    EntryKind,
    EntryState,
    JournalEntry,
    LedgerAccount,
    OwedWinner,
    SumsKey,
    TicketSums,
    UsedTerms,
    WinnerState,
)
from orchd.tickets.ledger.view import LedgerView, RunningSession
from orchd.tickets.validation.validate import Taken

ENTRY_S = 3600.0
"""A session that runs gets a new row in the journal so often."""
DAY_S = 86_400


class _SessionWritten(NamedTuple):
    """What of a session a draft has written."""

    running: RunningSession
    units: int
    settled: Fraction
    entry: JournalEntry | None
    ended: bool


@dataclass
class LedgerDraft:
    """The next transaction. What it does not change, it takes from the view.

    Args:
        now: Unix time, seconds.
        l1_block: the highest seen, now.
    """

    view: LedgerView
    now: float
    l1_block: int
    accounts: dict[LedgerKey, LedgerAccount] = field(default_factory=dict, init=False)
    forgotten: dict[LedgerKey, int] = field(default_factory=dict, init=False)
    terms: dict[bytes, UsedTerms] = field(default_factory=dict, init=False)
    expired: list[tuple[int, bytes]] = field(default_factory=list, init=False)
    taken: list[tuple[bytes, NonceSet]] = field(default_factory=list, init=False)
    entries: dict[int, JournalEntry] = field(default_factory=dict, init=False)
    winners: list[tables.WinnerRow] = field(default_factory=list, init=False)
    owed: dict[bytes, OwedWinner | None] = field(default_factory=dict, init=False)
    marked: list[tuple[bytes, WinnerState, bool]] = field(default_factory=list, init=False)
    sums: dict[SumsKey, TicketSums] = field(default_factory=dict, init=False)
    sessions: dict[str, _SessionWritten] = field(default_factory=dict, init=False)
    keys: tuple[Keyring, Sequence[tables.KeyRow]] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._forfeited = ZERO
        self.manifests = ManifestDraft(self.view)
        state, day = self.view.state, int(self.now // DAY_S)
        self.state = state._replace(
            commits=state.commits + 1,
            l1_block=max(state.l1_block, self.l1_block),
            day=day,
            earned_today=state.earned_today if day == state.day else ZERO,
        )
        self._next_account = self.view.next_account
        self._next_entry = self.view.next_entry

    # -- what changes draw -------------------------------------------------------------------------------------------

    def take(self, taken: Taken, nonces: NonceSet, key: LedgerKey, model: ModelKey) -> None:
        """Book a payment that has terms: nonces, winners and credit."""
        terms = taken.terms
        assert terms is not None
        used = self.terms_of(terms.commitment) or UsedTerms(terms.expiration_block)
        self.terms[terms.commitment] = used._replace(nonces=used.nonces | nonces)
        self.taken.append((terms.commitment, nonces))
        account = self.add(key, taken.credit)
        self._enter(account, EntryKind.CREDIT, taken.credit, model, tickets=len(taken.nonces), price=taken.price)
        for winner in taken.winners:
            owed = OwedWinner(
                taken.payer, model, terms.face_value, terms.commitment, terms.creation_round, WinnerState.WON
            )
            self.owed[winner.hash] = owed
            self.winners.append(tables.WinnerRow(winner, terms, key, model, self.now))
        sums = SumsKey(model, taken.payer)
        self.sums[sums] = self._sums(sums).after(taken)
        self.state = self.state._replace(earned_today=self.state.earned_today + taken.credit)

    def write_session(self, running: RunningSession) -> None:
        """Write what a session was charged since it was last written; once in a draft."""
        if running.session.id in self.sessions:
            return
        price, entry, units = running.meter.price, running.entry, running.meter.units
        due = running.unwritten
        if running.give_back:
            given = (running.written - running.session.meter.units) * price
            if entry is not None:
                self.entries[entry.id] = entry._replace(state=EntryState.DONE)
            if given:
                account = self.add(running.key, given)
                self._enter(account, EntryKind.GIVEN_BACK, given, running.session.model, session=running.session.id)
        elif due or (running.ended and entry is not None):
            entry = self._charged(running, entry, units - running.written, due)
        self.manifests.note_charged(running)
        self.sessions[running.session.id] = _SessionWritten(running, units, due, entry, running.ended)

    def forfeit(self, key: LedgerKey) -> None:
        """Take an idle credit."""
        wei = -self.account(key).balance
        self._enter(self.add(key, wei), EntryKind.FORFEITED, wei, ModelKey("", ""))
        self._forfeited -= wei

    def forget(self, key: LedgerKey) -> None:
        """Drop an account with its journal, and its manifest."""
        self.forgotten[key] = self.view.accounts[key].id
        self.manifests.drop(key)

    def expire(self, block: int, commitment: bytes) -> None:
        """Drop terms that have expired."""
        self.expired.append((block, commitment))

    def mark(self, hash: bytes, winner: OwedWinner, state: WinnerState, *, owed: bool) -> None:
        """Note what has become of a winner. Its random number may be known from now on.

        Args:
            owed: it may still be paid.
        """
        self.marked.append((hash, state, owed))
        self.owed[hash] = winner._replace(state=state) if owed else None
        key = SumsKey(winner.model, winner.payer)
        self.sums[key] = self._sums(key).ended(winner, state)
        if (used := self.terms_of(winner.commitment)) is not None and not used.published:
            self.terms[winner.commitment] = used._replace(published=True)

    def add(self, key: LedgerKey, wei: Fraction) -> int:
        """Add to a balance; return the account's id."""
        account = self.account(key)
        self.accounts[key] = account._replace(balance=account.balance + wei, changed_at=self.now)
        return account.id

    def account(self, key: LedgerKey) -> LedgerAccount:
        """Return an account as the changes so far leave it; a new one if there is none."""
        found = self.accounts.get(key)
        if found is None and key not in self.forgotten:
            found = self.view.accounts.get(key)
        if found is None:
            found = self.accounts[key] = LedgerAccount(self._next_account, ZERO, self.now)
            self._next_account += 1
        return found

    def terms_of(self, commitment: bytes) -> UsedTerms | None:
        """Return terms as the changes so far leave them; None = no ticket on them was taken."""
        return self.terms.get(commitment) or self.view.terms.get(commitment)

    def winner(self, hash: bytes) -> OwedWinner | None:
        """Return a winner that may still be paid; None = there is none."""
        return self.owed[hash] if hash in self.owed else self.view.owed.get(hash)

    def _sums(self, key: SumsKey) -> TicketSums:
        return self.sums.get(key) or self.view.sums.get(key) or TicketSums()

    def _charged(
        self, running: RunningSession, entry: JournalEntry | None, units: int, wei: Fraction
    ) -> JournalEntry | None:
        """Add to the session's row of the journal, or begin another one; return the one that goes on."""
        account = self.add(running.key, -wei) if wei else self.account(running.key).id
        if entry is None or (wei and self.now - entry.began_at >= ENTRY_S):
            if entry is not None:
                self.entries[entry.id] = entry._replace(state=EntryState.DONE)
            session = running.session
            entry = self._enter(
                account, EntryKind.CHARGE, ZERO, session.model, price=running.meter.price, session=session.id
            )
        state = EntryState.DONE if running.ended else EntryState.OPEN
        entry = entry._replace(at=self.now, wei=entry.wei - wei, units=entry.units + units, state=state)
        self.entries[entry.id] = entry
        return entry

    def _enter(
        self,
        account: int,
        kind: EntryKind,
        wei: Fraction,
        model: ModelKey,
        *,
        tickets: int = 0,
        price: Fraction | None = None,
        session: str = "",
    ) -> JournalEntry:
        entry = JournalEntry(
            *(self._next_entry, account, kind, self.now, self.now, wei, tickets, 0),
            *(price or ZERO, session, model, EntryState.DONE),
        )
        self._next_entry += 1
        self.entries[entry.id] = entry
        return entry

    @property
    def writes(self) -> bool:
        """Whether there is anything to write. A higher L1 block alone is not: nothing was dropped for it yet."""
        return any(
            (
                *(self.accounts, self.forgotten, self.manifests.changed, self.terms, self.expired, self.entries),
                *(self.winners, self.marked, self.sums, self.keys),
            )
        )

    # -- the store ---------------------------------------------------------------------------------------------------

    def write(self, sql: Sql) -> None:
        """Write all of it.

        Raises:
            StoreError: the store is not as the view has it.
        """
        tables.put_state(sql, self.state)
        if self.forgotten:
            tables.drop_accounts(sql, self.forgotten.values())
        tables.put_accounts(sql, self.accounts)
        self.manifests.write(sql)
        tables.put_terms(sql, self.terms)
        tables.put_entries(sql, self.entries.values())
        tables.put_sums(sql, self.sums)
        if self.winners:
            tables.put_winners(sql, self.winners)
        if self.marked:
            tables.mark_winners(sql, self.marked, self.now)
        if self.expired:
            tables.drop_terms(sql, [commitment for _, commitment in self.expired])
        if self.keys is not None:
            tables.put_keys(sql, self.keys[1])

    # -- the view ----------------------------------------------------------------------------------------------------

    def apply(self) -> Keyring | None:
        """Put it into the view, now that it is in the store; return the secrets if they have changed."""
        view = self.view
        if self.writes:
            view.state = self.state
        view.next_account, view.next_entry = self._next_account, self._next_entry
        for key in self.forgotten:
            del view.accounts[key]
        self.manifests.apply()
        for key, account in self.accounts.items():
            view.accounts.pop(key, None)  # So that it comes last.
            view.accounts[key] = account
        for commitment, terms in self.terms.items():
            view.terms[commitment] = terms
            view.expiring[terms.expiration_block].add(commitment)
        for commitment, nonces in self.taken:
            view.release(commitment, nonces)
        self._apply_expired()
        for hash, winner in self.owed.items():
            view.owe(hash, winner)
        view.set_sums(self.sums)
        self._apply_sessions()
        view.forfeited += self._forfeited
        return None if self.keys is None else self.keys[0]

    def _apply_expired(self) -> None:
        for block, commitment in self.expired:
            self.view.terms.pop(commitment, None)
            self.view.expiring[block].discard(commitment)
            if not self.view.expiring[block]:
                del self.view.expiring[block]

    def _apply_sessions(self) -> None:
        for running, units, settled, entry, ended in self.sessions.values():
            running.written, running.entry = units, entry
            self.view.written(running.key, settled)
            if ended:
                self.view.end(running)

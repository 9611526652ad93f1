"""The ledger in memory: what is in the store, and what is on its way there. Pure.

It changes in step with the store: `LedgerDraft.apply` puts in what a transaction has written, once that is on the disk.
Ahead of the store are only the nonces that payments on their way have taken, and the charges of running sessions.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from orchd.domain.ids import ModelKey
from orchd.tickets.ledger.nonces import NO_NONCES, NonceSet
from orchd.tickets.ledger.ports import LedgerKey, LedgerSession, Manifest
from orchd.tickets.ledger.values import (
    NO_SUMS,
    ZERO,
    JournalEntry,
    LedgerAccount,
    LedgerState,
    OwedWinner,
    SumsKey,
    TicketSums,
    UsedTerms,
    WinnerState,
)
from orchd.tickets.validation.credit import Meter


@dataclass(slots=True)
class RunningSession:
    """A session that is charged.

    Attributes:
        meter: with all that was charged.
        written: units of it that are in the store.
        entry: the row of the journal that its charges are added to; None = none yet.
        ended: nothing more is charged; it goes once everything is written.
        give_back: it is charged nothing in the end.
    """

    session: LedgerSession
    meter: Meter
    written: int
    entry: JournalEntry | None = None
    ended: bool = False
    give_back: bool = False

    @property
    def key(self) -> LedgerKey:
        return self.session.key

    @property
    def unwritten(self) -> Fraction:
        """Wei that are not in the store."""
        return (self.meter.units - self.written) * self.meter.price


@dataclass
class LedgerView:
    """All of it.

    Attributes:
        state: the row about the ledger as a whole.
        accounts: the one that was changed last comes last.
        manifests: by id, as long as their account is kept; the one that was issued last comes last.
        terms: by commitment, until they have expired.
        reserved: nonces of payments on their way, by commitment.
        expiring: commitments by the L1 block at which they expire.
        owed: winners that may still be paid, by hash.
        unredeemed: their face values by payer; `owed_wei`: by model.
        waiting: how many of them were not exported, by the round in which their terms were made.
        sums: by model and payer; `model_sums`: of all payers, by model; `all_sums`: of all models.
        running: sessions by id.
        sessions: ids of those of each account.
        unwritten: wei of them that are charged and not in the store.
        forfeited: wei of credit that were taken since this orchd has started, as nobody had used it.
        next_account, next_entry: ids of the next rows.
    """

    state: LedgerState
    accounts: dict[LedgerKey, LedgerAccount] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    terms: dict[bytes, UsedTerms] = field(default_factory=dict)
    reserved: dict[bytes, NonceSet] = field(default_factory=dict)
    expiring: defaultdict[int, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    owed: dict[bytes, OwedWinner] = field(default_factory=dict)
    unredeemed: defaultdict[bytes, int] = field(default_factory=lambda: defaultdict(int))
    owed_wei: defaultdict[ModelKey, int] = field(default_factory=lambda: defaultdict(int))
    waiting: Counter[int] = field(default_factory=Counter)
    sums: dict[SumsKey, TicketSums] = field(default_factory=dict)
    model_sums: dict[ModelKey, TicketSums] = field(default_factory=dict)
    all_sums: TicketSums = NO_SUMS
    running: dict[str, RunningSession] = field(default_factory=dict)
    sessions: dict[LedgerKey, set[str]] = field(default_factory=dict)
    unwritten: dict[LedgerKey, Fraction] = field(default_factory=dict)
    forfeited: Fraction = ZERO
    next_account: int = 1
    next_entry: int = 1

    def balance(self, key: LedgerKey) -> Fraction:
        """Return what is in hand: wei."""
        account = self.accounts.get(key)
        return (account.balance if account else ZERO) - self.unwritten.get(key, ZERO)

    def owe(self, hash: bytes, winner: OwedWinner | None) -> None:
        """Put in a winner, in place of what was known of it; None = nothing is owed for it any more."""
        before = self.owed.pop(hash, None)
        if before is not None:
            self._add_owed(before, -1)
            if not self.unredeemed[before.payer]:
                del self.unredeemed[before.payer]
        if winner is not None:
            self.owed[hash] = winner
            self._add_owed(winner, 1)

    def _add_owed(self, winner: OwedWinner, times: int) -> None:
        self.unredeemed[winner.payer] += times * winner.face_value
        self.owed_wei[winner.model] += times * winner.face_value
        if winner.state is WinnerState.WON:
            self.waiting[winner.creation_round] += times
            if not self.waiting[winner.creation_round]:
                del self.waiting[winner.creation_round]

    def manifest(self, id: str) -> Manifest | None:
        """Return a manifest; charged is also one whose charge is not in the store yet."""
        found = self.manifests.get(id)
        if found is None or not found.fixed or found.charged:
            return found
        running = (self.running[session] for session in self.sessions.get(found.key, ()))
        return found._replace(charged=any(each.meter.units and not each.give_back for each in running))

    def set_sums(self, sums: Mapping[SumsKey, TicketSums]) -> None:
        """Put in the sums of some payers, in place of those that were there."""
        for key, now in sums.items():
            of_model, before = self.model_sums.get(key.model, NO_SUMS), self.sums.get(key, NO_SUMS)
            self.model_sums[key.model] = of_model.plus(now, before)
            self.all_sums = self.all_sums.plus(now, before)
            self.sums[key] = now

    def seen(self, commitment: bytes) -> NonceSet:
        """Return the nonces that were used, those on their way included."""
        used, reserved = self.terms.get(commitment), self.reserved.get(commitment, NO_NONCES)
        return used.nonces | reserved if used else reserved

    def reserve(self, commitment: bytes, nonces: NonceSet) -> None:
        """Take nonces; they must be free."""
        self.reserved[commitment] = self.reserved.get(commitment, NO_NONCES) | nonces

    def release(self, commitment: bytes, nonces: NonceSet) -> None:
        """Take them out of those that are on their way."""
        left = self.reserved[commitment] - nonces
        if left:
            self.reserved[commitment] = left
        else:
            del self.reserved[commitment]

    def begin(self, running: RunningSession) -> None:
        """Add a session."""
        self.running[running.session.id] = running
        self.sessions.setdefault(running.key, set()).add(running.session.id)

    def charge(self, running: RunningSession, meter: Meter) -> None:
        """Charge a session up to this state of its meter."""
        due = meter.due_since(running.meter) * meter.price
        running.meter = meter
        if due:
            self.unwritten[running.key] = self.unwritten.get(running.key, ZERO) + due

    def written(self, key: LedgerKey, wei: Fraction) -> None:
        """Note that charges are in the store, or are dropped."""
        if wei:
            left = self.unwritten[key] - wei
            if left:
                self.unwritten[key] = left
            else:
                del self.unwritten[key]

    def end(self, running: RunningSession) -> None:
        """Drop a session of which everything is written."""
        del self.running[running.session.id]
        ids = self.sessions[running.key]
        ids.discard(running.session.id)
        if not ids:
            del self.sessions[running.key]

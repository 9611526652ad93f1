"""The kinds of changes that the ledger books. Each draws itself into a draft. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from orchd.domain.ids import ModelKey
from orchd.tickets.ledger.draft import LedgerDraft
from orchd.tickets.ledger.keyring import Keyring
from orchd.tickets.ledger.nonces import NonceSet
from orchd.tickets.ledger.ports import LedgerKey, Manifest
from orchd.tickets.ledger.tables import KeyRow
from orchd.tickets.ledger.values import LedgerAccount, WinnerState
from orchd.tickets.ledger.view import LedgerView
from orchd.tickets.validation.validate import Taken

AT_ONCE = 1000
"""Rows of one kind that one turn of tidying touches at most."""
FORGET_AFTER_S = 31 * 86_400.0
"""An account that holds nothing is kept until its journal may be folded."""
MOST_MANIFESTS = 100_000
"""Beyond that, those that were not used for longest go with what is left on them: each job of Live Runner's has one."""
ROUNDS_VALID = 2
"""A ticket can be redeemed in the round of its terms and in the next (payments.md, 6.5)."""


class Change(ABC):
    """One of them."""

    @abstractmethod
    def draw(self, draft: LedgerDraft) -> None:
        """Draw it into the draft."""

    def undo(self, view: LedgerView) -> None:  # noqa: B027 - most changes reserve nothing
        """It was not kept: free what it has reserved."""


@dataclass(frozen=True, slots=True)
class TakePayment(Change):
    """A payment is taken, and what the sessions of its account were charged is written with it.

    Attributes:
        taken: a payment that has terms; its nonces are reserved in the view.
        nonces: those.
        manifest: is kept, too; None = there is none.
    """

    taken: Taken
    nonces: NonceSet
    key: LedgerKey
    model: ModelKey
    manifest: Manifest | None = None

    def draw(self, draft: LedgerDraft) -> None:
        draft.take(self.taken, self.nonces, self.key, self.model)
        if self.manifest is not None:
            draft.manifests.promise(self.manifest)
        _write_sessions(draft, self.key)

    def undo(self, view: LedgerView) -> None:
        assert self.taken.terms is not None
        view.release(self.taken.terms.commitment, self.nonces)


@dataclass(frozen=True, slots=True)
class WriteCharges(Change):
    """What sessions were charged is written.

    Attributes:
        key: of which account; None = all.
    """

    key: LedgerKey | None = None

    def draw(self, draft: LedgerDraft) -> None:
        for key in [*draft.view.sessions] if self.key is None else [self.key]:
            _write_sessions(draft, key)


@dataclass(frozen=True, slots=True)
class MarkWinners(Change):
    """Something has become of winners. Those that are not owed any more stay as they are."""

    hashes: Collection[bytes]
    state: WinnerState

    def draw(self, draft: LedgerDraft) -> None:
        for hash in self.hashes:
            if (winner := draft.winner(hash)) is not None:
                draft.mark(hash, winner, self.state, owed=self.state is WinnerState.EXPORTED)


@dataclass(frozen=True, slots=True)
class Tidy(Change):
    """What is over goes: terms, idle credit, empty accounts, winners that can't be redeemed any more. A bounded part.

    Attributes:
        keep_credit_s: seconds that an idle credit is kept.
        round: the last initialized; 0 = not known.
        most_manifests: that are kept, but for those of sessions that are charged.
    """

    keep_credit_s: float
    round: int
    most_manifests: int = MOST_MANIFESTS

    def draw(self, draft: LedgerDraft) -> None:
        self._expire_terms(draft)
        self._expire_winners(draft)
        self._forget_manifests(draft)
        for key, account in islice(draft.view.accounts.items(), AT_ONCE):
            if draft.now - account.changed_at < min(self.keep_credit_s, FORGET_AFTER_S):
                break
            if key not in draft.accounts and key not in draft.forgotten and key not in draft.view.sessions:
                self._tidy_account(draft, key, account)

    def _forget_manifests(self, draft: LedgerDraft) -> None:
        view = draft.view
        unused = (
            key
            for key in view.accounts
            if draft.manifests.of(key) is not None and key not in view.sessions and key not in draft.accounts
        )
        for key in islice(unused, max(0, min(len(view.manifests) - self.most_manifests, AT_ONCE))):
            draft.forget(key)

    def _tidy_account(self, draft: LedgerDraft, key: LedgerKey, account: LedgerAccount) -> None:
        idle_s = draft.now - account.changed_at
        if account.balance > 0 and idle_s >= self.keep_credit_s:
            draft.forfeit(key)
        elif not account.balance and idle_s >= FORGET_AFTER_S:
            draft.forget(key)

    def _expire_terms(self, draft: LedgerDraft) -> None:
        l1_block = draft.state.l1_block

        def expired() -> Iterator[tuple[int, bytes]]:
            for block in sorted(block for block in draft.view.expiring if block <= l1_block):
                yield from ((block, commitment) for commitment in draft.view.expiring[block])

        for block, commitment in islice(expired(), AT_ONCE):
            draft.expire(block, commitment)

    def _expire_winners(self, draft: LedgerDraft) -> None:
        """One that was exported may have been redeemed: all that is known is that nothing is owed for it any more.

        All are looked at, which are those of two rounds: they stand in no order of rounds.
        """
        last = self.round - ROUNDS_VALID
        over = ((hash, winner) for hash, winner in draft.view.owed.items() if winner.creation_round <= last)
        for hash, winner in islice(over, AT_ONCE):
            if hash not in draft.owed:
                state = winner.state if winner.state is WinnerState.EXPORTED else WinnerState.EXPIRED
                draft.mark(hash, winner, state, owed=False)


@dataclass(frozen=True, slots=True)
class SetKeys(Change):
    """There are other secrets.

    Attributes:
        rows: as they are stored.
    """

    keys: Keyring
    rows: Sequence[KeyRow]

    def draw(self, draft: LedgerDraft) -> None:
        draft.keys = self.keys, self.rows


def _write_sessions(draft: LedgerDraft, key: LedgerKey) -> None:
    for id in draft.view.sessions.get(key, ()):
        draft.write_session(draft.view.running[id])

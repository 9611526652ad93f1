"""The kinds of changes that the ledger books. Each draws itself into a draft. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
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
"""Beyond that, those go that were not used for longest, with what is left on them: each job of a client's has one."""
MOST_ACCOUNTS = 2 * MOST_MANIFESTS
"""Beyond that, accounts that hold nothing are not kept for their journal."""
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


@dataclass(slots=True)
class Tidy(Change):
    """What is over goes: terms, idle credit, empty accounts, winners that can't be redeemed any more. A bounded part.

    Attributes:
        keep_credit_s: seconds that an idle credit is kept.
        round: the last initialized; 0 = not known.
        most_manifests: that are kept, but for those of sessions that are charged.
        most_accounts: beyond that, those that hold nothing go at once.
        at_once: rows of one kind that it touches at most.
        more: it has touched so many rows of one kind that there may be more to do; set when it is drawn.
    """

    keep_credit_s: float
    round: int
    most_manifests: int = MOST_MANIFESTS
    most_accounts: int = MOST_ACCOUNTS
    at_once: int = AT_ONCE
    more: bool = field(default=False, init=False)

    def draw(self, draft: LedgerDraft) -> None:
        touched = [
            *(self._expire_terms(draft), self._expire_winners(draft), self._forget_manifests(draft)),
            *(self._forget_empty(draft), self._tidy_accounts(draft)),
        ]
        self.more = max(touched) >= self.at_once

    # Each of these returns how many it has touched.

    def _forget_manifests(self, draft: LedgerDraft) -> int:
        """What is left on one is taken. Its account is kept then, as the journal tells of that; else that goes, too."""
        view = draft.view
        unused = (key for key in _untouched(draft) if draft.manifests.of(key) is not None)
        over = [*islice(unused, self._beyond(len(view.manifests), self.most_manifests))]
        for key in over:
            if view.accounts[key].balance > 0:
                draft.forfeit(key)
                draft.manifests.drop(key)
            else:
                draft.forget(key)
        return len(over)

    def _forget_empty(self, draft: LedgerDraft) -> int:
        view = draft.view
        empty = (key for key in _untouched(draft) if not view.accounts[key].balance and draft.manifests.of(key) is None)
        over = [*islice(empty, self._beyond(len(view.accounts), self.most_accounts))]
        for key in over:
            draft.forget(key)
        return len(over)

    def _beyond(self, count: int, most: int) -> int:
        return max(0, min(count - most, self.at_once))

    def _tidy_accounts(self, draft: LedgerDraft) -> int:
        touched = 0
        for key, account in islice(draft.view.accounts.items(), self.at_once):
            if draft.now - account.changed_at < min(self.keep_credit_s, FORGET_AFTER_S):
                break
            if _is_untouched(draft, key):
                touched += self._tidy_account(draft, key, account)
        return touched

    def _tidy_account(self, draft: LedgerDraft, key: LedgerKey, account: LedgerAccount) -> bool:
        idle_s = draft.now - account.changed_at
        if account.balance > 0 and idle_s >= self.keep_credit_s:
            draft.forfeit(key)
        elif not account.balance and idle_s >= FORGET_AFTER_S:
            draft.forget(key)
        else:
            return False
        return True

    def _expire_terms(self, draft: LedgerDraft) -> int:
        l1_block = draft.state.l1_block

        def expired() -> Iterator[tuple[int, bytes]]:
            for block in sorted(block for block in draft.view.expiring if block <= l1_block):
                yield from ((block, commitment) for commitment in draft.view.expiring[block])

        over = [*islice(expired(), self.at_once)]
        for block, commitment in over:
            draft.expire(block, commitment)
        return len(over)

    def _expire_winners(self, draft: LedgerDraft) -> int:
        """One that was exported may have been redeemed: all that is known is that nothing is owed for it any more.

        All are looked at, which are those of two rounds: they stand in no order of rounds.
        """
        last = self.round - ROUNDS_VALID
        past = ((hash, winner) for hash, winner in draft.view.owed.items() if winner.creation_round <= last)
        over = [*islice(past, self.at_once)]
        for hash, winner in over:
            if hash not in draft.owed:
                state = winner.state if winner.state is WinnerState.EXPORTED else WinnerState.EXPIRED
                draft.mark(hash, winner, state, owed=False)
        return len(over)


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


def _is_untouched(draft: LedgerDraft, key: LedgerKey) -> bool:
    """Return whether nothing is charged to an account, and this draft has not changed it."""
    return key not in draft.accounts and key not in draft.forgotten and key not in draft.view.sessions


def _untouched(draft: LedgerDraft) -> Iterator[LedgerKey]:
    """Yield the keys of such accounts; the one that was changed last comes last."""
    return (key for key in draft.view.accounts if _is_untouched(draft, key))


def _write_sessions(draft: LedgerDraft, key: LedgerKey) -> None:
    for id in draft.view.sessions.get(key, ()):
        draft.write_session(draft.view.running[id])

"""What the ledger holds, as values: its rows in memory. Pure."""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple

from orchd.domain.ids import ModelKey
from orchd.tickets.ledger.nonces import NO_NONCES, NonceSet
from orchd.tickets.validation.validate import Taken

ZERO = Fraction()


class WinnerState(StrEnum):
    """What has become of a winning ticket."""

    WON = "won"
    EXPORTED = "exported"
    REDEEMED = "redeemed"
    EXPIRED = "expired"


class EntryKind(StrEnum):
    """Why a balance has changed."""

    CREDIT = "credit"
    CHARGE = "charge"
    GIVEN_BACK = "given_back"
    FORFEITED = "forfeited"


class EntryState(StrEnum):
    """Whether a row of the journal may still change."""

    OPEN = "open"
    DONE = "done"
    DIED = "died"


class LedgerAccount(NamedTuple):
    """What is kept of one balance.

    Attributes:
        id: in the store.
        balance: wei, as it is in the store.
        changed_at: Unix time, seconds.
    """

    id: int
    balance: Fraction
    changed_at: float


class UsedTerms(NamedTuple):
    """Terms on which tickets were taken.

    Attributes:
        nonces: those that are in the store.
        published: the random number may be known.
    """

    expiration_block: int
    nonces: NonceSet = NO_NONCES
    published: bool = False


class JournalEntry(NamedTuple):
    """One row of the journal; see `migrations/001_ledger.sql`."""

    id: int
    account: int
    kind: EntryKind
    began_at: float
    at: float
    wei: Fraction
    tickets: int
    units: int
    price: Fraction
    session: str
    model: ModelKey
    state: EntryState


class OwedWinner(NamedTuple):
    """A winning ticket that may still be paid: what must be known of it at once.

    Attributes:
        payer: 20 bytes.
        face_value: wei.
        commitment: 32 bytes.
        creation_round: of its terms.
    """

    payer: bytes
    model: ModelKey
    face_value: int
    commitment: bytes
    creation_round: int
    state: WinnerState


class TicketSums(NamedTuple):
    """Sums over all tickets of one payer for one model.

    Attributes:
        tickets: how many.
        expected: what they are worth, in wei / (2**256 - 1).
        win_probs: the sum of their probabilities, in 1 / (2**256 - 1): how many winners to expect.
        win_prob_squares: the sum of the squares, in 1 / (2**256 - 1)**2.
        won, redeemed, expired: how many.
        won_wei, redeemed_wei, expired_wei: their face values.
    """

    tickets: int = 0
    expected: int = 0
    win_probs: int = 0
    win_prob_squares: int = 0
    won: int = 0
    won_wei: int = 0
    redeemed: int = 0
    redeemed_wei: int = 0
    expired: int = 0
    expired_wei: int = 0

    def plus(self, more: TicketSums, less: TicketSums) -> TicketSums:
        """Return them with some sums more, and others less."""
        return TicketSums(*(mine + add - take for mine, add, take in zip(self, more, less, strict=True)))

    def after(self, taken: Taken) -> TicketSums:
        """Return them with a payment."""
        terms, count = taken.terms, len(taken.nonces)
        if terms is None:
            return self
        return self._replace(
            tickets=self.tickets + count,
            expected=self.expected + terms.face_value * terms.win_prob * count,
            win_probs=self.win_probs + terms.win_prob * count,
            win_prob_squares=self.win_prob_squares + terms.win_prob**2 * count,
            won=self.won + len(taken.winners),
            won_wei=self.won_wei + terms.face_value * len(taken.winners),
        )

    def ended(self, winner: OwedWinner, state: WinnerState) -> TicketSums:
        """Return them when a winner was redeemed or has expired."""
        match state:
            case WinnerState.REDEEMED:
                return self._replace(redeemed=self.redeemed + 1, redeemed_wei=self.redeemed_wei + winner.face_value)
            case WinnerState.EXPIRED:
                return self._replace(expired=self.expired + 1, expired_wei=self.expired_wei + winner.face_value)
            case _:
                return self


NO_SUMS = TicketSums()


class SumsKey(NamedTuple):
    """Whose tickets for which model are added up."""

    model: ModelKey
    payer: bytes


class LedgerState(NamedTuple):
    """The one row about the ledger as a whole.

    Attributes:
        ledger: 16 random bytes.
        chain: id of the chain that the payments are for; 0 = none.
        commits: how many transactions have booked something.
        l1_block: the highest seen.
        day: UTC day of `earned_today`: Unix time / 86400.
        earned_today: wei.
    """

    ledger: bytes
    chain: int
    commits: int = 0
    l1_block: int = 0
    day: int = 0
    earned_today: Fraction = ZERO

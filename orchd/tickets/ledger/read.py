"""Reads what a ledger has kept: for commands, with and without a daemon. Light: no library.

Everything blocks, and raises StoreError where nothing can be read: in words that name the folder and what to do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, TypeVar

from orchd.database.beside import DATABASE, read_kept
from orchd.database.sql import Row, Sql
from orchd.domain.ids import ModelKey
from orchd.tickets.ledger.amounts import from_text
from orchd.tickets.standing import PayerStanding, TicketStanding, Winners
from orchd.tickets.statistics import Odds

SURE = 2**256 - 1
"""The win probability of a ticket that wins for sure."""
_PAGE = 1000
"""Winners that are read in one go."""
_JOURNAL_ROW_S = 3600
"""A session has a row of the journal for each hour."""
_SUMS = (
    "SELECT pipeline, model_id, payer, tickets, expected, win_probs, win_prob_squares,"
    " won, won_wei, redeemed, redeemed_wei, expired, expired_wei FROM ledger_sums"
)
_WINNER = (
    "SELECT hash, pipeline, model_id, payer, state, won_at, scheme, work, recipient, face_value, win_prob, commitment,"
    " nonce, sig, rand, creation_round, round_hash, expiration_block FROM ledger_winners"
)

_LEFT = "SELECT payer, balance FROM ledger_accounts WHERE scheme = ? AND balance <> '0'"
LIVE_RUNNER = "live-runner"
"""Name of the payment scheme: whose sessions have an account each."""

T = TypeVar("T")


class KeptWinner(NamedTuple):
    """A winning ticket, with all that a redemption needs. Addresses have 20 bytes, hashes 32.

    Attributes:
        hash: of the ticket.
        payer: its sender.
        state: won, exported, redeemed or expired.
        at: Unix time, seconds: when it was taken.
        face_value: wei. `win_prob`: of `SURE`.
        commitment: `recipientRandHash`. `rand`: 32 bytes, the random number to it.
        sig: 65 bytes, of the payer.
        expiration_block: L1 block from which on no ticket on its terms is taken.
    """

    hash: bytes
    model: ModelKey
    payer: bytes
    state: str
    at: float
    scheme: str
    work: str
    recipient: bytes
    face_value: int
    win_prob: int
    commitment: bytes
    nonce: int
    sig: bytes
    rand: bytes
    creation_round: int
    round_hash: bytes
    expiration_block: int

    def __repr__(self) -> str:  # The random number is a secret until the terms have expired.
        return f"KeptWinner({self.hash.hex()}, {self.state})"


class Movement(NamedTuple):
    """What has changed a balance.

    Attributes:
        began_at, at: Unix time, seconds, of its first and last part: a running session has one for each hour.
        kind: credit, charge, given_back or forfeited.
        wei: what it adds to the balance; a charge is negative.
        tickets: of a credit. `units`: of a charge, at `price` wei each.
        state: done; open = its session runs; died = orchd ended before the session did.
    """

    began_at: float
    at: float
    scheme: str
    work: str
    kind: str
    wei: Fraction
    tickets: int
    units: int
    price: Fraction
    model: ModelKey
    state: str


class KeptBalance(NamedTuple):
    """What a payer has in hand for one work. `changed_at`: Unix time, seconds. `wei`: below zero it is a debt."""

    scheme: str
    work: str
    wei: Fraction
    changed_at: float


class Leftover(NamedTuple):
    """What is left on sessions of Live Runner's that a payer has paid for.

    Attributes:
        sessions: how many have something left.
        wei: of all of them.
    """

    payer: bytes
    sessions: int
    wei: Fraction


class PayerHistory(NamedTuple):
    """What is kept of a payer.

    Attributes:
        balances: by scheme and work, but for those of Live Runner's sessions. Charges of the last seconds may not be
            written yet.
        left: of these sessions; None = none has anything left.
        movements: oldest first. `more`: there are older ones that were asked for.
    """

    balances: list[KeptBalance]
    left: Leftover | None
    movements: list[Movement]
    more: bool


class FoundWinners(NamedTuple):
    """Some winners, oldest first. `more`: there are older ones."""

    winners: list[KeptWinner]
    more: bool


class KeptLedger:
    """The ledger in a state directory. Every call reads the file as it is then.

    Args:
        state_dir: of the daemon; nothing is written there.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / DATABASE

    def standings(self) -> list[PayerStanding]:
        """Return what tickets came to, for each payer and model."""

        def find(sql: Sql) -> tuple[list[Row], list[Row]]:
            owed = sql.rows("SELECT pipeline, model_id, payer, face_value FROM ledger_winners WHERE owed = 1")
            return sql.rows(_SUMS), owed

        sums, winners = self.read(find)
        owed: defaultdict[tuple[str, str, bytes], Winners] = defaultdict(Winners)
        for *whose, face_value in winners:
            pipeline, model_id, payer = whose
            owed[pipeline, model_id, payer] += Winners(1, int(face_value))
        return [_standing(row, owed[row[0], row[1], row[2]]) for row in sums]

    def newest_winners(self, most: int) -> FoundWinners:
        """Return the winners that were taken last."""
        rows = self.read(lambda sql: sql.rows(f"{_WINNER} ORDER BY won_at DESC, hash DESC LIMIT ?", (most + 1,)))
        return FoundWinners([_winner(row) for row in rows[:most]][::-1], len(rows) > most)

    def owed_winners(self) -> Iterator[KeptWinner]:
        """Yield the winners that may still be redeemed, in any order, a page at a time."""
        after = b""
        where = f"{_WINNER} WHERE owed = 1 AND hash > ? ORDER BY hash LIMIT ?"
        while page := self.read(lambda sql, after=after: sql.rows(where, (after, _PAGE))):  # type: ignore[misc]
            yield from map(_winner, page)
            after = page[-1][0]

    def history(self, payer: bytes, since: float, most: int) -> PayerHistory:
        """Return the balances of a payer, and what has changed them.

        Args:
            since: Unix time; what ended before is left out.
            most: movements, the newest.
        """

        def find(sql: Sql) -> tuple[list[Row], list[Leftover], list[Row]]:
            balances = sql.rows(
                "SELECT scheme, work, balance, changed_at FROM ledger_accounts WHERE payer = ? AND scheme <> ?"
                " ORDER BY scheme, work",
                (payer, LIVE_RUNNER),
            )
            left = _leftovers(sql.rows(f"{_LEFT} AND payer = ?", (LIVE_RUNNER, payer)))
            movements = sql.rows(
                "SELECT j.began_at, j.at, a.scheme, a.work, j.kind, j.wei, j.tickets, j.units, j.price,"
                " j.pipeline, j.model_id, j.state FROM ledger_accounts a JOIN ledger_journal j ON j.account = a.id"
                " WHERE a.payer = ? AND j.began_at >= ? AND j.at >= ? ORDER BY j.at DESC, j.id DESC LIMIT ?",
                (payer, since - _JOURNAL_ROW_S, since, most + 1),
            )
            return balances, left, movements

        balances, left, movements = self.read(find)
        return PayerHistory(
            [KeptBalance(scheme, work, from_text(wei), at) for scheme, work, wei, at in balances],
            left[0] if left else None,
            [_movement(row) for row in movements[:most]][::-1],
            len(movements) > most,
        )

    def leftovers(self) -> list[Leftover]:
        """Return what is left on Live Runner's sessions, by payer: those with most first."""
        return _leftovers(self.read(lambda sql: sql.rows(_LEFT, (LIVE_RUNNER,))))

    def payers(self) -> list[bytes]:
        """Return all payers of whom anything is kept."""
        union = "SELECT payer FROM ledger_accounts UNION SELECT payer FROM ledger_sums"
        return [row[0] for row in self.read(lambda sql: sql.rows(union))]

    def read(self, work: Callable[[Sql], T]) -> T:
        """Return what `work` finds, all of it as of one moment.

        Raises:
            StoreError: there is no ledger, or it can't be read.
        """
        return read_kept(
            self._path,
            work,
            table="ledger_sums",
            cannot="cannot read the ledger",
            without="has none; one is kept from the first start with `tickets` in hooks.order on",
        )


def _leftovers(rows: Iterable[Row]) -> list[Leftover]:
    """`rows`: of payer and balance."""
    found: dict[bytes, list[Fraction]] = {}
    for payer, balance in rows:
        found.setdefault(payer, []).append(from_text(balance))
    left = [Leftover(payer, len(amounts), sum(amounts, Fraction())) for payer, amounts in found.items()]
    return sorted(left, key=lambda each: (-each.wei, each.payer))


def _standing(row: Row, owed: Winners) -> PayerStanding:
    pipeline, model_id, payer, tickets, expected, win_probs, squares, *worth = row
    won, redeemed, expired = (Winners(worth[n], int(worth[n + 1])) for n in (0, 2, 4))
    odds = Odds(tickets, Fraction(int(win_probs), SURE), Fraction(int(squares), SURE**2))
    standing = TicketStanding(odds, Fraction(int(expected), SURE), won, redeemed, expired, owed)
    return PayerStanding(ModelKey(pipeline, model_id), payer, standing)


def _winner(row: Row) -> KeptWinner:
    hash, pipeline, model_id, payer, state, at, scheme, work, recipient, face_value, win_prob, *rest = row
    model = ModelKey(pipeline, model_id)
    return KeptWinner(hash, model, payer, state, at, scheme, work, recipient, int(face_value), int(win_prob), *rest)


def _movement(row: Row) -> Movement:
    began_at, at, scheme, work, kind, wei, tickets, units, price, pipeline, model_id, state = row
    model = ModelKey(pipeline, model_id)
    return Movement(began_at, at, scheme, work, kind, from_text(wei), tickets, units, from_text(price), model, state)

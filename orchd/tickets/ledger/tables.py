"""What the ledger keeps, over the shared database. `migrations/001_ledger.sql` says what each column is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from orchd.database.sql import Row, Sql
from orchd.domain.ids import ModelKey
from orchd.errors import StoreError
from orchd.tickets.ledger.amounts import from_text, to_text
from orchd.tickets.ledger.nonces import unpack
from orchd.tickets.ledger.ports import LedgerKey
from orchd.tickets.ledger.values import (
    EntryState,
    JournalEntry,
    LedgerAccount,
    LedgerState,
    OwedWinner,
    SumsKey,
    TicketSums,
    UsedTerms,
    WinnerState,
)
from orchd.tickets.validation.signatures import u256
from orchd.tickets.validation.tickets import TicketTerms
from orchd.tickets.validation.validate import Winner


class KeyRow(NamedTuple):
    """A secret as it is stored."""

    kind: str
    id: int
    secret: bytes
    sealed: bool
    made_at: float
    replaced_at: float | None


class WinnerRow(NamedTuple):
    """A winner with all that its redemption needs."""

    winner: Winner
    terms: TicketTerms
    key: LedgerKey
    model: ModelKey
    at: float


# -- the ledger as a whole -------------------------------------------------------------------------------------------


def find_state(sql: Sql) -> LedgerState | None:
    """Return the row about the ledger; None = it was never opened."""
    row = sql.row("SELECT ledger, chain, commits, l1_block, day, earned_today FROM ledger_state")
    return LedgerState(row[0], row[1], row[2], row[3], row[4], from_text(row[5])) if row else None


def begin(sql: Sql, state: LedgerState) -> None:
    """Write the row as it is when the ledger is opened."""
    sql.change(
        "INSERT OR REPLACE INTO ledger_state (id, ledger, chain, commits, l1_block, day, earned_today)"
        " VALUES (1, ?, ?, ?, ?, ?, ?)",
        (*state[:5], to_text(state.earned_today)),
    )


def put_state(sql: Sql, state: LedgerState) -> None:
    """Write the row after one more transaction.

    Raises:
        StoreError: somebody else has written meanwhile.
    """
    changed = sql.change(
        "UPDATE ledger_state SET commits = ?, l1_block = ?, day = ?, earned_today = ? WHERE commits = ?",
        (*state[2:5], to_text(state.earned_today), state.commits - 1),
    )
    if changed != 1:
        raise StoreError("cannot write the ledger: another program has changed it; restart orchd")


def commits(sql: Sql) -> int:
    """Return how many transactions have booked something."""
    row = sql.row("SELECT commits FROM ledger_state")
    return int(row[0]) if row else 0


# -- secrets ---------------------------------------------------------------------------------------------------------


def find_keys(sql: Sql) -> list[KeyRow]:
    """Return all secrets, as they are stored."""
    rows = sql.rows("SELECT kind, id, secret, sealed, made_at, replaced_at FROM ledger_keys ORDER BY made_at, kind, id")
    return [KeyRow(*row) for row in rows]


def put_keys(sql: Sql, rows: Sequence[KeyRow]) -> None:
    """Write these in place of all others."""
    sql.change("DELETE FROM ledger_keys")
    sql.change_all(
        "INSERT INTO ledger_keys (kind, id, secret, sealed, made_at, replaced_at) VALUES (?, ?, ?, ?, ?, ?)", rows
    )


# -- terms -----------------------------------------------------------------------------------------------------------


def find_terms(sql: Sql) -> dict[bytes, UsedTerms]:
    """Return the terms that are kept."""
    rows = sql.rows("SELECT commitment, expiration_block, nonces, published FROM ledger_terms")
    return {row[0]: UsedTerms(row[1], unpack(row[2]), bool(row[3])) for row in rows}


def put_terms(sql: Sql, terms: Mapping[bytes, UsedTerms]) -> None:
    """Write terms, each in place of what was kept of it."""
    sql.change_all(
        "INSERT INTO ledger_terms (commitment, expiration_block, nonces, published) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (commitment) DO UPDATE SET nonces = excluded.nonces, published = excluded.published",
        [(commitment, used.expiration_block, used.nonces.pack(), used.published) for commitment, used in terms.items()],
    )


def drop_terms(sql: Sql, commitments: Iterable[bytes]) -> None:
    """Drop terms."""
    sql.change_all("DELETE FROM ledger_terms WHERE commitment = ?", [(each,) for each in commitments])


def drop_all_terms(sql: Sql) -> None:
    """Drop all terms."""
    sql.change("DELETE FROM ledger_terms")


# -- accounts --------------------------------------------------------------------------------------------------------


def find_accounts(sql: Sql) -> dict[LedgerKey, LedgerAccount]:
    """Return all accounts; the one that was changed last comes last."""
    rows = sql.rows("SELECT scheme, payer, work, id, balance, changed_at FROM ledger_accounts ORDER BY changed_at, id")
    return {LedgerKey(*row[:3]): LedgerAccount(row[3], from_text(row[4]), row[5]) for row in rows}


def put_accounts(sql: Sql, accounts: Mapping[LedgerKey, LedgerAccount]) -> None:
    """Write accounts, each in place of what was kept of it."""
    sql.change_all(
        "INSERT INTO ledger_accounts (id, scheme, payer, work, balance, checkpoint, changed_at)"
        " VALUES (?, ?, ?, ?, ?, '0', ?)"
        " ON CONFLICT (id) DO UPDATE SET balance = excluded.balance, changed_at = excluded.changed_at",
        [(account.id, *key, to_text(account.balance), account.changed_at) for key, account in accounts.items()],
    )


def drop_accounts(sql: Sql, ids: Collection[int]) -> None:
    """Drop accounts and what is left of their journal."""
    sql.change_all("DELETE FROM ledger_journal WHERE account = ?", [(id,) for id in ids])
    sql.change_all("DELETE FROM ledger_accounts WHERE id = ?", [(id,) for id in ids])


# -- the journal -----------------------------------------------------------------------------------------------------


def put_entries(sql: Sql, entries: Iterable[JournalEntry]) -> None:
    """Write rows, each in place of what it was before."""
    sql.change_all(
        "INSERT INTO ledger_journal (id, account, kind, began_at, at, wei, tickets, units, price, session, pipeline,"
        " model_id, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
        " at = excluded.at, wei = excluded.wei, units = excluded.units, state = excluded.state",
        [
            (
                *entry[:5],
                to_text(entry.wei),
                *entry[6:8],
                to_text(entry.price),
                entry.session,
                *entry.model,
                entry.state,
            )
            for entry in entries
        ],
    )


def close_dead_sessions(sql: Sql) -> int:
    """Close the rows of sessions that an orchd before this one has left open; return how many."""
    return sql.change("UPDATE ledger_journal SET state = ? WHERE state = 'open'", (EntryState.DIED,))


def fold(sql: Sql, before: float, most: int) -> int:
    """Add the oldest rows to the checkpoints of their accounts and drop them; return how many.

    Args:
        before: Unix time; younger rows are left.
        most: how many rows at most are looked at.
    """
    rows = sql.rows("SELECT id, account, wei, at, state FROM ledger_journal ORDER BY id LIMIT ?", (most,))
    old = [row for row in rows if row[3] < before and row[4] != EntryState.OPEN]
    sums: dict[int, list[str]] = {}
    for _, account, wei, _, _ in old:
        sums.setdefault(account, []).append(wei)
    for account, amounts in sums.items():
        row = sql.row("SELECT checkpoint FROM ledger_accounts WHERE id = ?", (account,))
        total = sum(map(from_text, amounts), from_text(row[0]) if row else from_text("0"))
        sql.change("UPDATE ledger_accounts SET checkpoint = ? WHERE id = ?", (to_text(total), account))
    sql.change_all("DELETE FROM ledger_journal WHERE id = ?", [row[:1] for row in old])
    return len(old)


def next_ids(sql: Sql) -> tuple[int, int]:
    """Return ids that no account and no row of the journal has had since the last fold."""
    row = sql.row(
        "SELECT (SELECT coalesce(max(id), 0) FROM ledger_accounts), (SELECT coalesce(max(id), 0) FROM ledger_journal)"
    )
    assert row is not None
    return row[0] + 1, row[1] + 1


# -- winners ---------------------------------------------------------------------------------------------------------


def find_owed(sql: Sql) -> dict[bytes, OwedWinner]:
    """Return the winners that may still be paid, by hash."""
    rows = sql.rows(
        "SELECT hash, payer, pipeline, model_id, face_value, commitment, creation_round, state FROM ledger_winners"
        " WHERE owed = 1"
    )
    return {row[0]: _owed(row) for row in rows}


def _owed(row: Row) -> OwedWinner:
    _, payer, pipeline, model_id, face_value, commitment, creation_round, state = row
    return OwedWinner(
        payer, ModelKey(pipeline, model_id), int(face_value), commitment, creation_round, WinnerState(state)
    )


def put_winners(sql: Sql, rows: Iterable[WinnerRow]) -> None:
    """Write new winners."""
    sql.change_all(
        "INSERT INTO ledger_winners (hash, scheme, payer, work, pipeline, model_id, recipient, face_value, win_prob,"
        " commitment, nonce, sig, rand, creation_round, round_hash, expiration_block, won_at, state, state_at, owed)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
        [
            (
                *(winner.hash, *key, *model, terms.recipient, str(terms.face_value), str(terms.win_prob)),
                *(terms.commitment, winner.nonce, winner.sig, u256(winner.rand), terms.creation_round),
                *(terms.round_hash, terms.expiration_block, at, WinnerState.WON, at),
            )
            for winner, terms, key, model, at in rows
        ],
    )


def mark_winners(sql: Sql, marks: Iterable[tuple[bytes, WinnerState, bool]], at: float) -> None:
    """Write what has become of winners: hash, state, and whether it may still be paid."""
    sql.change_all(
        "UPDATE ledger_winners SET state = ?, state_at = ?, owed = ? WHERE hash = ?",
        [(state, at, owed, hash) for hash, state, owed in marks],
    )


# -- sums ------------------------------------------------------------------------------------------------------------


def find_sums(sql: Sql) -> dict[SumsKey, TicketSums]:
    """Return all sums."""
    rows = sql.rows(
        "SELECT pipeline, model_id, payer, tickets, expected, win_probs, win_prob_squares, won, won_wei, redeemed,"
        " redeemed_wei, expired, expired_wei FROM ledger_sums"
    )
    return {SumsKey(ModelKey(row[0], row[1]), row[2]): TicketSums(*map(int, row[3:])) for row in rows}


def put_sums(sql: Sql, sums: Mapping[SumsKey, TicketSums]) -> None:
    """Write sums, each in place of what was kept of it."""
    sql.change_all(
        "INSERT OR REPLACE INTO ledger_sums (pipeline, model_id, payer, tickets, expected, win_probs, win_prob_squares,"
        " won, won_wei, redeemed, redeemed_wei, expired, expired_wei) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                *(*key.model, key.payer, each.tickets, str(each.expected), str(each.win_probs)),
                *(str(each.win_prob_squares), each.won, str(each.won_wei), each.redeemed, str(each.redeemed_wei)),
                *(each.expired, str(each.expired_wei)),
            )
            for key, each in sums.items()
        ],
    )

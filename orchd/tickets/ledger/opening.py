"""How a ledger is opened: loaded, its secrets read, and seen to be no older than it should be."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from orchd.database.database import Database
from orchd.database.sql import Sql
from orchd.errors import Code, StoreError
from orchd.tickets.ledger import tables
from orchd.tickets.ledger.keyring import KeyKind, Keyring, LedgerSecret, new_secrets
from orchd.tickets.ledger.manifests import find_manifests
from orchd.tickets.ledger.marker import ID_BYTES, Marker
from orchd.tickets.ledger.sealing import Seal
from orchd.tickets.ledger.tables import KeyRow
from orchd.tickets.ledger.values import LedgerState
from orchd.tickets.ledger.view import LedgerView

log = structlog.get_logger("orchd.ledger")

LOAD_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class OpenedLedger:
    """A ledger that can be used.

    Attributes:
        void_why: why all terms that were out there are void now; empty = they are not.
        died: sessions that an orchd before has left unended.
    """

    view: LedgerView
    keys: Keyring
    void_why: str
    died: int


async def open_ledger(
    database: Database, marker: Marker, seal: Seal | None, *, chain_id: int | None, now: float, void_why: str
) -> OpenedLedger:
    """Load the ledger, or begin one, and close what died with the orchd before.

    Args:
        seal: None = secrets are kept as they are.
        chain_id: of the chain that payments are for; None = the same as before. Another one than before makes new
            secrets, and its blocks count from the start.
        now: Unix time, seconds.
        void_why: why new secrets are asked for; empty = they are made if there are none, or the store is old.

    Raises:
        StoreError: it can't be read or written, or its secrets were sealed with another key.
    """
    found = await database.read(tables.find_state)
    state = found or LedgerState(secrets.token_bytes(ID_BYTES), chain_id or 0)
    marked = marker.read(state.ledger)
    void_why = void_why or _older(state, marked)
    if chain_id not in (None, state.chain):
        void_why = void_why or f"payments were for the chain {state.chain} before, and are for {chain_id} now"
        state = state._replace(chain=chain_id)
    rows = await database.read(tables.find_keys)
    fresh = Keyring(new_secrets(now, secrets.token_bytes, [row.id for row in rows]))
    keys = fresh if void_why or not rows else Keyring(tuple(_read_keys(rows, seal)))
    if void_why:  # With the new secrets in one transaction: a kill before it leaves a store that is old as before.
        state = state._replace(commits=max(state.commits, marked or 0) + 1, l1_block=0)

    def begin(sql: Sql) -> int:
        tables.begin(sql, state)
        tables.put_keys(sql, key_rows(keys, seal))
        if keys is fresh:
            tables.drop_all_terms(sql)  # They are void.
        return tables.close_dead_sessions(sql)

    try:
        died = await database.transaction(begin)
    except StoreError as exc:
        if keys is fresh:  # Nothing may be made with secrets that the next start does not know.
            raise
        log.warning("ledger_not_written", reason=exc.message)
        died = 0
    view = await database.read(lambda sql: load(sql, state), LOAD_TIMEOUT_S)
    return OpenedLedger(view, keys, void_why, died)


def _older(state: LedgerState, marked: int | None) -> str:
    """Return in words why the ledger may have been put back from a backup; empty = it was not."""
    if marked is None:
        return "the marker beside the database is missing" if state.commits else ""
    if marked > state.commits:
        return f"the database is older than the marker beside it, by {marked - state.commits} transactions"
    return ""


def load(sql: Sql, state: LedgerState) -> LedgerView:
    """Return what the store holds."""
    next_account, next_entry = tables.next_ids(sql)
    view = LedgerView(
        state,
        accounts=tables.find_accounts(sql),
        manifests=find_manifests(sql),
        terms=tables.find_terms(sql),
        next_account=next_account,
        next_entry=next_entry,
    )
    view.set_sums(tables.find_sums(sql))
    for commitment, used in view.terms.items():
        view.expiring[used.expiration_block].add(commitment)
    for hash, winner in tables.find_owed(sql).items():
        view.owe(hash, winner)
    return view


def key_rows(keys: Keyring, seal: Seal | None) -> list[KeyRow]:
    """Return secrets as they are stored."""
    return [
        KeyRow(
            each.kind,
            each.id,
            each.secret if seal is None else seal.close(each.secret, _about(each.kind, each.id)),
            seal is not None,
            each.made_at,
            each.replaced_at,
        )
        for each in keys.secrets
    ]


def _read_keys(rows: Iterable[KeyRow], seal: Seal | None) -> Iterable[LedgerSecret]:
    for row in rows:
        kind, secret = KeyKind(row.kind), row.secret
        if row.sealed:
            try:
                if seal is None:
                    raise ValueError("no key is given")
                secret = seal.open(secret, _about(kind, row.id))
            except ValueError as exc:
                raise StoreError(
                    "cannot read the ledger's secrets: they were encrypted with another key than the one in "
                    "tickets.key_file; put that key back, or make new secrets with `orchd tickets rotate`, which "
                    "makes all terms void that payers hold",
                    code=Code.SECRET_UNREADABLE,
                ) from exc
        yield LedgerSecret(kind, row.id, secret, row.made_at, row.replaced_at)


def _about(kind: str, id: int) -> bytes:
    return f"{kind} {id}".encode()

"""What `orchd tickets` changes in a ledger while no daemon runs: under the lock of the state directory."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from orchd.chain.tables import forget_blocks
from orchd.database.beside import DATABASE
from orchd.database.database import Database
from orchd.errors import OrchdError, reason_of
from orchd.locks import StateLock
from orchd.settings.secrets import read_secret
from orchd.settings.tree import Settings
from orchd.tickets.ledger.books import Books
from orchd.tickets.ledger.sealing import Seal

WHY = "an operator has asked for new secrets"


def rotate(state_dir: Path, settings: Settings) -> None:
    """Make new secrets. The former ones are not even read: they may be encrypted with a key that is lost.

    Since all terms are void then, the highest L1 block is forgotten, too: a server may have lied about it.

    Raises:
        OrchdError: a daemon has started meanwhile; there is no database; it can't be written.
    """
    _change(state_dir, settings, WHY, _forget_blocks)


def mark(state_dir: Path, settings: Settings, hashes: Collection[bytes]) -> None:
    """Note that winners were exported.

    Raises:
        OrchdError: as `rotate`; or its secrets can't be read.
    """
    _change(state_dir, settings, "", lambda books, _: books.exported(hashes))


Work = Callable[[Books, Database], Awaitable[None]]
"""What is done with the ledger once it is open, and by that has new secrets if they were asked for."""


async def _forget_blocks(_books: Books, database: Database) -> None:
    await database.transaction(forget_blocks)


def _change(state_dir: Path, settings: Settings, void_why: str, work: Work) -> None:
    path = state_dir / DATABASE
    try:
        owner = path.stat().st_uid
    except OSError as exc:
        raise OrchdError(
            f"cannot change the ledger: {path} can't be read: {reason_of(exc)}; run this as the user that runs orchd, "
            "and name its state directory with --state-dir"
        ) from exc
    if owner != os.geteuid():  # Else files would be left here that the daemon can't open.
        raise OrchdError(
            f"cannot change the ledger: no daemon runs, and {path} belongs to {_name_of(owner)}; run this as that "
            f"user: sudo -u {_name_of(owner)} orchd tickets ..."
        )
    lock = StateLock(state_dir)
    lock.acquire()
    try:
        asyncio.run(_open_and(path, settings, void_why, work))
    finally:
        lock.release()


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


async def _open_and(path: Path, settings: Settings, void_why: str, work: Work) -> None:
    key = read_secret("tickets.key_file", settings.tickets.key_file, os.environ)
    database = Database(path)
    await database.open()
    try:
        books = Books(database, path.parent, None if key is None else Seal(key))
        await books.open(void_why)
        try:
            await work(books, database)
        finally:
            await books.close()
    finally:
        await database.close()

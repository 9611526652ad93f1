"""What is kept of sold sessions beside their streams: the secret that their tokens are made with."""

from __future__ import annotations

import secrets

from orchd.database.database import Database
from orchd.database.sql import Sql
from orchd.sold.token import SECRET_BYTES


async def kept_secret(database: Database) -> bytes:
    """Return the secret, making one where none is kept or it can't be read; on the disk when this returns.

    Raises:
        StoreError.
    """
    return await database.transaction(lambda sql: _secret(sql, secrets.token_bytes(SECRET_BYTES)))


def _secret(sql: Sql, new: bytes) -> bytes:
    row = sql.row("SELECT secret FROM sold_secret WHERE id = 1")
    if row and isinstance(row[0], bytes) and len(row[0]) == SECRET_BYTES:
        return row[0]
    sql.change("INSERT OR REPLACE INTO sold_secret (id, secret) VALUES (1, ?)", (new,))
    return new

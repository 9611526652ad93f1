"""What orchd and the node beside it must go on agreeing on: random keys, heartbeat secrets and the like, by name."""

from __future__ import annotations

from pathlib import Path

from orchd.database.beside import read_beside
from orchd.database.database import Database
from orchd.database.sql import Sql
from orchd.domain.offer import NodeProgram
from orchd.errors import StoreError

PROGRAM_NAME = "node program"
"""The name under which the program is kept that was beside orchd last."""


class SecretTable:
    """`stores.SecretStore` over the shared database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def secret(self, name: str) -> str | None:
        return await self._database.read(lambda sql: find_secret(sql, name))

    async def secrets(self) -> dict[str, str]:
        """Return everything that is kept and can be read, by name."""
        return await self._database.read(all_secrets)

    async def save_secret(self, name: str, value: str) -> None:
        await self._database.transaction(lambda sql: put_secret(sql, name, value))

    async def forget_secret(self, name: str) -> None:
        await self._database.transaction(lambda sql: drop_secret(sql, name))


def find_secret(sql: Sql, name: str) -> str | None:
    """Return what is kept under this name; None = nothing that can be read."""
    row = sql.row("SELECT value FROM secrets WHERE name = ?", (name,))
    return row[0] if row and isinstance(row[0], str) else None


def all_secrets(sql: Sql) -> dict[str, str]:
    """Return everything that is kept and can be read, by name."""
    rows = sql.rows("SELECT name, value FROM secrets ORDER BY name")
    return {name: value for name, value in rows if isinstance(name, str) and isinstance(value, str)}


def put_secret(sql: Sql, name: str, value: str) -> None:
    """Keep it, in place of what was there."""
    sql.change("INSERT OR REPLACE INTO secrets (name, value) VALUES (?, ?)", (name, value))


def drop_secret(sql: Sql, name: str) -> None:
    """Drop it. What is not there is fine."""
    sql.change("DELETE FROM secrets WHERE name = ?", (name,))


def program_of(kept: str | None) -> NodeProgram | None:
    """Return the program that was kept; None = none, or one of another version of orchd."""
    return NodeProgram(kept) if kept in set(NodeProgram) else None


def last_program(path: Path) -> NodeProgram | None:
    """Return which program a daemon saw last, from its database at `path`; None = not known. Blocks.

    For commands beside the daemon: nothing is written, and no file is made.
    """
    try:
        return program_of(read_beside(path, lambda sql: find_secret(sql, PROGRAM_NAME)))
    except StoreError:
        return None

"""What the chain part keeps: the highest L1 block ever seen, by chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from orchd.database.database import Database
from orchd.database.sql import Sql


@dataclass(frozen=True, slots=True)
class KeptBlock:
    """The highest L1 block seen, as it is kept.

    Attributes:
        seen_at: Unix time, seconds.
    """

    l1_block: int = 0
    seen_at: float = 0.0


class BlockStore(Protocol):
    """Keeps it, for one chain."""

    async def kept(self) -> KeptBlock:
        """Return what is kept; block 0 = nothing."""
        ...

    async def keep(self, block: KeptBlock) -> None:
        """Keep it, unless a higher one is kept. It is on the disk when this returns.

        Raises:
            StoreError: it is not.
        """
        ...


class BlockTable:
    """`BlockStore` over the shared database."""

    def __init__(self, database: Database, chain_id: int) -> None:
        self._database = database
        self._chain_id = chain_id

    async def kept(self) -> KeptBlock:
        """As `BlockStore.kept`."""
        return await self._database.read(lambda sql: find_block(sql, self._chain_id))

    async def keep(self, block: KeptBlock) -> None:
        """As `BlockStore.keep`."""
        await self._database.transaction(lambda sql: put_block(sql, self._chain_id, block))


def find_block(sql: Sql, chain_id: int) -> KeptBlock:
    """Return the highest block kept of a chain."""
    row = sql.row("SELECT l1_block, seen_at FROM l1_blocks WHERE chain_id = ?", (chain_id,))
    if row and isinstance(row[0], int) and isinstance(row[1], int | float):
        return KeptBlock(row[0], float(row[1]))
    return KeptBlock()


def put_block(sql: Sql, chain_id: int, block: KeptBlock) -> None:
    """Keep a block unless a higher one is kept."""
    sql.change(
        "INSERT INTO l1_blocks (chain_id, l1_block, seen_at) VALUES (?, ?, ?) ON CONFLICT (chain_id) DO UPDATE SET "
        "l1_block = excluded.l1_block, seen_at = excluded.seen_at WHERE excluded.l1_block > l1_block",
        (chain_id, block.l1_block, block.seen_at),
    )


def forget_blocks(sql: Sql) -> None:
    """Forget the highest blocks. All terms must be void by then: those that have expired might be taken."""
    sql.change("DELETE FROM l1_blocks")

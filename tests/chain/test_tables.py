"""The highest L1 block, over the real database."""

from __future__ import annotations

from pathlib import Path

from orchd.chain.tables import BlockTable, KeptBlock
from tests.database.parts import opened_own


async def test_the_highest_block_of_each_chain_is_kept(tmp_path: Path) -> None:
    async with opened_own(tmp_path) as database:
        one, two = BlockTable(database, 42161), BlockTable(database, 31337)
        assert await one.kept() == KeptBlock(0, 0.0)
        await one.keep(KeptBlock(100, 5.0))
        await one.keep(KeptBlock(99, 6.0))
        await two.keep(KeptBlock(7, 1.5))
    async with opened_own(tmp_path) as database:
        assert await BlockTable(database, 42161).kept() == KeptBlock(100, 5.0)
        assert await BlockTable(database, 31337).kept() == KeptBlock(7, 1.5)

"""What is kept for the node is there in the next life, by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from orchd.database.beside import DATABASE
from orchd.domain.offer import NodeProgram
from orchd.domain.stores import SecretStore
from orchd.node.tables import PROGRAM_NAME, SecretTable, last_program
from tests.database.parts import opened_own

SECRET = "planted-9c1f77aa02"


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[SecretStore]:
    async with opened_own(folder) as database:
        yield SecretTable(database)


async def test_a_secret_is_there_in_the_next_life_until_it_is_forgotten(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        assert await store.secret("key") is None
        await store.save_secret("key", "first")
        await store.save_secret("key", SECRET)
        await store.save_secret("other ü", "")
    async with opened(tmp_path) as store:
        assert [await store.secret(name) for name in ("key", "other ü", "none")] == [SECRET, "", None]
        await store.forget_secret("key")
        await store.forget_secret("key")
        assert await store.secret("key") is None


async def test_a_command_beside_the_daemon_knows_which_program_was_seen_last(tmp_path: Path) -> None:
    assert last_program(tmp_path / DATABASE) is None
    for kept, program in (("livepeer-node", NodeProgram.LIVEPEER_NODE), ("a later one", None)):
        async with opened(tmp_path) as store:
            await store.save_secret(PROGRAM_NAME, kept)
            assert last_program(tmp_path / DATABASE) is program
        assert last_program(tmp_path / DATABASE) is program

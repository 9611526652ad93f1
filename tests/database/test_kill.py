"""kill -9 in the middle of many transactions: each that was reported as done is there, and none is half done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.database.parts import ids, opened

WRITER = """
import asyncio, os, sys
from functools import partial
from pathlib import Path
from orchd.database.database import Database
from orchd.tasks import cancel, spawn
from tests.database.parts import PARTS, add_left, add_pair

def halfway(sql, id):
    add_left(sql, id)
    raise LookupError(id)

async def main():
    database = Database(Path(sys.argv[1]), PARTS)
    await database.open()

    async def caller(first):
        for id in range(first, first + 1_000_000, 3):
            await database.transaction(partial(add_pair, id=id))
            os.write(2, b"%d\\n" % id)  # Whole at once: a pipe keeps what was written before the kill.
            try:
                await database.transaction(partial(halfway, id=id + 1))
            except LookupError:
                pass
            waiting = spawn(database.transaction(partial(add_pair, id=id + 2)), name="cancelled")
            await asyncio.sleep(0)
            await cancel(waiting)

    await asyncio.gather(*(caller(n * 1_000_000) for n in range(16)))

asyncio.run(main())
"""


@pytest.mark.parametrize("told", [1, 40, 333])
async def test_a_kill_leaves_all_that_was_reported_and_nothing_half_done(told: int, tmp_path: Path) -> None:
    reported = killed_after(told, tmp_path / "orchd.db")
    assert len(reported) >= told
    async with opened(tmp_path) as database:
        left, right = await database.read(ids)
    assert left == right
    assert reported <= left
    assert not [id for id in left if id % 1_000_000 % 3 == 1], "of a transaction that has failed"


def killed_after(told: int, file: Path) -> set[int]:
    """Return the transactions that a child has reported as done before it was killed."""
    command = [sys.executable, "-c", WRITER, str(file)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[2]
    ) as child:
        assert child.stderr
        lines = [child.stderr.readline() for _ in range(told)]
        child.kill()
        lines += child.stderr.readlines()
    return {int(line) for line in lines if line.endswith(b"\n")}

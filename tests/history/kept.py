"""A state directory in which something was kept, without a daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from orchd import tasks
from orchd.database.database import Database
from orchd.domain.ids import ModelKey, RunnerId
from orchd.history.part import HistoryPart
from orchd.part import Context
from tests.database.parts import opened_own

KEY, OTHER = ModelKey("llm", "org/a"), ModelKey("image", "b")
RUNNER = RunnerId(KEY, 0, "0123456789ab")


@asynccontextmanager
async def history(database: Database) -> AsyncIterator[HistoryPart]:
    """One life of the part, ended cleanly."""
    context = cast(Context, SimpleNamespace(settings=SimpleNamespace(instance="t")))
    part = HistoryPart(context, cast(Any, SimpleNamespace(database=database)))
    await part.open()
    await part.start()
    roots = [tasks.spawn(work, name=name) for name, work in part.roots().items()]
    try:
        yield part
    finally:
        await tasks.cancel(*roots)
        await part.close()


@asynccontextmanager
async def kept_in(folder: Path) -> AsyncIterator[HistoryPart]:
    """One life of the part over a database of its own."""
    async with opened_own(folder) as database, history(database) as part:
        yield part

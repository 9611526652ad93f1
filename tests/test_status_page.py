"""`/status` in pieces: the same as the whole, bounded between pauses, kept for models that have not changed."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from orchd.admin.status_page import StatusPage
from orchd.domain.ids import ModelKey
from orchd.domain.state import Snapshot, SoldCount
from orchd.errors import OrchdError
from orchd.pieces import PIECE_BYTES, PIECES
from orchd.status_view import Json, status
from tests.fakes import snapshots
from tests.fakes.snapshots import NODE, beside, snapshot


def many(count: int) -> Snapshot:
    """Return a snapshot of so many models, problems and models of which sessions were sold."""
    of = [snapshots.model("llm", f"m-{n}") for n in range(count)]
    [problem, *_] = snapshot().problems
    sold = tuple(SoldCount(one.key, persistent=True, paid=1) for one in of)
    return replace(
        snapshot(), models={one.key: snapshots.status(one) for one in of}, problems=(problem,) * count, sold=sold
    )


class Pages:
    """A page, the snapshot that it shows, and what was made between two pauses."""

    def __init__(self, shown: Snapshot) -> None:
        self.shown = shown
        self.page = StatusPage(self.snapshot, self.pause, self.dump)
        self.made: list[str] = []
        self.between: list[list[str]] = []
        self.snapshots = 0

    def dump(self, piece: Json) -> str:
        self.made.append(json.dumps(piece))
        return self.made[-1]

    async def snapshot(self) -> Snapshot:
        self.snapshots += 1
        return self.shown

    async def pause(self) -> None:
        self.between.append(self.made)
        self.made = []
        await asyncio.sleep(0)

    async def read(self, model: str | None = None) -> object:
        return json.loads(b"".join(await self.page.page(model)))


@pytest.mark.parametrize("shown", [Snapshot(), snapshot(), beside(NODE)])
async def test_the_page_is_the_same_as_the_whole(shown: Snapshot) -> None:
    pages = Pages(shown)
    for _ in range(2):
        assert await pages.read() == json.loads(json.dumps(status(shown)))
    for key in shown.models:
        assert await pages.read(str(key)) == json.loads(json.dumps(status(shown, key)))
    with pytest.raises(OrchdError, match="cannot find model 'nope'"):
        await pages.read("nope")


async def test_between_two_pauses_few_models_and_few_bytes_are_rendered() -> None:
    pages = Pages(many(500))
    await pages.read()
    assert sum(map(len, pages.between)) + len(pages.made) == 3 * 500 + len(pages.shown.runtimes) + 1, (
        "and what is beside them"
    )
    for texts in (*pages.between, pages.made):
        assert len(texts) <= PIECES + 1
        assert sum(map(len, texts[:-1])) <= PIECE_BYTES
    assert max(map(len, await pages.page.page())) < 100_000


async def test_only_a_model_that_has_changed_is_made_again() -> None:
    pages = Pages(replace(many(50), problems=(), sold=None))
    await pages.read()
    pages.between.clear()
    key = ModelKey("llm", "m-7")
    models = dict(pages.shown.models)
    models[key] = replace(models[key], reason="it is tired")
    del models[ModelKey("llm", "m-8")]
    pages.shown = replace(pages.shown, models=models)
    assert await pages.read() == json.loads(json.dumps(status(pages.shown)))
    assert sum(map(len, pages.between)) + len(pages.made) == 2 + len(pages.shown.runtimes), "and what is beside them"


async def test_readers_at_once_share_one_rendering() -> None:
    pages = Pages(many(100))
    first, *others = await asyncio.gather(*(pages.page.page() for _ in range(5)))
    assert all(one is first for one in others)
    assert pages.snapshots == 1
    assert await pages.page.page() is not first

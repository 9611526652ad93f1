"""`orchd down`, as the daemon does it: it says what it waits for. Time is virtual."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from orchd.control.down import TakeDown
from orchd.control.orders import Asker
from orchd.history.ports import Kind
from tests.virtual_time import virtual_time


class Ends:
    async def end_all(self, tell: Callable[[str], None]) -> tuple[str, ...]:
        tell("one runner")
        return ()

    async def elsewhere(self) -> list[str]:
        return []

    def note(self, kind: Kind, text: str, **_: object) -> None:
        """Nobody reads it."""


async def lines(drain_s: float, waits: Callable[[], str]) -> list[str]:
    async def drain() -> None:
        await asyncio.sleep(drain_s)

    down = TakeDown(Ends(), Ends(), drain, waits, lambda why: None, Ends())  # type: ignore[arg-type]
    return [str(news["line"]) async for news in down.run({}, Asker(0, "test"))]


@virtual_time
async def test_a_drain_that_takes_a_while_says_why_once_for_each_reason() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    got = await lines(30, lambda: "a stream" if loop.time() - began < 10 else "a job")
    assert got == [
        "no new jobs are taken; waiting for those that run",
        "waiting for a stream",
        "waiting for a job",
        "one runner",
    ]


@virtual_time
async def test_a_quick_drain_says_nothing() -> None:
    assert await lines(1, lambda: "a stream") == ["no new jobs are taken; waiting for those that run", "one runner"]


@virtual_time
async def test_a_drain_that_fails_fails_the_order() -> None:
    async def drain() -> None:
        raise ValueError("broken")

    down = TakeDown(Ends(), Ends(), drain, lambda: "", lambda why: None, Ends())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="broken"):
        [news async for news in down.run({}, Asker(0, "test"))]

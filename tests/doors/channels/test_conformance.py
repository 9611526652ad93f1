"""The cases of docs/protocol/trickle.md 13 over real sockets, with TLS and without, in one story for each channel."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.advertise.rig import until
from tests.doors.channels.wire import TYPE, Wire, wired
from tests.public.rig import LOOPS, on

BIG = bytes(range(250)) * 12_000  # 3 MB, as in case 11.


async def case_1(wire: Wire) -> None:
    """A fresh channel."""
    assert await wire.head() == 0
    ahead = await wire.get(2)
    assert (ahead.status, ahead.told, await ahead.body()) == (470, {"seq": "2", "latest": "0"}, b"Entry not found")
    waiting = await wire.wait(-1)
    await wire.post(0, b"x")
    assert (await (await waiting.answer()).body(), waiting.told) == (b"x", {"seq": "0"})


async def case_2_and_3(wire: Wire) -> None:
    """Readers get what is there, and then each piece as it comes."""
    first, upload = await wire.wait(-1), await wire.preconnect(0)
    assert await wire.head() == 0
    await upload.say(b"one")
    assert (await (await first.answer()).read(3), first.told, first.headers["content-type"]) == (
        b"one",
        {"seq": "0"},
        TYPE,
    )
    assert await wire.head() == 1
    late, ahead = await wire.get(-2), await wire.wait(-1)
    assert (await late.read(3), late.told) == (b"one", {"seq": "0", "latest": "1"})
    await upload.say(b"two")
    assert (await first.read(3), await late.read(3)) == (b"two", b"two")
    await upload.say(b"")
    assert (await upload.answer()).status == 200
    assert upload.told == {"seq": "0"}
    assert (await first.body(), await late.body()) == (b"", b"")
    await wire.post(1, b"three")
    assert (await (await ahead.answer()).body(), ahead.told) == (b"three", {"seq": "1"})


async def case_4(wire: Wire) -> None:
    """Five are held."""
    for seq in range(8):
        await wire.post(seq, b"%d" % seq)
    assert (await wire.get(2)).status == 470
    assert await (await wire.get(3)).body() == b"3"
    ahead = await wire.get(9)
    assert (ahead.status, ahead.told["latest"]) == (470, "8")
    await wire.wait(8)


async def case_5(wire: Wire) -> None:
    """A preconnect evicts the oldest."""
    for seq in range(7):
        await wire.post(seq, b"%d" % seq)
    assert await (await wire.get(2)).body() == b"2"
    await wire.preconnect(7)
    assert (await wire.get(2)).status == 470
    assert await (await wire.get(3)).body() == b"3"


async def case_6(wire: Wire) -> None:
    """An empty segment counts."""
    empty = await wire.post(0, b"")
    assert (empty.status, empty.told, empty.headers["connection"]) == (200, {"seq": "0"}, "close")
    assert await empty.ended() == b""
    read = await wire.get(0)
    assert (read.status, read.told, await read.body()) == (200, {"seq": "0", "latest": "1"}, b"")
    assert (await wire.post(-1, b"x")).told == {"seq": "1"}


async def case_7_of_a_channel(wire: Wire) -> None:
    """Its removal ends who waits."""
    waiting, upload = await wire.wait(0), await wire.preconnect(0)
    assert await wire.delete("a") == 200
    assert (await upload.answer()).told == {"seq": "0", "closed": "terminated"}
    assert upload.headers["connection"] == "close"
    assert (await waiting.answer()).told == {"seq": "0", "latest": "0", "closed": "terminated"}
    later = await wire.get(0)
    assert (later.status, await later.body()) == (404, b"Stream not found\n")
    assert await wire.delete("a") == 400
    late = await wire.open("POST", "a/0", "Transfer-Encoding: chunked")
    assert ((await late.answer()).status, late.headers["connection"]) == (404, "close")


async def case_7_of_a_segment(wire: Wire) -> None:
    """Its end, too."""
    waiting, upload = await wire.wait(0), await wire.preconnect(0)
    assert await wire.delete("a/0") == 200
    assert (await upload.answer()).told == {"seq": "0"}
    assert (await waiting.answer()).told == {"seq": "0", "latest": "1"}


async def case_8(wire: Wire) -> None:
    """A broken upload is resumed."""
    waiting, upload = await wire.wait(0), await wire.preconnect(0)
    await upload.say(b"one")
    assert await (await waiting.answer()).read(3) == b"one"
    upload.leave()
    await until("the writer has left", lambda: wire.store.channels.requests == 1)
    await wire.post(0, b"two")
    assert await waiting.body() == b"two"
    assert await (await wire.get(0)).body() == b"onetwo"


async def case_9(wire: Wire) -> None:
    """A reset ends the readers of lower segments."""
    upload = await wire.preconnect(0)
    await upload.say(b"one")
    await until("the byte is there", lambda: wire.store.head("a") == 1)
    reading = await wire.get(0)
    assert (await wire.post(-1, b"new", "a", "Lp-Trickle-Reset: 1")).told == {"seq": "1"}
    assert await reading.body() == b"one"
    assert await (await wire.get(1)).body() == b"new"


async def case_10(wire: Wire) -> None:
    """Readers get the channel's type."""
    await wire.post(0, b"x", "a", "Content-Type: text/plain")
    assert (await wire.get(0)).headers["content-type"] == TYPE


async def case_11(wire: Wire) -> None:
    """A slow reader keeps what it holds."""
    await wire.post(0, BIG)
    slow = await wire.get(0)
    for seq in range(1, 8):
        await wire.post(seq, b"x")
    assert await slow.body() == BIG
    assert (await wire.get(1)).told == {"seq": "1", "latest": "8"}


async def case_12(wire: Wire) -> None:
    """What comes for an ended segment is lost."""
    for _ in range(3):
        await wire.post(-1, b"old")
    again = await wire.post(1, b"new")
    assert (again.status, again.told) == (200, {"seq": "1"})
    assert (await (await wire.get(1)).body(), await wire.head()) == (b"old", 3)


CASES: tuple[Callable[[Wire], Awaitable[None]], ...] = (
    case_1,
    case_2_and_3,
    case_4,
    case_5,
    case_6,
    case_7_of_a_channel,
    case_7_of_a_segment,
    case_8,
    case_9,
    case_10,
    case_11,
    case_12,
)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_each_case_goes_as_written(loop: Callable[[], asyncio.AbstractEventLoop], tls: bool, tmp_path: Path) -> None:
    async def all_cases() -> None:
        async with wired(tmp_path, tls=tls) as wire:
            for case in CASES:
                wire.store.remove("a")
                wire.leave()
                await until("all have left", lambda: not wire.store.channels.requests)
                wire.store.create("a", TYPE, "session_a")
                await case(wire)

    on(loop, all_cases)

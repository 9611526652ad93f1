"""Uploads that never end, over real sockets: they hold all that channels may hold, and others are served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from orchd.channels.bounds import Bounds
from tests.advertise.rig import until
from tests.doors.channels.wire import TYPE, wired
from tests.public.rig import LOOPS, on

TIGHT = Bounds(segment_bytes=100_000, channel_bytes=300_000, all_bytes=300_000)


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_a_session_that_holds_all_with_open_uploads_gives_the_largest_to_another(
    loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path
) -> None:
    async def story() -> None:
        async with wired(tmp_path, TIGHT) as wire:
            wire.store.create("greedy", TYPE, "session_b")
            uploads = []
            for seq, size in enumerate((99_000, 100_000, 99_000)):
                upload = await wire.open("POST", f"greedy/{seq}", "Transfer-Encoding: chunked")
                uploads.append(await upload.say(bytes(size)))
            await until("all their bytes are held", lambda: wire.store.channels.size == 298_000)
            reading = await wire.get(1, "greedy")
            assert await reading.read(100_000) == bytes(100_000)

            served = await wire.post(0, b"x" * 90_000)

            assert (served.status, served.told) == (200, {"seq": "0"})
            assert await (await wire.get(0)).body() == b"x" * 90_000
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reading.piece()
            refused = await uploads[1].answer()
            assert (refused.status, refused.told, refused.headers["connection"]) == (503, {"seq": "1"}, "close")
            for upload in (uploads[0], uploads[2]):
                await upload.say(b"")
                assert (await upload.answer()).status == 200

    on(loop, story)

"""A client that has gone without a word is noticed, and one that is only quiet is not taken for gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from orchd.domain.phases import StreamPhase
from orchd.realtime.clients import LOOK_S, ClientWatch
from orchd.realtime.routes import StreamCall
from orchd.tasks import cancel, spawn
from tests.jobs.test_channels import OURS, Stage, removed
from tests.jobs.test_realtime import LIVE
from tests.virtual_time import virtual_time

SILENCE_S = 60.0
LONG_S = SILENCE_S + 3 * LOOK_S


@asynccontextmanager
async def watched() -> AsyncIterator[Stage]:
    stage = Stage()
    await stage.start()
    watching = spawn(ClientWatch(stage.keeper, SILENCE_S).run(), name="watch")
    try:
        yield stage
    finally:
        await cancel(watching)


@virtual_time
async def test_a_client_that_sends_nothing_any_more_is_taken_for_gone() -> None:
    async with watched() as stage:
        await asyncio.sleep(SILENCE_S - LOOK_S)
        assert stage.stream().phase is StreamPhase.RUNNING
        await asyncio.sleep(LONG_S)
        await stage.settle()
        assert list(stage.keeper.streams) == []
        assert stage.containers.calls == [StreamCall.START, StreamCall.STOP]
        assert (len(removed(stage)), stage.active, stage.told_node) == (1, 0, ["s1"])


@pytest.mark.parametrize("channel", ["in", "control"])
def test_video_and_keep_alives_are_signs_of_life(channel: str) -> None:
    @virtual_time
    async def run() -> None:
        async with watched() as stage:
            for _ in range(10):
                await asyncio.sleep(SILENCE_S / 2)
                assert stage.node.heads is not None
                stage.node.heads[channel] += 1
            assert stage.stream().phase is StreamPhase.RUNNING

    run()


@virtual_time
async def test_so_is_a_request() -> None:
    async with watched() as stage:
        for _ in range(10):
            await asyncio.sleep(SILENCE_S / 2)
            await stage.ask("status", body=b"", via=LIVE, headers=OURS)
        assert stage.stream().phase is StreamPhase.RUNNING


@virtual_time
async def test_a_node_that_does_not_answer_counts_against_no_client() -> None:
    async with watched() as stage:
        stage.node.heads = None
        await asyncio.sleep(LONG_S)
        stage.node.heads = {"in": 0, "control": 0}
        await asyncio.sleep(SILENCE_S - LOOK_S)
        assert stage.stream().phase is StreamPhase.RUNNING


@virtual_time
async def test_a_client_that_has_closed_its_channels_is_silent() -> None:
    async with watched() as stage:
        stage.node.heads = {}
        await asyncio.sleep(LONG_S)
        await stage.settle()
        assert list(stage.keeper.streams) == []


@pytest.mark.parametrize(
    "instead", [(503, '{"error":"server busy"}'), (500, "fault"), (404, "<html>"), (200, "<html>")]
)
def test_an_answer_that_says_nothing_of_the_channels_counts_against_no_client(instead: tuple[int, str]) -> None:
    """A node that is busy for minutes, and a proxy in front of it."""

    @virtual_time
    async def run() -> None:
        async with watched() as stage:
            stage.node.instead = instead
            await asyncio.sleep(LONG_S)
            assert stage.stream().phase is StreamPhase.RUNNING

    run()

"""A client that has gone without a word is noticed, and one that is only quiet is not taken for gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from orchd.domain.model import StreamSpec
from orchd.domain.phases import StreamPhase
from orchd.domain.stores import StoredStream
from orchd.realtime.channels import IN, MIME_TYPES, OUT
from orchd.realtime.clients import LOOK_S, ClientWatch
from orchd.realtime.own_channels import OwnChannels
from orchd.realtime.routes import StreamCall
from orchd.sold.runner_side.session_channels import new_channel
from orchd.tasks import cancel, spawn
from tests.fakes.stored import FakeStreamStore
from tests.jobs.fakes import Bench
from tests.jobs.model import KEY, a_model, runner_of
from tests.jobs.test_channels import OURS, Stage, removed
from tests.jobs.test_realtime import LIVE
from tests.jobs.test_sold_restart import next_orchd
from tests.realtime.test_own_channels import Side, set_up
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


# Sessions that orchd sells, over a restart.


@asynccontextmanager
async def found_again(*names: str) -> AsyncIterator[tuple[Bench, Side]]:
    """Yield an orchd in which a free session runs on whose stream an earlier one has started with these channels."""
    side, channels = set_up()
    for name in names:
        channel = side.made[name] = new_channel(name, MIME_TYPES[name])
        side.store.create(channel.channel_name, channel.mime_type, "m1")
    store = FakeStreamStore()
    store.kept[KEY, "m1"] = StoredStream("m1", "sold", runner_of(KEY), 5.0, None, started=True)
    model = a_model(persistent=True, stream=StreamSpec(post_starts_stream=True), session_idle_s=1e6)
    own_channels = partial(OwnChannels, side, channels.urls)
    bench = await next_orchd(store, models=(model,), own_channels=own_channels)
    bench.open()
    await bench.settle()
    watching = spawn(ClientWatch(bench.keeper, SILENCE_S).run(), name="watch")
    try:
        yield bench, side
    finally:
        await cancel(watching)


def write(side: Side, name: str) -> None:
    side.store.publish(side.made[name].channel_name, b"x")


@virtual_time
async def test_a_client_that_has_gone_over_a_restart_gives_its_slot_back_though_its_container_works_on() -> None:
    async with found_again(*MIME_TYPES) as (bench, side):
        for _ in range(8):
            write(side, OUT)
            await asyncio.sleep(LOOK_S)
        await bench.idle()
        assert (bench.sold.all(), bench.table.active(KEY), side.made) == ([], 0, {})


@virtual_time
async def test_one_that_sends_video_after_a_restart_is_there() -> None:
    async with found_again(*MIME_TYPES) as (bench, side):
        for _ in range(20):
            write(side, IN)
            await asyncio.sleep(LOOK_S)
        assert bench.table.active(KEY) == 1


@virtual_time
async def test_one_that_has_brought_media_of_its_own_is_not_looked_for_in_what_its_container_has_made() -> None:
    async with found_again(IN, OUT) as (bench, _):
        await asyncio.sleep(LONG_S)
        assert bench.table.active(KEY) == 1

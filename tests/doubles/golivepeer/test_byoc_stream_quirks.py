"""Streams have the quirks of byoc.md 6: who ends them, what that does to the slot, and what workers are told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from fractions import Fraction

import pytest

from tests.doubles.golivepeer.byoc_streams import TICK_S
from tests.doubles.golivepeer.chain import FUNDED, Chain
from tests.doubles.golivepeer.kit import NAME, SECRET, Kit, kit

ALL = '{"enable_video_ingress": true, "enable_video_egress": true, "enable_data_output": true}'


@pytest.fixture
async def off() -> AsyncIterator[Kit]:
    async with kit() as running:
        await running.register()
        yield running


def paths(running: Kit) -> list[str]:
    return [seen.path for seen in running.worker.take()[0]]


async def test_a_stream_holds_its_slot_until_it_is_stopped(off: Kit) -> None:
    assert (await off.stream("start")).status == 200
    await off.clock.advance(3600)
    assert off.capability.load == 1
    assert (await off.stream("stop")).status == 200
    assert off.capability.load == 0
    for _ in range(2):
        assert (await off.stream("stop")).status == 200
    assert off.capability.load == 0
    assert paths(off) == ["/stream/start"] + ["/stream/stop"] * 3


async def test_the_caller_s_body_overwrites_what_the_node_says(off: Kit) -> None:
    answer = await off.stream("start", parameters=ALL, body='{"control_url": "mine", "params": null}')
    (seen,), _ = off.worker.take()
    said = json.loads(seen.body)
    assert said["control_url"] == "mine"
    assert said["params"] is None
    assert answer.header("X-Control-Url") == f"{off.node.service_uri}/ai/trickle/cam1-control"
    assert said["subscribe_url"] == answer.header("X-Publish-Url")
    assert said["publish_url"] == answer.header("X-Subscribe-Url")


async def test_workers_are_told_another_host_if_the_flag_says_so() -> None:
    async with kit(trickle_host_for_runner="host.docker.internal:8935") as running:
        await running.register()
        answer = await running.stream("start", parameters=ALL)
        (seen,), _ = running.worker.take()
        said = json.loads(seen.body)
        assert said["events_url"] == "https://host.docker.internal:8935/ai/trickle/cam1-events"
        assert answer.header("X-Events-Url") == f"{running.node.service_uri}/ai/trickle/cam1-events"


async def test_channels_live_from_start_to_stop(off: Kit) -> None:
    await off.stream("start", parameters=ALL)
    # Writing to a channel's next segment is refused once there is no channel.
    for suffix in ("", "-out", "-control", "-events", "-data"):
        assert (await off.call("POST", f"/ai/trickle/cam1{suffix}/0", {}, "x")).status == 200
    await off.stream("stop")
    assert (await off.call("GET", "/ai/trickle/cam1/0")).status == 404


async def test_a_second_start_starts_the_worker_again_and_closes_the_first_one_s_channels(off: Kit) -> None:
    await off.stream("start", parameters=ALL)
    again = await off.stream("start", parameters=ALL)
    assert (again.status, again.text) == (500, "Error adding stream to external capabilities\n")
    assert paths(off) == ["/stream/start"] * 2
    assert off.capability.load == 1
    assert (await off.call("GET", "/ai/trickle/cam1/0")).status == 404
    assert "cam1" in off.node.byoc.streams


async def test_a_worker_s_refusal_passes_through_and_frees_the_slot(off: Kit) -> None:
    await off.register(url=off.worker_url + "/status503")
    answer = await off.stream("start")
    assert (answer.status, off.capability.load) == (503, 0)
    assert answer.header("X-Control-Url") is not None
    assert (await off.stream("stop")).status == 503
    assert (await off.stream("update")).status == 503


async def test_a_late_worker_frees_the_slot_of_a_start(off: Kit) -> None:
    await off.register(url="http://127.0.0.1:9")
    assert (await off.stream("start")).status == 500
    assert off.capability.load == 0


async def test_unregistering_cuts_a_running_stream_off(off: Kit) -> None:
    await off.stream("start")
    await off.call("POST", "/capability/unregister", SECRET, NAME)
    paths(off)
    stopped = await off.stream("stop")
    assert (stopped.status, stopped.body) == (200, b"")
    assert (await off.stream("update")).status == 500
    assert paths(off) == []


async def test_the_slot_of_a_later_registration_is_given_back_instead(off: Kit) -> None:
    await off.stream("start")
    await off.call("POST", "/capability/unregister", SECRET, NAME)
    await off.clock.advance(TICK_S)
    await off.register()
    await off.stream("stop")
    assert off.capability.load == -1


async def test_a_large_negative_capacity_hides_and_still_stops(off: Kit) -> None:
    await off.stream("start")
    await off.register(capacity=-1000000)
    assert "available_capacity" not in json.loads((await off.token()).text)
    paths(off)
    await off.stream("stop")
    assert paths(off) == ["/stream/stop"]


async def test_a_stream_without_money_is_forgotten_at_the_second_tick_and_its_slot_leaks() -> None:
    async with kit(on_chain=Chain()) as running:
        await running.register(price_per_unit=500_000_000)
        running.node.byoc.credit[FUNDED, NAME] = Fraction(32_000_000_000)
        started = await running.stream("start", parameters=ALL)
        assert started.header("Livepeer-Balance") == "31495000000"
        for balance in (19_880_000_000, 8_265_000_000, -3_350_000_000):
            await running.clock.advance(TICK_S)
            assert running.node.byoc.credit[FUNDED, NAME] == balance
            assert "cam1" in running.node.byoc.streams
        paths(running)
        await running.clock.advance(TICK_S)
        assert "cam1" not in running.node.byoc.streams
        assert (paths(running), running.capability.load) == ([], 1), "nobody told the worker"
        assert (await running.call("GET", "/ai/trickle/cam1/0")).status == 404

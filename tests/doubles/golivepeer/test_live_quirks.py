"""The Live Runner double has the quirks of live-runner.md 10, and what its sections 2, 3, 6 and 7 say beside them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.golivepeer.chain import Chain
from tests.doubles.golivepeer.live_kit import PRICE, LiveKit, live_kit
from tests.doubles.golivepeer.live_static import BadDocument
from tests.doubles.golivepeer.node import Node, NodeSettings
from tests.doubles.shared.recordings import BOUND_S, eventually


@pytest.fixture
async def live() -> AsyncIterator[LiveKit]:
    """An off-chain node with the registry, nothing registered."""
    async with live_kit() as running:
        yield running


@pytest.fixture
async def on_chain() -> AsyncIterator[LiveKit]:
    """An on-chain node with the registry; 3,000 dollars an ETH."""
    async with live_kit(on_chain=Chain()) as running:
        yield running


# 1. Refusals of heartbeats, in their order


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"runner_url": "x"}, "invalid runner_url"),
        ({"runner_url": "ftp://h"}, "invalid runner_url"),
        ({"app": ""}, "app must be trimmed"),
        ({"app": " a"}, "app must be trimmed"),
        ({"capacity": -1}, "capacity must not be negative"),
        ({"mode": "other"}, "mode must be persistent or single-shot"),
        ({"metadata": "x" * 1025}, "metadata must be at most 1024 bytes of valid UTF-8"),
        ({"price_info": {"price": "x"}}, "price_info.price must be a decimal number"),
        ({"capacity": "2"}, "json: cannot unmarshal string into Go struct field .capacity of type int"),
    ],
)
async def test_rules_are_checked_before_the_secret(live: LiveKit, fields: dict[str, Any], why: str) -> None:
    answer = await live.heartbeat("wrong", **fields)
    assert (answer.status, answer.text) == (400, f"{why}\n")


async def test_a_swept_runner_is_401_and_one_waiting_for_the_sweep_404_for_every_secret(live: LiveKit) -> None:
    await live.clock.advance(2)
    await live.heartbeat()
    old = live.secret
    await live.clock.advance(20)
    assert await live.listed()  # strictly longer than the TTL
    await live.clock.advance(0.5)
    assert not await live.listed()
    for secret in (old, "s3cret", "wrong"):
        answer = await live.heartbeat(secret)
        assert (answer.status, answer.text) == (404, "runner not found\n")
    await live.clock.advance(2.5)
    assert (await live.heartbeat(old)).text == "invalid registration authorization\n"
    assert (await live.heartbeat("s3cret")).status == 200
    assert live.secret != old


async def test_a_heartbeat_without_an_id_is_a_new_runners(live: LiveKit) -> None:
    await live.heartbeat()
    assert (await live.heartbeat(live.secret, runner_id="")).status == 401
    assert json.loads((await live.heartbeat("s3cret", runner_id="")).text)["runner_id"].startswith("runner_")


async def test_without_a_secret_of_the_node_nobody_registers(tmp_path: Path) -> None:
    config = tmp_path / "runners.json"
    config.write_text('{"runners": []}')
    async with live_kit(orch_secret=None, live_runner_config=config) as node:
        answer = await node.heartbeat("")
        assert (answer.status, answer.text) == (404, "dynamic live runner registration is disabled\n")


async def test_without_the_registry_every_route_says_so() -> None:
    async with live_kit(use_live_runners=False) as node:
        for method, target in [("GET", "/discovery"), ("POST", "/runners/heartbeat"), ("POST", "/apps/a/session")]:
            answer = await node.call(method, target)
            assert (answer.status, answer.text) == (404, "live runners are not supported\n")


async def test_other_methods_are_405_with_allow(live: LiveKit) -> None:
    answer = await live.call("GET", "/runners/heartbeat")
    assert (answer.status, answer.header("Allow")) == (405, "POST")
    assert (await live.call("DELETE", "/runner/a/session/b/channels")).status == 404
    assert (await live.call("PUT", "/runner/a/session/b/channels")).header("Allow") == "DELETE, POST"


# 2. Answers to heartbeats


async def test_the_secret_and_the_event_channel_are_told_once(live: LiveKit) -> None:
    first, second = [json.loads((await live.heartbeat()).text) for _ in range(2)]
    assert len(first["heartbeat_secret"]) == 52
    assert first["o2r"]["url"].endswith(f"/ai/trickle/{first['o2r']['channel_name']}")
    assert {"heartbeat_secret", "o2r"} & set(second) == set()
    assert (second["heartbeat_interval"], second["heartbeat_ttl"]) == ("5s", "20s")


async def test_session_ids_are_the_nodes_and_those_sent_are_ignored(live: LiveKit) -> None:
    assert json.loads((await live.heartbeat(session_ids=["mine"], capacity=2)).text)["session_ids"] == []
    one, two = await live.reserve(), await live.reserve()
    assert json.loads((await live.heartbeat(session_ids=[], capacity=2)).text)["session_ids"] == [one, two]


async def test_a_field_left_out_returns_to_its_default(live: LiveKit) -> None:
    gpu = {"id": "0", "name": "L40S", "vram_mb": 46068}
    await live.heartbeat(capacity=3, version="1", metadata="m", gpu=gpu, mode="single_shot")
    (shown,) = await live.listed()
    assert list(shown)[:7] == ["url", "gpu", "app", "version", "metadata", "mode", "capacity"]
    assert (shown["mode"], shown["capacity"], shown["gpu"]) == ("single-shot", 3, gpu)
    await live.heartbeat()
    (shown,) = await live.listed()
    assert shown == {
        "url": f"{live.node.service_uri}/apps/one/session",
        "app": "echo/one",
        "mode": "persistent",
        "capacity": 1,
        "capacity_used": 0,
        "capacity_available": 1,
    }


# 3. Capacity


async def test_capacity_0_counts_as_1_and_lowering_it_under_the_sessions_shows_below_0(live: LiveKit) -> None:
    await live.heartbeat(capacity=0)
    assert [shown["capacity"] for shown in await live.listed()] == [1]
    await live.heartbeat(capacity=3)
    sessions = [await live.reserve() for _ in range(3)]
    await live.heartbeat(capacity=1)
    (shown,) = await live.listed()
    assert (shown["capacity_used"], shown["capacity_available"]) == (3, -2)
    assert [(await live.use(session)).status for session in sessions] == [200] * 3


# 4. and 5. Static runners


async def test_a_batch_with_one_bad_entry_changes_nothing(live: LiveKit) -> None:
    answer = await live.register_static({"label": "a"}, {"label": "b", "app": ""})
    assert (answer.status, answer.text) == (400, "runners[1]: app must be trimmed\n")
    assert not await live.listed()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"label": ""}, "label must be trimmed"),
        ({"label": "a/b"}, "label must not contain / with label routing"),
        ({"routing": "other"}, "routing must be runner-id or label"),
        ({"health_url": "health"}, "invalid health_url"),
        ({"healthy_status_code": 99}, "healthy_status_code must be between 100 and 599"),
    ],
)
async def test_rules_of_static_entries(live: LiveKit, fields: dict[str, Any], why: str) -> None:
    assert (await live.register_static(fields)).text == f"runners[0]: {why}\n"


async def test_what_is_not_in_a_later_batch_stays(live: LiveKit) -> None:
    await live.register_static({"label": "a"}, {"label": "b"})
    await live.register_static({"label": "c"})
    assert json.loads((await live.cli("/registerLiveRunners", "POST", {}, "{}")).text) == {"runners": []}
    assert len(await live.listed()) == 3


async def test_an_upsert_keeps_id_and_sessions_and_moves_the_route_at_once(live: LiveKit) -> None:
    (before,) = json.loads((await live.register_static()).text)["runners"]
    session = await live.reserve("lab")
    (after,) = json.loads((await live.register_static({"routing": "runner-id", "capacity": 5})).text)["runners"]
    assert after["runner_id"] == before["runner_id"]
    assert (await live.use(session, route="lab")).status == 404
    assert (await live.use(session, route=after["runner_id"])).status == 200
    assert [shown["capacity"] for shown in await live.listed()] == [5]


async def test_health_is_asked_at_registration_one_after_another_for_3_s_each(live: LiveKit) -> None:
    live.worker.health_delay_s = 60
    async with asyncio.timeout(BOUND_S), asyncio.TaskGroup() as tasks:
        registering = tasks.create_task(live.register_static({"label": "a"}, {"label": "b"}))
        for passed in (0.0, 3.0):
            await eventually(lambda: len(live.clock._busy) == 1, "a check is under way")
            assert live.clock.now() == passed
            await live.clock.advance(3)
    answer = registering.result()
    assert [runner["healthy"] for runner in json.loads(answer.text)["runners"]] == [False, False]


async def test_one_bad_check_hides_and_ends_the_sessions_and_one_good_one_shows_again(live: LiveKit) -> None:
    await live.register_static()
    session = await live.reserve("lab")
    live.worker.health_status = 500
    await live.clock.advance(5)
    assert not await live.listed()
    live.worker.health_status = 200
    await live.clock.advance(5)
    assert [shown["capacity_used"] for shown in await live.listed()] == [0]
    assert (await live.use(session, route="lab")).text == "runner session not found\n"


async def test_a_repost_checks_at_once(live: LiveKit) -> None:
    await live.register_static()
    live.worker.health_status = 503
    (shown,) = json.loads((await live.register_static()).text)["runners"]
    assert shown["healthy"] is False
    assert not await live.listed()


async def test_a_relative_health_url_is_appended_to_the_runners_path(live: LiveKit) -> None:
    answer = await live.register_static({"runner_url": f"{live.worker_url}/base/", "health_url": "/health"})
    assert json.loads(answer.text)["runners"][0]["health_url"] == f"{live.worker_url}/base/health"


async def test_the_file_is_read_at_every_start_and_a_bad_one_ends_it(tmp_path: Path) -> None:
    config = tmp_path / "runners.json"
    config.write_text('{"runners": []}')
    async with live_kit(live_runner_config=config) as live:
        config.write_text(json.dumps({"runners": [live.static_entry(routing="runner-id")]}))
        await live.node.restart()
        (before,) = await live.listed()
        await live.node.restart()
        (after,) = await live.listed()
        assert before["url"] != after["url"]  # the id is new
    config.write_text('{"runners": [{}]}')
    with pytest.raises(BadDocument):
        async with Node(NodeSettings(live_runner_config=config), live.clock, datadir=tmp_path):
            pass


async def test_a_static_id_is_no_dynamic_runners(live: LiveKit) -> None:
    (shown,) = json.loads((await live.register_static()).text)["runners"]
    runner_id = shown["runner_id"]
    assert (await live.heartbeat("", runner_id=runner_id)).text == "static runner cannot heartbeat\n"
    assert (await live.heartbeat("s3cret", runner_id=runner_id)).text == "invalid heartbeat authorization\n"
    assert (await live.post(f"/runners/{runner_id}/unregister")).status == 400


async def test_a_static_label_takes_the_route_of_a_dynamic_runner_with_that_id(live: LiveKit) -> None:
    await live.heartbeat(mode="single-shot")
    await live.register_static({"label": "one"})
    assert (await live.post("/apps/one/session")).status == 200


# 6. and 8. Prices


@pytest.mark.parametrize(
    ("price", "shown"),
    [
        ({"price": 1.2}, {"price": 111111111111, "currency": "wei", "unit": "seconds"}),
        ({"price": "1.2", "unit": "hour"}, {"price": 111111111111, "currency": "wei", "unit": "seconds"}),
        ({"price": 100, "unit": "720p"}, {"price": 334897, "currency": "wei", "unit": "720p-pixel-seconds"}),
        ({"price": 3, "unit": "fixed"}, {"price": 10**15, "currency": "wei", "unit": "fixed"}),
        ({"price": "1e-15"}, None),
    ],
)
async def test_prices_are_shown_in_whole_wei_and_not_below_1(on_chain: LiveKit, price: Any, shown: Any) -> None:
    assert (await on_chain.heartbeat(price_info=price)).status == 200
    (runner,) = await on_chain.listed()
    assert runner.get("price_info") == shown


@pytest.mark.parametrize(
    ("price", "why"),
    [
        (None, "price_info.price is required"),
        ({"currency": "usd"}, "price_info.price is required"),
        ({"price": 0}, "price_info.price must be positive"),
        ({"price": 1, "currency": "wei"}, "price_info.currency must be usd"),
        ({"price": 1, "unit": "second"}, "price_info.unit must be hour, 720p, or fixed"),
    ],
)
async def test_bad_prices_are_refused_on_chain_only(on_chain: LiveKit, price: Any, why: str) -> None:
    assert (await on_chain.heartbeat(price_info=price)).text == f"{why}\n"
    async with live_kit() as off_chain:
        assert (await off_chain.heartbeat(price_info=price)).status == 200
        assert "price_info" not in (await off_chain.listed())[0]


async def test_a_price_follows_the_feed_and_a_failed_feed_hides_it_until_the_next_heartbeat(on_chain: LiveKit) -> None:
    chain = on_chain.node.settings.on_chain
    assert chain is not None
    await on_chain.heartbeat(price_info=PRICE)
    chain.eth_usd = Fraction(1500)
    assert (await on_chain.listed())[0]["price_info"]["price"] == 222222222222
    chain.eth_usd = None
    assert (await on_chain.listed())[0]["price_info"]["price"] == 222222222222  # the last rate
    assert (await on_chain.heartbeat(price_info=PRICE)).status == 200
    assert "price_info" not in (await on_chain.listed())[0]
    answer = await on_chain.post("/apps/one/session")
    assert (answer.status, answer.text.partition(":")[0]) == (503, "live runner price unavailable")
    chain.eth_usd = Fraction(3000)
    await on_chain.heartbeat(price_info=PRICE)
    assert "price_info" in (await on_chain.listed())[0]


async def test_discovery_without_a_ready_runner_has_no_list(live: LiveKit) -> None:
    await live.heartbeat(status="loading")
    assert (await live.call("GET", "/discovery")).text == f'[{{"address":"{live.node.service_uri}"}}]'
    for ready in ("", " READY "):
        await live.heartbeat(status=ready)
        assert await live.listed()

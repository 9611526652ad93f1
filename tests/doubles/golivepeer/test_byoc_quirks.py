"""The double has the quirks of byoc.md 8, and what its sections 2 to 6 say that no recording shows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from fractions import Fraction
from typing import Any

import pytest

from tests.doubles.golivepeer.chain import Chain
from tests.doubles.golivepeer.kit import NAME, SECRET, UNFUNDED_KEY, Kit, job_header, kit
from tests.doubles.shared.recordings import eventually
from tests.doubles.shared.worker import RawWorker, early, garbage


@pytest.fixture
async def off() -> AsyncIterator[Kit]:
    """An off-chain node with `echo/one` registered, capacity 2."""
    async with kit() as running:
        await running.register()
        yield running


@pytest.fixture
async def on() -> AsyncIterator[Kit]:
    """An on-chain node with `echo/one` registered, capacity 2, 1,000 wei a second."""
    async with kit(on_chain=Chain()) as running:
        await running.register(price_per_unit=1000, currency="wei")
        yield running


# 1. Authorization and success


async def test_the_secret_is_compared_as_it_is(off: Kit) -> None:
    for header in ({}, {"Authorization": "Bearer s3cret"}, {"Authorization": "S3cret"}):
        answer = await off.call("POST", "/capability/register", header, "{}")
        assert (answer.status, answer.text) == (400, "invalid authorization\n")
    answer = await off.register()
    assert (answer.status, answer.text, answer.header("Content-Type")) == (200, "ok", "application/json")


async def test_without_a_secret_anybody_registers() -> None:
    async with kit(orch_secret=None) as node:
        assert (await node.call("POST", "/capability/register", {}, '{"name": "a"}')).status == 200
        assert (await node.call("POST", "/capability/register", SECRET, '{"name": "a"}')).status == 400


async def test_unregister_takes_raw_text_and_always_succeeds(off: Kit) -> None:
    for body in (f'"{NAME}"', json.dumps({"name": NAME}), NAME + "\n", "nobody", ""):
        assert (await off.call("POST", "/capability/unregister", SECRET, body)).text == "ok"
        assert NAME in off.node.byoc.capabilities
    await off.call("POST", "/capability/unregister", SECRET, NAME)
    assert NAME not in off.node.byoc.capabilities


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"NAME": "a", "Capacity": 3, "unknown": {}}', 200),
        ('{"name": "a", "capacity": null}', 200),
        ('{"name": "a", "capacity": 1.0}', 400),
        ('{"name": "a", "capacity": 1e3}', 400),
        ('{"name": "a", "price_per_unit": 9223372036854775808}', 400),
        ('{"name": 1}', 400),
        ('{"name": "a"} x', 400),
        ("[]", 400),
        ("", 400),
    ],
)
async def test_the_body_is_read_as_go_reads_it(off: Kit, body: str, status: int) -> None:
    answer = await off.call("POST", "/capability/register", SECRET, body)
    assert answer.status == status
    if status == 400:
        assert answer.text.startswith("Error registering capability: ")
        assert not answer.text.endswith("\n")
        assert answer.header("Content-Type") == "application/json"


# 2. The counter


async def test_an_upsert_resets_the_counter_and_running_jobs_push_it_below_zero(off: Kit) -> None:
    async with asyncio.TaskGroup() as jobs:
        for _ in range(2):
            jobs.create_task(off.job("sleep1"))
        await eventually(lambda: off.worker.sleeping == 2, "both are at the worker")
        assert off.capability.load == 2
        await off.register(capacity=0)
        assert off.capability.load == 0
        await off.clock.advance(1)
    assert off.capability.load == -2
    assert json.loads((await off.token()).text)["available_capacity"] == 2, "with a capacity of 0"


async def test_the_counter_can_be_set_and_the_capacity_be_negative(off: Kit) -> None:
    await off.register(capacity=5, load=3)
    assert json.loads((await off.token()).text)["available_capacity"] == 2
    await off.register(capacity=-1000000, Load=-10)
    assert "available_capacity" not in json.loads((await off.token()).text)
    assert (await off.job()).status == 200, "what isn't offered is served all the same"


# 3. Currencies


@pytest.mark.parametrize("currency", ["USD", "XYZ"])
async def test_a_currency_that_cannot_be_converted_closes_the_connection(off: Kit, currency: str) -> None:
    assert (await off.register("other", currency=currency)).status == 0
    assert "other" not in off.node.byoc.capabilities
    assert off.node.byoc.registrations["other"] == 0


async def test_dollars_are_converted_once_at_registration() -> None:
    chain = Chain(eth_usd=Fraction(2000))
    async with kit(on_chain=chain) as node:
        await node.register(price_per_unit=12, price_scaling=36000, currency="USD")
        price = Fraction(12, 36000) / 2000 * 10**18
        assert node.capability.price == price
        chain.eth_usd = Fraction(4000)
        assert node.capability.price == price
        await node.register(price_per_unit=12, price_scaling=36000, currency="usd")
        assert node.capability.price == price / 2
        chain.eth_usd = None
        assert (await node.register(price_per_unit=1, currency="USD")).status == 0
        assert node.capability.price == price / 2, "the failed upsert changed nothing"


@pytest.mark.parametrize(("currency", "wei"), [("", 3), ("WEI", 3), ("Eth", 3 * 10**18)])
async def test_wei_and_eth_are_known_everywhere(off: Kit, currency: str, wei: int) -> None:
    await off.register(price_per_unit=3, currency=currency)
    assert off.capability.price == wei


# 4. Tokens


async def test_the_price_outlives_the_capability_but_not_the_process(on: Kit) -> None:
    assert json.loads((await on.token()).text)["price"] == {"pricePerUnit": 1010, "pixelsPerUnit": 1}
    await on.call("POST", "/capability/unregister", SECRET, NAME)
    gone = json.loads((await on.token()).text)
    assert gone["price"] == {"pricePerUnit": 1010, "pixelsPerUnit": 1}
    assert "available_capacity" not in gone
    await on.node.restart()
    assert json.loads((await on.token()).text)["price"] == {"pixelsPerUnit": 1}


@pytest.mark.parametrize(("adjusts", "status"), [(True, 503), (False, 400)])
async def test_for_an_unfunded_sender_200_means_gone(adjusts: bool, status: int) -> None:
    async with kit(on_chain=Chain(auto_adjust_price=adjusts)) as node:
        assert (await node.token(key=UNFUNDED_KEY)).status == 200
        await node.register(price_per_unit=1000)
        assert (await node.token(key=UNFUNDED_KEY)).status == status
        await node.call("POST", "/capability/unregister", SECRET, NAME)
        assert (await node.token(key=UNFUNDED_KEY)).status == status


# 5. and 6. Reserve, leaks, refusals


async def test_capacity_limits_nothing(off: Kit) -> None:
    async with asyncio.TaskGroup() as tasks:
        jobs = [tasks.create_task(off.job("sleep1")) for _ in range(4)]
        await eventually(lambda: off.worker.sleeping == 4, "all are at the worker")
        assert off.capability.load == 4
        assert "available_capacity" not in json.loads((await off.token()).text)
        await off.clock.advance(1)
    assert [job.result().status for job in jobs] == [200] * 4
    assert off.capability.load == 0


@pytest.mark.parametrize(
    ("fields", "status", "leaked"),
    [
        ({"timeout_seconds": 0}, 400, 0),
        ({"sig": "0x"}, 400, 0),
        ({"capability": "nobody"}, 503, 0),
        ({"request": "nope"}, 400, 1),
        ({"request": "[]"}, 400, 1),
    ],
)
async def test_a_refused_job_leaks_or_not(off: Kit, fields: dict[str, Any], status: int, leaked: int) -> None:
    assert (await off.job(**fields)).status == status
    assert off.capability.load == leaked


async def test_no_price_for_the_sender_leaks(on: Kit) -> None:
    answer = await on.job(key=UNFUNDED_KEY)
    assert (answer.status, answer.text, on.capability.load) == (400, "Could not get job price\n", 1)


@pytest.mark.parametrize(("payment", "leaked"), [("%%", 1), ("AAAA", 0)])
async def test_a_bad_payment_closes_the_connection(on: Kit, payment: str, leaked: int) -> None:
    answer = await on.call("POST", "/process/request/x", job_header() | {"Livepeer-Payment": payment}, "{}")
    assert (answer.status, on.capability.load) == (0, leaked)


async def test_credit_for_less_than_a_minute_is_refused(on: Kit) -> None:
    answer = await on.job()
    assert (answer.status, answer.text, on.capability.load) == (400, "Insufficient balance for request\n", 0)
    sender = "0x9d8a62f656a8d1615c1294fd71e9cfb3e4855a4f"
    on.node.byoc.credit[sender, NAME] = Fraction(60 * 1010)
    answer = await on.job()
    assert (answer.status, answer.header("Livepeer-Balance")) == (200, str(59 * 1010))


@pytest.mark.parametrize(
    ("parameters", "body", "status", "leaked"),
    [("nope", "{}", 400, 1), ("[]", "{}", 400, 1), ("{}", "nope", 400, 0), ("{}", "[]", 400, 0)],
)
async def test_a_refused_stream_leaks_or_not(off: Kit, parameters: str, body: str, status: int, leaked: int) -> None:
    assert (await off.stream("start", parameters=parameters, body=body)).status == status
    assert off.capability.load == leaked


async def test_an_unknown_name_is_503_for_a_job_and_400_for_a_stream(off: Kit) -> None:
    assert (await off.job(capability="nobody")).status == 503
    assert (await off.stream("start", capability="nobody")).status == 400


async def test_low_credit_is_402_at_start_and_later_gives_a_slot_back_that_was_never_taken(on: Kit) -> None:
    assert (await on.stream("start")).status == 402
    assert on.capability.load == 0
    for load, action in enumerate(("update", "stop", "payment"), 1):
        assert (await on.stream(action)).status == 400
        assert on.capability.load == -load


# 7. Removal


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:9", "connection refused"),
        ("", "unsupported protocol scheme"),
        ("ftp://x", "unsupported protocol scheme"),
        ("http://127.0.0.1:9/%zz", "invalid URL escape"),
    ],
)
async def test_a_worker_that_cannot_be_called_is_removed(off: Kit, url: str, why: str) -> None:
    await off.register(url=url)
    answer = await off.job()
    assert answer.status == 500
    assert why in answer.text
    assert NAME not in off.node.byoc.capabilities


async def test_garbage_removes_and_a_body_that_breaks_off_does_not(off: Kit) -> None:
    for serve, kept in ((early, True), (garbage, False)):
        raw = RawWorker(serve)
        await raw.start()
        await off.register(url=f"http://127.0.0.1:{raw.port}")
        assert (await off.job()).status == 500
        assert (NAME in off.node.byoc.capabilities) is kept
        await raw.stop()


async def test_401_removes_wherever_it_is_said(off: Kit) -> None:
    await off.job("status401")
    assert NAME not in off.node.byoc.capabilities
    await off.register(url=off.worker_url + "/status401")
    assert (await off.stream("start")).text == "Orchestrator worker failure\n"
    assert NAME not in off.node.byoc.capabilities
    for action in ("update", "stop"):
        await off.register(url=off.worker_url + "/status401")
        assert (await off.stream(action)).status == 500
        assert NAME not in off.node.byoc.capabilities


async def test_a_late_worker_keeps_its_record_although_the_text_says_otherwise(off: Kit) -> None:
    async with asyncio.TaskGroup() as tasks:
        job = tasks.create_task(off.job("sleep3", timeout_seconds=1))
        await eventually(lambda: off.worker.sleeping == 1, "it is at the worker")
        await off.clock.advance(1)
    assert "removing capability" in job.result().text
    assert off.capability.load == 1, "and the slot leaks"


async def test_a_caller_who_leaves_leaks_the_slot(off: Kit) -> None:
    job = asyncio.get_running_loop().create_task(off.job("sleep3"))
    await eventually(lambda: off.worker.sleeping == 1, "it is at the worker")
    job.cancel()
    await eventually(lambda: off.node.connections == 0, "the node noticed")
    assert off.capability.load == 1


async def test_streams_never_remove_a_worker_that_cannot_be_reached(off: Kit) -> None:
    await off.register(url="http://127.0.0.1:9")
    assert (await off.stream("start")).text == "Error sending request to worker\n"
    assert (await off.stream("update")).text == "Error sending request to worker\n"
    stopped = await off.stream("stop")
    assert (stopped.status, stopped.body) == (200, b"")
    assert off.capability.load == 0

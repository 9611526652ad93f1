"""The node on chain: what its answers to tokens, gRPC and the CLI port tell, beside what the recordings show."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.doubles.golivepeer import protobuf
from tests.doubles.golivepeer.chain import Chain
from tests.doubles.golivepeer.grpc_client import CallFailed, call
from tests.doubles.golivepeer.kit import FUNDED_KEY, NAME, SECRET, UNFUNDED_KEY, Kit, asker, kit
from tests.doubles.golivepeer.onchain import BadUri, parse_request_uri
from tests.doubles.shared.recordings import eventually

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def on() -> AsyncIterator[Kit]:
    """An on-chain node, with nothing registered."""
    async with kit(on_chain=Chain()) as running:
        yield running


def chain_of(node: Kit) -> Chain:
    assert node.node.settings.on_chain is not None
    return node.node.settings.on_chain


# Tokens as a probe: the table of byoc.md 4.3

FREE, FULL, ABSENT, REMOVED = "free", "full", "absent", "removed"
PROBES = {
    "price 0": (Chain(), 0, FUNDED_KEY, ((200, 2, None), (200, None, None), (200, None, None), (200, None, None))),
    "funded": (
        Chain(),
        1000,
        FUNDED_KEY,
        ((200, 2, 1010), (200, None, 1010), (200, None, None), (200, None, 1010)),
    ),
    "unfunded": (Chain(), 1000, UNFUNDED_KEY, ((503, 0, 0), (503, 0, 0), (200, None, None), (503, 0, 0))),
    "unfunded, no auto-adjust": (
        Chain(auto_adjust_price=False),
        1000,
        UNFUNDED_KEY,
        ((400, 0, 0), (400, 0, 0), (200, None, None), (400, 0, 0)),
    ),
}


@pytest.mark.parametrize("who", PROBES)
@pytest.mark.parametrize("state", [FREE, FULL, ABSENT, REMOVED])
async def test_what_a_token_tells_of_a_capability(who: str, state: str) -> None:
    chain, price, key, rows = PROBES[who]
    status, free, per_unit = rows[[FREE, FULL, ABSENT, REMOVED].index(state)]
    async with kit(on_chain=chain) as node:
        if state != ABSENT:
            await node.register(price_per_unit=price, currency="wei", Load=2 if state == FULL else 0)
        if state == REMOVED:
            await node.call("POST", "/capability/unregister", SECRET, NAME)
        answer = await node.token(key=key)
        assert answer.status == status
        if status == 200:
            told = json.loads(answer.text)
            assert (told.get("available_capacity"), told["price"].get("pricePerUnit")) == (free, per_unit)


# gRPC


async def listed(node: Kit, key: str = FUNDED_KEY) -> dict[str, int]:
    """Return name to wei per second, as GetOrchestrator tells them."""
    who = asker(key)
    request = protobuf.encode((1, bytes.fromhex(who["addr"][2:])), (2, bytes.fromhex(who["sig"])))
    answer = protobuf.decode(await call(node.node, "GetOrchestrator", request))
    found = [protobuf.decode(value) for value in answer.get(33, []) if isinstance(value, bytes)]
    assert {price[3][0] for price in found} <= {37}
    return {str(price[4][0], "utf-8"): int(price.get(1, [0])[0]) for price in found}  # type: ignore[arg-type]


async def test_the_listing_is_what_is_registered_now_overhead_not_included(on: Kit) -> None:
    for name, per_unit, scaling in (("a", 1000, 1), ("b", 100, 3), ("free", 0, 1), ("frac", 1, 3), ("neg", -5, 1)):
        await on.register(name, price_per_unit=per_unit, price_scaling=scaling, currency="wei")
    assert await listed(on) == {"a": 1000, "b": 33, "free": 0, "frac": 0}
    await on.call("POST", "/capability/unregister", SECRET, "a")
    assert await listed(on) == {"b": 33, "free": 0, "frac": 0}
    await on.node.restart()
    assert await listed(on) == {}


async def test_off_chain_the_listing_comes_for_any_signature() -> None:
    async with kit() as off:
        await off.register()
        answer = protobuf.decode(await call(off.node, "GetOrchestrator", protobuf.encode((2, b"any"))))
        assert len(answer[33]) == 1


async def test_the_listing_fails_for_whom_the_base_price_cannot_be_told(on: Kit) -> None:
    with pytest.raises(CallFailed, match="UNKNOWN: insufficient sender reserve"):
        await listed(on, UNFUNDED_KEY)
    poor = asker(UNFUNDED_KEY)["addr"]
    await on.cli(f"/setPriceForBroadcaster?broadcasterEthAddr={poor}&pricePerUnit=0&pixelsPerUnit=1")
    assert await listed(on, UNFUNDED_KEY) == {}


async def test_the_listing_fails_when_transcoding_sessions_are_limited_to_none(on: Kit) -> None:
    await on.cli("/setMaxSessions?maxSessions=auto")
    with pytest.raises(CallFailed, match="UNKNOWN: OrchestratorCapped"):
        await listed(on)
    await on.cli("/setMaxSessions?maxSessions=1")
    assert await listed(on) == {}


async def test_who_speaks_both_gets_http_1_1(on: Kit) -> None:
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    tls.set_alpn_protocols(["h2", "http/1.1"])
    host, _, port = on.node.service_url.removeprefix("https://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=tls)
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
    writer.close()
    await writer.wait_closed()


# CLI


async def test_a_new_uri_blocks_until_it_is_mined_and_is_used_at_once_until_a_restart(on: Kit) -> None:
    chain_of(on).block_time_s = 2.0
    own = on.node.service_uri
    waiting = asyncio.get_running_loop().create_task(
        on.cli("/setOrchestratorConfig", "POST", FORM, "serviceURI=https%3A%2F%2Fnew%3A1")
    )
    await eventually(lambda: on.clock.next_timer() == 2.0, "it waits for a block")
    await on.clock.advance(1.9)
    assert not waiting.done()
    assert on.node.service_uri == own
    await on.clock.advance(0.1)
    assert (await waiting).status == 200
    assert json.loads((await on.token()).text)["service_addr"] == "https://new:1"
    await on.node.restart()
    assert on.node.service_uri == own
    assert json.loads((await on.cli("/orchestratorInfo")).text)["Transcoder"]["ServiceURI"] == "https://new:1"


async def test_what_was_done_before_a_failure_stays_done(on: Kit) -> None:
    body = "pricePerUnit=7&pixelsPerUnit=2&serviceURI=https%3A%2F%2F0.0.0.0"
    assert (await on.cli("/setOrchestratorConfig", "POST", FORM, body)).status == 500
    assert json.loads((await on.cli("/status")).text)["BroadcasterPrices"] == {"default": "7/2"}


async def test_cuts_need_an_initialized_round(on: Kit) -> None:
    cuts = "blockRewardCut=11&feeShare=40"
    chain_of(on).initialized = False
    assert "not initialized" in (await on.cli("/setOrchestratorConfig", "POST", FORM, cuts)).text
    assert (await on.cli("/currentRound")).text == "3"
    chain_of(on).initialized = True
    assert "must have already called reward" in (await on.cli("/setOrchestratorConfig", "POST", FORM, cuts)).text


@pytest.mark.parametrize("monitor", [True, False])
async def test_removing_the_gas_cap_crashes_with_metrics_on(monitor: bool) -> None:
    async with kit(on_chain=Chain(), monitor=monitor) as node:
        await node.cli("/setMaxGasPrice?amount=5")
        assert (await node.cli("/maxGasPrice")).text == "5"
        assert (await node.cli("/setMaxGasPrice?amount=0")).status == (0 if monitor else 200)
        assert (await node.cli("/maxGasPrice")).text == ""


@pytest.mark.parametrize("uri", ["1.2.3.4:1", "host", "::", "", "-a:1", "9a://h"])
def test_what_is_no_uri_for_a_request(uri: str) -> None:
    with pytest.raises(BadUri):
        parse_request_uri(uri)


@pytest.mark.parametrize(("uri", "host"), [("host:1", ""), ("ftp://x", "x"), ("https://h:1/a", "h:1"), ("/path", "")])
def test_a_scheme_or_a_slash_is_all_that_a_uri_needs(uri: str, host: str) -> None:
    assert parse_request_uri(uri) == host


# protobuf


@given(st.lists(st.tuples(st.integers(1, 99), st.one_of(st.integers(1, 2**64 - 1), st.binary(min_size=1))), max_size=8))
@settings(max_examples=100)
def test_a_message_is_read_as_it_was_written(fields: list[tuple[int, protobuf.Value]]) -> None:
    found = protobuf.decode(protobuf.encode(*fields))
    assert {number: [value for n, value in fields if n == number] for number, _ in fields} == found


def test_the_bytes_are_protobufs_own() -> None:
    """The example of protobuf's own description of its encoding: field 1 = 150, field 2 = "testing"."""
    assert protobuf.encode((1, 150), (2, b"testing")).hex() == "089601120774657374696e67"
    assert protobuf.encode((1, -1)).hex() == "08ffffffffffffffffff01"
    with pytest.raises(ValueError, match="wire type"):
        protobuf.decode(b"\x0d\0\0\0\0")

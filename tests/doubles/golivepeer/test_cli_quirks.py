"""The CLI port has the quirks of go-livepeer-cli.md 7; the on-chain ones are tested in `test_onchain`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from tests.doubles.golivepeer.cli import ETH_PATHS
from tests.doubles.golivepeer.kit import Kit, kit

ADDRESS = "0x00000000000000000000000000000000DeadBeef"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
GOOD = f"broadcasterEthAddr={ADDRESS}&pricePerUnit=5&pixelsPerUnit=2"


@pytest.fixture
async def off() -> AsyncIterator[Kit]:
    async with kit() as running:
        yield running


async def prices(off: Kit) -> dict[str, str]:
    found: dict[str, str] = json.loads((await off.cli("/status")).text)["BroadcasterPrices"]
    return found


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_any_method_will_do_and_parameters_come_from_query_or_form(off: Kit, method: str) -> None:
    assert (await off.cli(f"/setPriceForBroadcaster?{GOOD}", method)).status == 200
    assert await prices(off) == {ADDRESS.lower(): "5/2"}
    changed = GOOD.replace("pricePerUnit=5", "pricePerUnit=1/3")
    assert (await off.cli("/setPriceForBroadcaster", "POST", FORM, changed)).status == 200
    assert await prices(off) == {ADDRESS.lower(): "1/6"}


@pytest.mark.parametrize(
    ("query", "why"),
    [
        (GOOD.replace("pricePerUnit=5", "pricePerUnit="), "missing form param: pricePerUnit"),
        (GOOD.replace("pixelsPerUnit=2", ""), "missing form param: pixelsPerUnit"),
        ("", "missing form param: pricePerUnit"),
        (GOOD.replace("pricePerUnit=5", "pricePerUnit=-1"), "price unit must be greater than or equal to 0"),
        (GOOD.replace("pixelsPerUnit=2", "pixelsPerUnit=0"), "pixels per unit must be greater than 0"),
        (GOOD.replace("pricePerUnit=5", "pricePerUnit=x"), "Error converting"),
        (GOOD.replace(ADDRESS, "somebody"), "broadcasterEthAddr"),
        (GOOD + "&currency=USD", "unknown currency"),
    ],
)
async def test_a_bad_price_is_refused_and_changes_nothing(off: Kit, query: str, why: str) -> None:
    answer = await off.cli(f"/setPriceForBroadcaster?{query}")
    assert answer.status == 400
    assert answer.text.startswith(why)
    assert await prices(off) == {}


async def test_the_default_price_can_be_set_too(off: Kit) -> None:
    await off.cli("/setPriceForBroadcaster?" + GOOD.replace(ADDRESS, "default"))
    assert await prices(off) == {"default": "5/2"}


@pytest.mark.parametrize("path", ["/ethchainid", "/isOrchestrator", "/status/", "/Status"])
async def test_paths_are_exact_and_case_sensitive(off: Kit, path: str) -> None:
    assert (await off.cli(path)).status == 404


async def test_the_current_block_crashes_off_chain(off: Kit) -> None:
    assert (await off.cli("/currentBlock")).status == 0
    assert (await off.cli("/EthChainID")).text == "0", "and the node lives on"


@pytest.mark.parametrize("path", ETH_PATHS)
async def test_what_needs_the_chain_is_500_without_one(off: Kit, path: str) -> None:
    answer = await off.cli(path)
    assert (answer.status, answer.text) == (500, "missing ETH client\n")


async def test_metrics_are_there_with_monitor_only(off: Kit) -> None:
    assert b"process_start_time_seconds" in (await off.cli("/metrics")).body
    async with kit(monitor=False) as silent:
        assert (await silent.cli("/metrics")).status == 404


async def test_the_log_level_is_kept_as_text(off: Kit) -> None:
    assert (await off.cli("/setLogLevel?loglevel=3")).body == b""
    assert (await off.cli("/getLogLevel")).text == "3"
    assert (await off.cli("/setLogLevel?loglevel=x")).status == 400
    assert (await off.cli("/setLogLevel")).text == "missing form param: loglevel\n"


async def test_live_runners_are_not_there_without_a_registry(off: Kit) -> None:
    for target in ("/registerLiveRunners",):
        answer = await off.cli(target, "POST", body='{"runners": []}')
        assert (answer.status, answer.text) == (404, "live runners are not supported\n")
    answer = await off.call("GET", "/discovery")
    assert (answer.status, answer.text) == (404, "live runners are not supported\n")


async def test_the_arguments_are_shown_secrets_included(off: Kit) -> None:
    assert (await off.cli("/debug/pprof/cmdline")).body.split(b"\0")[-2:] == [b"-orchSecret", b"s3cret"]

"""The part over a local chain with Livepeer's contracts, and RPC servers that fail and lie."""

from __future__ import annotations

from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from orchd.chain.contracts import ARBITRUM_ONE
from orchd.domain.chain import PayerFacts
from orchd.domain.model import Secret
from orchd.errors import OrchdError, SettingsError
from orchd.history.ports import Kind
from orchd.rpc.client import MOST_BYTES
from orchd.rpc.urls import SETTING
from tests.chain.parts import US, ChainParts, opened
from tests.doubles.livepeer_chain.chain import POOL_SIZE, LocalChain
from tests.doubles.rpc.proxy import RpcFaults, RpcProxy
from tests.doubles.rpc.serving import KEY

SENDER, OTHER = b"\x22" * 20, b"\x33" * 20
ETHER = 10**18


@pytest_asyncio.fixture
async def chain() -> AsyncIterator[LocalChain]:
    async with LocalChain.started(ARBITRUM_ONE) as chain:
        await chain.activate(US)
        await chain.fund(SENDER, ETHER, POOL_SIZE * ETHER)
        yield chain


@pytest_asyncio.fixture
async def first(chain: LocalChain) -> AsyncIterator[RpcProxy]:
    async with RpcProxy.serving(chain.url) as server:
        yield server


@pytest_asyncio.fixture
async def second(chain: LocalChain) -> AsyncIterator[RpcProxy]:
    async with RpcProxy.serving(chain.url) as server:
        yield server


async def test_the_facts_are_those_of_the_chain(chain: LocalChain, first: RpcProxy, tmp_path: Path) -> None:
    async with opened(tmp_path, chain, first) as parts:
        await parts.part.start()
        now = parts.chain.now()
        assert now is not None
        block = int(await chain.anvil.call("eth_blockNumber"), 16)
        round = await chain.read(chain.rounds, "lastInitializedRound()", "uint256")
        assert (now.facts.l1_block, now.facts.round, now.facts.active) == (block, round, True)
        hashed = await chain.read(chain.rounds, "blockHashForRound(uint256)", "bytes32", round)
        assert (now.terms.round, now.terms.round_hash) == (round, hashed)
        assert now.gas_price == int(await chain.anvil.call("eth_gasPrice"), 16)
        facts = await learned(parts, SENDER)
        assert (facts.deposit, facts.reserve, facts.max_float) == (ETHER, POOL_SIZE * ETHER, ETHER)
        await chain.unlock(SENDER)
        parts.chain.credited(SENDER, Fraction(1))
        await parts.chain.payers.refresh()
        unlocking = parts.chain.payer(SENDER)
        assert unlocking is not None
        assert unlocking.withdraw_round == round + 2
        nobody = await learned(parts, OTHER)
        assert (nobody.deposit, nobody.max_float) == (0, 0)


async def test_rounds_go_on_and_one_without_a_hash_gives_way(
    chain: LocalChain, first: RpcProxy, tmp_path: Path
) -> None:
    async with opened(tmp_path, chain, first) as parts:
        for with_hash in (True, False):
            round = await chain.next_round()
            if not with_hash:
                await chain.set_round_hash(round, bytes(32))
            await chain.activate(US, active=not with_hash)
            parts.chain.head.round = None  # A minute later it would be read again.
            await parts.chain.read()
            now = parts.chain.now()
            assert now is not None
            assert (now.facts.round, now.terms.round) == (round, round if with_hash else round - 1)
            assert now.facts.active is not with_hash


async def learned(parts: ChainParts, payer: bytes) -> PayerFacts:
    """Return what is known of a payer, however slow this machine is now."""
    while (facts := await parts.chain.learn(payer)) is None:
        pass
    return facts


FAULTS = {
    "hangs": RpcFaults(hang=True),
    "fails": RpcFaults(status=500),
    "has reached its limit": RpcFaults(status=429, retry_after="60"),
    "is on another chain": RpcFaults(chain_id=1),
    "has no L1 blocks": RpcFaults(l1_blocks=False),
    "steps back": RpcFaults(blocks=-60),
    "leaps ahead": RpcFaults(blocks=10**6),
    "says nothing": RpcFaults(body=b""),
    "talks HTML": RpcFaults(body=b"<html>"),
    "nests": RpcFaults(body=b"[" * 100_000),
    "talks too much": RpcFaults(body=b'"' + b"x" * MOST_BYTES + b'"'),
    "never ends": RpcFaults(endless=True),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_the_first_server_does_the_second_is_believed(
    chain: LocalChain, first: RpcProxy, second: RpcProxy, tmp_path: Path, fault: str
) -> None:
    await chain.anvil.mine(100)
    with capture_logs() as lines:
        async with opened(tmp_path, chain, first, second, call_timeout_s=3.0) as parts:
            await parts.chain.read()
            seen = parts.chain.head.l1_block
            first.faults = FAULTS[fault]
            await chain.anvil.mine()
            await parts.chain.read()
            assert parts.chain.head.l1_block == parts.chain.head.kept_l1_block == seen + 1
            await learned(parts, SENDER)
            status = parts.status
            assert (status.why, status.fresh) == ("", True)
            assert [server.up for server in status.servers] == [False, True]
            told = str(lines) + repr(parts) + str(status) + parts.metrics.render().decode()
    assert KEY not in told
    [line] = [line for line in lines if line["event"] == "rpc_server_failed"]
    assert line["next"] == f"orchd asks {status.servers[1].server} instead"


async def test_a_server_that_takes_one_call_at_a_time_will_do(
    chain: LocalChain, first: RpcProxy, tmp_path: Path
) -> None:
    first.faults = RpcFaults(no_batches=True)
    async with opened(tmp_path, chain, first) as parts:
        await parts.chain.read()
        assert parts.status.fresh
        await learned(parts, SENDER)


async def test_an_outage_serves_known_payers_and_is_told_when_it_begins_and_ends(
    chain: LocalChain, first: RpcProxy, tmp_path: Path
) -> None:
    async with opened(tmp_path, chain, first) as parts:
        await parts.chain.read()
        await learned(parts, SENDER)
        first.faults = RpcFaults(status=500)
        await parts.chain.read()
        assert parts.chain.standing == "fresh", "one failure is no outage yet"
        assert parts.chain.head.read_at is not None
        parts.chain.head.read_at -= 60  # As if that had gone on for a minute.
        await parts.chain.read()
        now = parts.chain.now()
        assert now is not None
        assert not now.fresh
        assert await parts.chain.learn(OTHER) is None
        assert parts.chain.payer(SENDER)
        first.faults = RpcFaults()
        await parts.chain.read()
        await learned(parts, OTHER)
    assert parts.history.kinds() == [Kind.CHAIN_UP, Kind.CHAIN_DOWN, Kind.CHAIN_UP]
    assert "HTTP 500; known payers are served" in parts.history.noted[1].why


async def test_orchd_starts_without_a_server_and_says_what_that_means_once(
    chain: LocalChain, first: RpcProxy, tmp_path: Path
) -> None:
    first.faults = RpcFaults(status=500)
    async with opened(tmp_path, chain, first) as parts:
        with capture_logs() as lines:
            await parts.part.start()
            await parts.chain.read()
        assert parts.chain.now() is None
        assert await parts.chain.learn(SENDER) is None
    [line] = [line for line in lines if line["event"] == "chain_unknown"]
    assert "HTTP 500" in line["reason"]
    assert "paid jobs get 503" in line["next"]


async def test_the_highest_block_survives_a_restart_and_a_chain_that_begins_anew_is_not_believed(
    chain: LocalChain, first: RpcProxy, tmp_path: Path
) -> None:
    await chain.anvil.mine(100)
    async with opened(tmp_path, chain, first) as parts:
        await parts.chain.read()
        seen = parts.chain.head.kept_l1_block
    first.faults = RpcFaults(blocks=-60)
    async with opened(tmp_path, chain, first) as parts:
        assert parts.chain.head.kept_l1_block == seen
        await parts.chain.read()
        assert f"far behind {seen}" in parts.chain.head.why


async def test_urls_that_are_read_again_take_effect_and_bad_ones_do_not(
    chain: LocalChain, first: RpcProxy, second: RpcProxy, tmp_path: Path
) -> None:
    async with opened(tmp_path, chain, first) as parts:
        secret = parts.secrets[SETTING]
        secret.use(Secret(f"{second.url}\n"))
        await parts.chain.read()
        assert (first.requests, parts.status.fresh) == (0, True)
        for text in (Secret("nothing"), None):
            with pytest.raises(SettingsError):
                secret.use(text)
        await parts.chain.read()
        assert parts.status.fresh


async def test_settings_with_which_tickets_would_be_lost_are_refused(
    chain: LocalChain, first: RpcProxy, tmp_path: Path
) -> None:
    with pytest.raises(OrchdError, match=r"cannot use chain\.orchestrator: 0x5aAec6053F3E94C9b9A09f33669435E7Ef1BeAed"):
        async with opened(tmp_path, chain, first, orchestrator="0x5aAec6053F3E94C9b9A09f33669435E7Ef1BeAed"):
            pass

"""The chain as it is followed: what is read when, what an outage does, and what lies can't do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from orchd.chain.contracts import ARBITRUM_ONE
from orchd.chain.head import CONTRACTS_S, ROUND_S, ChainHead
from orchd.chain.ports import ChainNow
from orchd.chain.settings import ChainSettings
from orchd.chain.tables import KeptBlock
from orchd.domain.chain import TermsOf
from orchd.errors import StoreError
from orchd.rpc.message import LIMIT_WAIT_S
from orchd.rpc.servers import RpcServers
from orchd.rpc.urls import rpc_urls
from tests.fakes.rpc import FakeChain, FakeRpcClient, FakeRpcServer
from tests.virtual_time import virtual_time

US = b"\x11" * 20
LOCAL = 31337


class FakeBlockStore:
    """`tables.BlockStore` in memory."""

    def __init__(self, l1_block: int = 0, seen_at: float = 0.0) -> None:
        self.block = KeptBlock(l1_block, seen_at)
        self.broken = False

    async def kept(self) -> KeptBlock:
        return self.block

    async def keep(self, block: KeptBlock) -> None:
        if self.broken:
            raise StoreError("cannot use the database: its disk is full")
        if block.l1_block > self.block.l1_block:
            self.block = block


class Rig:
    """Some servers, each with a chain of its own to tell of, and who follows them.

    Unix time is the loop's and a billion, unless another one is given.
    """

    def __init__(
        self,
        count: int = 1,
        chain_id: int = ARBITRUM_ONE,
        store: FakeBlockStore | None = None,
        unix: Callable[[], float] | None = None,
    ) -> None:
        self.chains = [FakeChain() for _ in range(count)]
        self.fakes = [FakeRpcServer(chain, chain_id) for chain in self.chains]
        client = FakeRpcClient(**{f"s{number}": server for number, server in enumerate(self.fakes)})
        self.rules = ChainSettings(id=chain_id, controller="0x" + "1" * 40)
        self.servers = RpcServers(rpc_urls(client.urls), client, chain_id, self.rules.call_timeout_s)
        self.store = store or FakeBlockStore()
        self.head = ChainHead(self.servers, self.store, self.rules, US, unix or billion)

    @property
    def chain(self) -> FakeChain:
        return self.chains[0]

    async def opened(self) -> Rig:
        await self.head.open()
        await self.head.read()
        return self

    async def later(self, seconds: float, l1_block: int | None = None) -> None:
        """Let time pass and the chain go on, and read it at the end."""
        await asyncio.sleep(seconds)
        for chain in self.chains:
            chain.l1_block = l1_block or chain.l1_block
        await self.head.read()

    def all(self, change: Callable[[FakeRpcServer], object]) -> None:
        for server in self.fakes:
            change(server)

    @property
    def now(self) -> ChainNow:
        now = self.head.now()
        assert now is not None
        return now

    @property
    def l1_block(self) -> int:
        return self.now.facts.l1_block


def billion() -> float:
    return asyncio.get_running_loop().time() + 1e9


def down(server: FakeRpcServer) -> None:
    server.says("", 500)


def up(server: FakeRpcServer) -> None:
    server.reply = None


@virtual_time
async def test_what_is_read_is_what_the_contracts_say() -> None:
    rig = await Rig().opened()
    facts = rig.now.facts
    assert (facts.l1_block, facts.round, facts.active) == (1000, 7, True)
    assert rig.now.terms == TermsOf(1000, 7, bytes(31) + b"\x77")
    assert (rig.now.gas_price, rig.now.fresh) == (10_000_000, True)


@virtual_time
async def test_how_long_the_machine_has_run_does_not_matter() -> None:
    await asyncio.sleep(10**6)
    assert (await Rig().opened()).l1_block == 1000


@virtual_time
async def test_nothing_is_known_before_a_server_has_answered() -> None:
    rig = Rig()
    rig.all(down)
    await rig.opened()
    assert rig.head.now() is None
    assert rig.head.why == "s0: the RPC server answers with HTTP 500"


@virtual_time
async def test_terms_name_the_round_before_while_the_new_one_has_no_hash() -> None:
    rig = Rig()
    rig.chain.hashes = {6: 0x66}
    await rig.opened()
    assert rig.now.facts.round == 7
    assert rig.now.terms == TermsOf(1000, 6, bytes(31) + b"\x66")


@virtual_time
async def test_a_round_without_any_hash_is_not_gone_by() -> None:
    rig = Rig()
    rig.chain.hashes = {}
    await rig.opened()
    assert rig.head.now() is None
    assert "no block hash" in rig.head.why


@virtual_time
async def test_the_block_is_read_each_time_and_the_rest_each_minute() -> None:
    rig = await Rig().opened()
    asked = rig.fakes[0].asked
    asked.clear()
    await rig.later(10)
    assert asked == ["eth_chainId", "eth_getBlockByNumber"]
    asked.clear()
    await rig.later(ROUND_S)
    assert len(asked) == 10, "the block, gas price, round, pool size and activity, two hashes, and a chain id each time"
    asked.clear()
    await rig.later(CONTRACTS_S)
    assert len(asked) == 14, "where the contracts are as well"


@virtual_time
async def test_what_a_day_asks_of_a_server_is_what_the_page_says() -> None:
    rig = Rig()
    await rig.head.open()
    for _ in range(360):
        await rig.later(rig.rules.poll_s)
    server = rig.fakes[0]
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "chain.md").read_text()
    told = [int(each.replace(",", "")) for each in re.findall(r"about ([0-9,]+) (?:requests|calls) a day", page)]
    assert told == [pytest.approx(24 * server.requests, rel=0.05), pytest.approx(24 * len(server.asked), rel=0.05)]


@virtual_time
async def test_a_new_round_and_our_leaving_are_seen_within_a_minute() -> None:
    rig = await Rig().opened()
    rig.chain.round, rig.chain.active, rig.chain.hashes[8] = 8, False, 0x88
    await rig.later(ROUND_S)
    assert (rig.now.facts.round, rig.now.facts.active, rig.now.terms.round_hash[-1]) == (8, False, 0x88)


@virtual_time
async def test_the_l1_block_never_goes_back() -> None:
    rig = await Rig(chain_id=LOCAL).opened()
    await rig.later(10, 1020)
    await rig.later(10, 1005)
    assert (rig.l1_block, rig.store.block.l1_block) == (1020, 1020)


@virtual_time
async def test_while_no_server_answers_a_block_is_counted_for_each_dozen_seconds_begun() -> None:
    rig = await Rig().opened()
    rig.all(down)
    await rig.later(25)
    assert (rig.l1_block, rig.now.fresh) == (1000, True), "25 s are what two polls and a timeout take"
    await rig.later(1)
    assert (rig.l1_block, rig.now.fresh) == (1003, False)
    await rig.later(10)
    assert rig.l1_block == 1003
    await rig.later(0.1)
    assert (rig.l1_block, rig.now.terms.l1_block) == (1004, 1004)
    assert rig.head.kept_l1_block == 1000, "a guess is not kept"


@virtual_time
async def test_after_the_outage_the_block_does_not_fall_behind_the_guess() -> None:
    rig = await Rig().opened()
    rig.all(down)
    await rig.later(120)
    assert rig.l1_block == 1010
    rig.all(up)
    await rig.later(10, 1004)
    assert (rig.l1_block, rig.now.fresh, rig.head.kept_l1_block) == (1011, True, 1004)
    await rig.later(10, 1012)
    assert rig.l1_block == 1012


@virtual_time
async def test_facts_that_are_too_old_are_none() -> None:
    rig = await Rig().opened()
    rig.all(down)
    await rig.later(600)
    assert rig.head.now() is not None
    await rig.later(0.1)
    assert rig.head.now() is None
    rig.all(up)
    await rig.later(10)
    assert rig.now.fresh


@virtual_time
async def test_without_patience_the_chain_is_gone_by_while_servers_answer_and_no_longer() -> None:
    rig = Rig()
    rig.head = ChainHead(rig.servers, rig.store, ChainSettings(**dict(rig.rules) | {"max_stale_s": 0.0}), US, billion)
    await rig.opened()
    await asyncio.sleep(rig.rules.poll_s)
    assert rig.now.fresh
    rig.all(down)
    await rig.later(2 * rig.rules.poll_s)
    assert rig.head.now() is None


@virtual_time
async def test_after_a_failure_the_contracts_are_looked_up_again() -> None:
    rig = await Rig().opened()
    down(rig.fakes[0])
    await rig.later(10)
    up(rig.fakes[0])
    rig.fakes[0].asked.clear()
    await rig.later(10)
    assert "0xe16c7d98" in rig.fakes[0].asked


@virtual_time
async def test_the_highest_block_is_on_the_disk_and_is_known_at_the_next_start() -> None:
    store = FakeBlockStore()
    rig = await Rig(store=store).opened()
    await rig.later(12, 1001)
    assert (store.block, rig.head.kept_l1_block) == (KeptBlock(1001, 1e9 + 12), 1001)
    next = await Rig(store=store).opened()
    assert (next.l1_block, next.head.kept_l1_block) == (1001, 1001), "the server still says 1000"


@virtual_time
async def test_a_block_that_cannot_be_kept_is_not_told_to_be_kept() -> None:
    rig = await Rig().opened()
    rig.store.broken = True
    await rig.later(12, 1001)
    assert (rig.l1_block, rig.head.kept_l1_block) == (1001, 1000)
    rig.store.broken = False
    await rig.later(12)
    assert rig.head.kept_l1_block == 1001


@virtual_time
async def test_a_server_that_is_far_behind_is_passed_over() -> None:
    rig = await Rig(2).opened()
    await rig.later(600, 1050)
    rig.chains[0].l1_block = 1024
    await rig.head.read()
    assert rig.l1_block == 1050
    assert "far behind 1050" in rig.servers.servers[0].why


@virtual_time
async def test_a_server_that_is_a_little_behind_is_not_complained_about() -> None:
    rig = await Rig(2).opened()
    await rig.later(600, 1050)
    rig.chains[0].l1_block = 1025
    await rig.head.read()
    assert (rig.l1_block, rig.servers.servers[0].why) == (1050, "")


@virtual_time
@pytest.mark.parametrize("liar", [0, 1, 2])
async def test_one_of_three_that_leaps_ahead_is_found_out_at_the_start(liar: int) -> None:
    rig = Rig(3)
    rig.chains[liar].l1_block = 10**8
    await rig.opened()
    assert (rig.l1_block, rig.store.block.l1_block) == (1000, 1000)


@virtual_time
@pytest.mark.parametrize("count", [2, 3])
async def test_one_that_leaps_ahead_later_is_found_out(count: int) -> None:
    rig = await Rig(count).opened()
    rig.chains[0].l1_block = 1100
    await rig.head.read()
    assert rig.l1_block == rig.store.block.l1_block == 1000
    assert rig.servers.servers[0].why == "it says that the L1 block is 1100, and most servers say 1000"
    assert rig.head.why == ""


@virtual_time
async def test_all_that_leap_ahead_together_are_believed() -> None:
    rig = await Rig(2).opened()
    await rig.later(10, 5000)
    assert rig.l1_block == 5000


@virtual_time
async def test_a_lone_server_is_believed_as_nobody_can_contradict_it() -> None:
    rig = await Rig().opened()
    await rig.later(10, 5000)
    assert rig.l1_block == 5000


@virtual_time
async def test_a_lone_server_that_tells_arbitrum_s_own_block_is_not_believed() -> None:
    rig = await Rig(unix=lambda: 1_790_000_000.0).opened()
    await rig.later(10, 400_000_000)
    assert rig.l1_block == rig.store.block.l1_block == 1000
    assert "it says that the L1 block is 400000000, and by this machine's clock" in rig.head.why
    await rig.later(60, 1010)
    assert (rig.l1_block, rig.head.why) == (1010, "")


@virtual_time
async def test_the_time_that_orchd_was_away_counts_for_how_far_the_chain_has_come() -> None:
    rig = Rig(2, store=FakeBlockStore(400, 1e9 - 12 * 600))
    rig.chains[1].l1_block = 10**6
    asked = rig.fakes[1].asked
    await rig.opened()
    assert (rig.l1_block, asked) == (1000, []), "nobody had to be compared"


@virtual_time
async def test_rounds_and_payers_of_a_liar_are_forgotten_with_its_next_answer() -> None:
    rig = await Rig(2).opened()
    rig.chains[0].round, rig.chains[0].hashes = 10**9, {10**9: 1}
    await rig.later(ROUND_S)
    assert rig.now.facts.round == 10**9
    rig.chains[0].round, rig.chains[0].hashes = 7, {7: 0x77}
    await rig.later(ROUND_S)
    assert rig.now.facts.round == 7


@virtual_time
@pytest.mark.parametrize(
    "body", ["", "<html>", "[]", "{}", '[{"id":1,"result":null},{"id":2,"result":null}]', "[" * 10**5]
)
async def test_garbage_is_worth_an_outage_and_nothing_more(body: str) -> None:
    rig = await Rig(2).opened()
    rig.fakes[0].says(body)
    await rig.later(10, 1001)
    assert rig.l1_block == 1001
    rig.fakes[1].says(body)
    await rig.later(10, 1002)
    assert rig.head.why
    assert (rig.l1_block, rig.head.kept_l1_block) == (1001, 1001)


@virtual_time
async def test_a_server_of_another_chain_is_passed_over() -> None:
    rig = Rig(2)
    rig.fakes[0].chain_id = 1
    await rig.opened()
    assert rig.now.fresh
    assert "on chain 1" in rig.servers.servers[0].why


@virtual_time
async def test_without_l1_blocks_arbitrum_is_not_read_and_a_local_chain_is() -> None:
    for chain_id, why in ((ARBITRUM_ONE, "no l1BlockNumber"), (LOCAL, "")):
        rig = Rig(chain_id=chain_id)
        rig.fakes[0].l1_blocks = False
        await rig.opened()
        assert why in rig.head.why
        assert bool(rig.head.why) == (chain_id == ARBITRUM_ONE)


@virtual_time
async def test_a_limit_is_respected_and_the_chain_is_read_again_after_it() -> None:
    rig = await Rig().opened()
    rig.fakes[0].says("", 429)
    await rig.later(10)
    requests = rig.fakes[0].requests
    await rig.later(LIMIT_WAIT_S - 1)
    assert rig.fakes[0].requests == requests
    up(rig.fakes[0])
    await rig.later(1)
    assert rig.head.why == ""

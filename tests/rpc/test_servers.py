"""Several RPC servers as one: who is asked, in which order, and what is said of who fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from orchd.rpc.ports import Call, RpcFault, RpcUnanswered
from orchd.rpc.server import FAILED_S
from orchd.rpc.servers import CHECK_S, RpcServers
from orchd.rpc.urls import rpc_urls
from orchd.tasks import cancel, spawn
from tests.fakes.rpc import FakeChain, FakeRpcClient, FakeRpcServer
from tests.virtual_time import settle, virtual_time

GAS = Call("eth_gasPrice")
CHAIN_ID = 42161
TIMEOUT_S = 5.0


class Two:
    """Two servers of one chain, `a` first."""

    def __init__(self, chain_id: int = CHAIN_ID) -> None:
        chain = FakeChain()
        self.a, self.b = FakeRpcServer(chain, CHAIN_ID), FakeRpcServer(chain, CHAIN_ID)
        self.client = FakeRpcClient(a=self.a, b=self.b)
        self.servers = RpcServers(rpc_urls(self.client.urls), self.client, chain_id, TIMEOUT_S)

    async def ask(self) -> Any:
        return await self.servers.ask([GAS], first)

    def requests(self) -> tuple[int, int]:
        return self.a.requests, self.b.requests


def first(results: Sequence[Any]) -> Any:
    return results[0]


async def refused(servers: RpcServers) -> str:
    with pytest.raises(RpcUnanswered) as raised:
        await servers.ask([GAS], first)
    return raised.value.why


@virtual_time
async def test_the_first_of_the_file_is_asked_while_it_answers() -> None:
    two = Two()
    assert await two.ask() == await two.ask() == "0x989680"
    assert two.requests() == (2, 0)


@virtual_time
async def test_the_next_one_is_asked_where_one_fails_and_the_first_again_after_a_minute() -> None:
    two = Two()
    two.a.says("", 500)
    assert await two.ask() == await two.ask() == "0x989680"
    assert two.requests() == (1, 2), "who has failed is asked last"
    two.a.reply = None
    await asyncio.sleep(FAILED_S)
    await two.ask()
    assert two.requests() == (2, 2)


@virtual_time
async def test_a_server_that_hangs_costs_one_timeout() -> None:
    two, loop = Two(), asyncio.get_running_loop()
    two.a.hangs = True
    await two.ask()
    assert loop.time() == TIMEOUT_S
    await two.ask()
    assert loop.time() == TIMEOUT_S


@virtual_time
async def test_who_was_asked_too_often_is_left_alone_as_long_as_it_wants() -> None:
    two = Two()
    for server in (two.a, two.b):
        server.says("", 429, retry_after_s=120)
    assert await refused(two.servers) == "a: it was asked too often (HTTP 429); b: it was asked too often (HTTP 429)"
    two.a.reply = two.b.reply = None
    await asyncio.sleep(119)
    assert "too often" in await refused(two.servers)
    assert two.requests() == (1, 1)
    await asyncio.sleep(1)
    assert await two.ask()


@virtual_time
async def test_a_server_on_another_chain_is_never_believed() -> None:
    two = Two()
    two.a.chain_id = 1
    assert await two.ask()
    two.b.chain_id = 1
    assert "it is on chain 1, and not on 42161" in await refused(two.servers)


@virtual_time
async def test_a_server_that_changes_its_chain_while_we_ask_is_found_out() -> None:
    two = Two()
    assert await two.ask()
    two.a.chain_id = 1
    await two.ask()
    assert two.servers.servers[0].why == "it is on chain 1, and not on 42161 as chain.id says"


@virtual_time
async def test_any_chain_will_do_where_none_is_set() -> None:
    two = Two(chain_id=0)
    two.a.chain_id = 1
    await two.ask()
    assert two.a.asked == ["eth_gasPrice"]


@virtual_time
async def test_an_answer_that_makes_no_sense_counts_as_none() -> None:
    two = Two()

    def unreasonable(results: Sequence[Any]) -> Any:
        raise RpcFault("it makes no sense")

    with pytest.raises(RpcUnanswered) as raised:
        await two.servers.ask([GAS], unreasonable)
    assert raised.value.tried == (("a", "it makes no sense"), ("b", "it makes no sense"))


@virtual_time
async def test_a_server_that_takes_no_batches_is_asked_call_by_call() -> None:
    two = Two()
    two.a.takes_batches = False
    assert await two.ask() == "0x989680"
    assert two.a.requests == 3, "the batch, then each call"
    assert await two.ask() == "0x989680"
    assert two.requests() == (5, 0), "it is remembered"


@virtual_time
@pytest.mark.parametrize("status", [400, 413])
async def test_a_batch_that_is_refused_by_status_is_tried_call_by_call(status: int) -> None:
    two = Two()
    two.a.says("", status)
    await two.ask()
    assert two.requests() == (2, 1), "the second try fails as well, so the next server is asked"


@virtual_time
async def test_all_are_asked_at_once_where_they_are_compared() -> None:
    two = Two()
    two.a.hangs = True
    assert await two.servers.ask_each([GAS], first) == [("b", "0x989680")]
    two.servers.distrust("b", "it lies")
    assert [server.why for server in two.servers.servers] == ["no answer within 5 s", "it lies"]


@virtual_time
async def test_who_is_not_needed_is_checked_too_so_that_a_fail_over_finds_it_known() -> None:
    two = Two()
    checks = spawn(two.servers.check(), name="checks")
    two.b.says("", 500)
    await asyncio.sleep(CHECK_S + 1)
    assert [server.works for server in two.servers.servers] == [True, False]
    two.b.reply = None
    await asyncio.sleep(CHECK_S)
    assert two.servers.servers[1].works
    await cancel(checks)


@virtual_time
async def test_a_server_that_hangs_for_hours_delays_nobody_after_the_first_time() -> None:
    two, loop = Two(), asyncio.get_running_loop()
    checks = spawn(two.servers.check(), name="checks")
    two.a.hangs = True
    await two.ask()
    for _ in range(100):
        await asyncio.sleep(97)
        before = loop.time()
        await two.ask()
        assert loop.time() == before
    await cancel(checks)


@virtual_time
async def test_other_urls_take_effect_and_what_is_known_of_those_that_stay_is_kept() -> None:
    two = Two()
    two.a.says("", 500)
    await two.ask()
    urls = rpc_urls(two.client.urls)
    two.servers.use((urls[1], urls[0]))
    assert [server.name for server in two.servers.servers] == ["b", "a"]
    assert two.servers.servers[1].why
    two.servers.use(())
    assert await refused(two.servers) == ""


@virtual_time
async def test_the_log_says_who_failed_why_and_who_is_asked_instead_once() -> None:
    two = Two()
    two.a.says("", 500)
    with capture_logs() as lines:
        await two.ask()
        await two.ask()
        two.b.hangs = True
        await refused(two.servers)
        two.a.reply = None
        await two.ask()
        await settle()
    told = [(line["event"], line["server"], line.get("reason"), line.get("next")) for line in lines]
    alone = "no other server works now; more can be named in chain.rpc_url_file"
    assert told == [
        ("rpc_server_failed", "a", "the RPC server answers with HTTP 500", "orchd asks b instead"),
        ("rpc_server_failed", "b", "no answer within 5 s", alone),
        ("rpc_server_back", "a", None, None),
    ]
    assert "k3y" not in str(lines) + repr(two.servers.servers)

"""The client as the SDK has it, with either program's signer, before a whole orchd: for minutes, and in any trouble."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchd.tasks import cancel, spawn
from tests.chaos.jumping import run_jumping
from tests.doubles.sdk_client.client import NoRunner, Session
from tests.doubles.sdk_client.http import request
from tests.doubles.signer.rules import GO_LIVEPEER, LIVEPEER_NODE, Rules
from tests.e2e.paid.chain import OTHER
from tests.e2e.paid.live_runner.cases import refused
from tests.e2e.paid.live_runner.inside import BLOCK_S, Shop, shop
from tests.e2e.paid.live_runner.models import FIXED, FIXED_JOB, FREE, LIVE, LIVE_JOB, PRICE, path_of
from tests.e2e.paid.live_runner.payer import read_offer

SIGNERS = pytest.mark.parametrize("rules", [LIVEPEER_NODE, GO_LIVEPEER], ids=["node", "go-livepeer"])
ROUND_S = 3.01
ROUNDS = 45
GONE = "cannot go on: the payer's credit for this session of text-to-image/live is used up"


@asynccontextmanager
async def blocks_come(at: Shop) -> AsyncIterator[None]:
    """Let the L1 go on meanwhile."""
    coming = spawn(at.let_blocks_come(), name="blocks")
    try:
        yield
    finally:
        await cancel(coming)


async def works(session: Session) -> None:
    """See that the container is reached in the session, and is not told who pays."""
    reply = await request("POST", f"{session.app_url}/echo", {})
    names = {name.lower() for name, _ in json.loads(reply.content)["headers"]}
    assert "livepeer-session-id" in names
    assert not names & {"livepeer-payment", "livepeer-segment", "livepeer-payer-address"}


def paying(session: Session) -> bool:
    """Whether the client goes on paying: an answer that ends that must never come."""
    return session.task is not None and not session.task.done() and not session.released


def story(tmp_path: Path, told: Callable[[Shop], Awaitable[None]], **fields: Any) -> None:
    """Run it with an orchd whose blocks come."""

    async def run() -> None:
        async with shop(tmp_path, **fields) as at, blocks_come(at):
            await told(at)

    run_jumping(run())


@SIGNERS
def test_a_session_lives_for_45_rounds_of_top_ups(tmp_path: Path, rules: Rules) -> None:
    async def told(at: Shop) -> None:
        async with at.client(rules=rules) as client:
            session = await client.sdk.reserve([await client.find(LIVE)])
            began = at.now
            for _ in range(ROUNDS):
                await asyncio.sleep(ROUND_S)
                await works(session)
            assert paying(session)
            passed = at.now - began
            assert len(client.signer.paid) >= ROUNDS
            ahead = at.credit(session.session_id) / PRICE
            assert 10 + passed / 3 - 8 <= ahead <= 10 + passed / 3 + 8
            await session.close()
            assert at.active(LIVE) == 0

    story(tmp_path, told)


@SIGNERS
def test_terms_are_refreshed_before_their_block_is_reached(tmp_path: Path, rules: Rules) -> None:
    async def told(at: Shop) -> None:
        async with at.client(rules=rules) as client:
            session = await client.sdk.reserve([await client.find(LIVE)])
            for _ in range(5):
                await asyncio.sleep(BLOCK_S)
                at.chain.l1_block += 13
            await asyncio.sleep(10 * ROUND_S)
            assert paying(session)
            assert len(client.commitments()) >= 2
            await works(session)
            await session.close()

    story(tmp_path, told)


def test_rounds_of_the_protocol_end_no_session(tmp_path: Path) -> None:
    async def told(at: Shop) -> None:
        async with at.client() as client:
            session = await client.sdk.reserve([await client.find(LIVE)])
            await asyncio.sleep(5 * ROUND_S)
            at.new_round()
            await asyncio.sleep(15 * ROUND_S)
            assert paying(session)
            assert len(client.commitments()) == 1, "no signer asks for new terms because of a round"
            await works(session)
            await session.close()

    story(tmp_path, told)


def test_terms_are_refreshed_when_their_proof_is_old(tmp_path: Path) -> None:
    async def told(at: Shop) -> None:
        async with at.client() as client:
            listed = await client.find(LIVE)
            session = await client.sdk.reserve([listed])
            first = len(client.commitments())
            for _ in range(20):  # Unix time alone goes on so fast: to orchd it is an hour of credit.
                at.step_clock(175)
                await asyncio.sleep(ROUND_S)
            assert paying(session)
            assert len(client.commitments()) > first
            await works(session)
            await session.close()

    story(tmp_path, told)


@SIGNERS
def test_what_costs_a_fixed_sum_is_paid_once(tmp_path: Path, rules: Rules) -> None:
    async def told(at: Shop) -> None:
        async with at.client(rules=rules) as client:
            session = await client.sdk.reserve([await client.find(FIXED)])
            await asyncio.sleep(40)
            await works(session)
            await session.close()
            done = await client.sdk.call(await client.find(FIXED_JOB), {"prompt": "a house"})
            assert done.reply is not None
            assert json.loads(done.reply.content)["length"] == len('{"prompt": "a house"}')
            assert len(client.signer.paid) == 2
            assert at.active(FIXED_JOB) == 0

    story(tmp_path, told)


@SIGNERS
def test_a_job_is_topped_up_while_it_runs(tmp_path: Path, rules: Rules) -> None:
    async def told(at: Shop) -> None:
        at.container.script["job"] = "/sse?n=30&interval=1"
        async with at.client(rules=rules) as client:
            done = await client.sdk.call(await client.find(LIVE_JOB), stream=True)
            assert done.streamed is not None
            assert done.streamed.stream is not None
            lines = 0
            while await done.streamed.stream.line():
                lines += 1
            assert lines == 60
            await done.streamed.close()
            assert len(client.signer.paid) >= 5
            await at.until("its slot is free", lambda: not at.active(LIVE_JOB))

    story(tmp_path, told)


def test_what_is_free_is_not_paid_for(tmp_path: Path) -> None:
    async def told(at: Shop) -> None:
        async with at.client() as client:
            session = await client.sdk.reserve([await client.find(FREE)])
            await asyncio.sleep(30)
            await works(session)
            await session.close()
            assert client.signer.paid == []
            assert at.active(FREE) == 0

    story(tmp_path, told)


def test_a_full_model_is_refused_before_anything_is_spent(tmp_path: Path) -> None:
    async def told(at: Shop) -> None:
        async with at.client() as one, at.client(OTHER) as two:
            listed = await one.find(LIVE)
            session = await one.sdk.reserve([listed])
            with pytest.raises(NoRunner, match="HTTP 409"):
                await two.sdk.reserve([listed])
            taken = at.tickets()
            await session.close()
            await at.until("the slot is free", lambda: not at.active(LIVE))
            await (await two.sdk.reserve([await two.find(LIVE)])).close()
            assert at.tickets() > taken

    story(tmp_path, told, maxSessions=1)


def test_a_client_that_vanishes_gives_its_slot_back(tmp_path: Path) -> None:
    async def told(at: Shop) -> None:
        async with at.client() as client:
            session = await client.sdk.reserve([await client.find(LIVE)])
            await asyncio.sleep(5 * ROUND_S)
            await session.stop()  # It stops paying, and says nothing.
            left_s = at.credit(session.session_id) / PRICE
            await at.until("the slot is free", lambda: not at.active(LIVE), bound_s=left_s + 2)

    story(tmp_path, told)


def test_a_websocket_ends_with_the_credit_for_it(tmp_path: Path) -> None:
    async def told(at: Shop) -> None:
        async with at.client() as client, aiohttp.ClientSession() as http:
            session = await client.sdk.reserve([await client.find(LIVE)])
            async with http.ws_connect(f"{session.app_url}/ws", ssl=False) as socket:
                for _ in range(5):
                    await asyncio.sleep(ROUND_S)
                    await socket.send_str("hello")
                    assert await socket.receive_str() == "hello"
                await session.stop()  # It stops paying, and says nothing.
                left_s = at.credit(session.session_id) / PRICE
                began = at.now
                assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE)
                assert left_s - 1 <= at.now - began <= left_s + 2
            assert at.container.counts["active"] == 0
            assert [line["why"] for line in at.logged("stream_ended")] == [GONE]

    story(tmp_path, told)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_in_the_middle_loses_no_session_and_no_credit(tmp_path: Path, how: str) -> None:
    async def told(at: Shop) -> None:
        async with at.client() as client:
            session = await client.sdk.reserve([await client.find(LIVE)])
            await asyncio.sleep(5 * ROUND_S)
            before = at.credit(session.session_id)
            await (at.stop() if how == "stop" else at.kill())
            await asyncio.sleep(20)
            await at.start()
            await works(session)
            after = at.credit(session.session_id)
            assert before - 2 * PRICE <= after <= before + 10 * PRICE, "the time without us is charged to nobody"
            await asyncio.sleep(10 * ROUND_S)
            assert paying(session)
            await works(session)
            await session.close()
            assert at.active(LIVE) == 0

    story(tmp_path, told)


def test_ten_minutes_without_an_rpc_server_end_no_session(tmp_path: Path) -> None:
    async def told(at: Shop) -> None:
        payer, newcomer = at.payer(), at.payer(OTHER)
        session = await payer.begin(path_of(LIVE), seconds=120)
        at.rpc.hangs = True
        began = at.now
        while at.now - began < 590:
            await asyncio.sleep(59)
            fresh = read_offer(await payer.refresh(session.offered.manifest))
            tickets = range(1, fresh.tickets_for(60) + 1)
            assert (await payer.top_up(session.offered, payer.pay(fresh, tickets))).status == 200
            assert (await session.app()).status == 200
            refused(await newcomer.ask(path_of(LIVE)), 503)
        at.rpc.hangs = False
        await asyncio.sleep(30)
        assert (await session.app()).status == 200
        await newcomer.begin(path_of(LIVE))

    story(tmp_path, told)

"""The client as the SDK has it, with either program's signer, before a whole orchd: sessions and jobs that go well."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.doubles.sdk_client.client import NoRunner
from tests.doubles.signer.rules import Rules
from tests.e2e.paid.chain import OTHER
from tests.e2e.paid.live_runner.inside import Shop
from tests.e2e.paid.live_runner.models import FIXED, FIXED_JOB, FREE, LIVE, LIVE_JOB, PRICE
from tests.e2e.paid.live_runner.stories import ROUND_S, SIGNERS, paying, story, works

ROUNDS = 45


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

"""When the client's signer asks for new terms, and when it does not: the session goes on all the same."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.doubles.signer.paying import MAX_NONCE
from tests.doubles.signer.rules import GO_LIVEPEER, Rules
from tests.e2e.paid.live_runner.inside import BLOCK_S, Shop
from tests.e2e.paid.live_runner.models import LIVE, PRICE
from tests.e2e.paid.live_runner.stories import GONE, ROUND_S, SIGNERS, paying, story, works

SMALL = {"tickets": {"value": PRICE // 9}}
"""Tickets of a ninth of a second: 90 at the start, and 36 more for each round."""
LAST_NONCE = 599


@SIGNERS
def test_terms_are_refreshed_before_their_block_is_reached(tmp_path: Path, rules: Rules) -> None:
    async def told(at: Shop) -> None:
        async with at.client(rules=rules) as client:
            session = await client.sdk.reserve([await client.find(LIVE)])
            for blocks in (30, 9):
                at.chain.l1_block += blocks
                await asyncio.sleep(BLOCK_S)
            assert paying(session)
            assert len(client.nonces()) == 2
            await works(session)
            await session.close()

    story(tmp_path, told)


def test_terms_are_refreshed_before_their_nonces_are_used_up(tmp_path: Path) -> None:
    async def told(at: Shop) -> None:
        async with at.client() as client:
            session = await client.sdk.reserve([await client.find(LIVE)])
            await asyncio.sleep(15 * ROUND_S)
            assert paying(session)
            first, second = client.nonces().values()
            assert first == [*range(1, len(first) + 1)]
            assert MAX_NONCE <= len(first) <= LAST_NONCE
            assert second == [*range(1, len(second) + 1)]
            assert at.tickets() == len(first) + len(second), "each of them was taken"
            await works(session)
            await session.close()

    story(tmp_path, told, SMALL)


def test_a_signer_that_counts_no_nonces_is_refused_once_they_are_used_up(tmp_path: Path) -> None:
    """`orchd price` warns of tickets that are so small."""

    async def told(at: Shop) -> None:
        async with at.client(rules=GO_LIVEPEER) as client:
            session = await client.sdk.reserve([await client.find(LIVE)])
            await asyncio.sleep(18 * ROUND_S)
            [used] = client.nonces().values()
            assert len(used) > LAST_NONCE
            assert not paying(session)
            taken, left_s = at.tickets(), at.credit(session.session_id) / PRICE
            assert LAST_NONCE - 40 < taken <= LAST_NONCE, "what is refused is refused whole"
            await at.until("its credit is gone", lambda: not at.active(LIVE), bound_s=left_s + 2)
            assert [line["why"] for line in at.logged("stream_ended")] == [GONE]

    story(tmp_path, told, SMALL)


def test_rounds_of_the_protocol_end_no_session(tmp_path: Path) -> None:
    async def told(at: Shop) -> None:
        async with at.client() as client:
            session = await client.sdk.reserve([await client.find(LIVE)])
            await asyncio.sleep(2 * ROUND_S)
            at.new_round()
            await asyncio.sleep(12 * ROUND_S)
            assert paying(session)
            assert len(client.nonces()) == 1, "no signer asks for new terms because of a round"
            await works(session)
            await session.close()

    story(tmp_path, told)


def test_terms_are_refreshed_when_their_proof_is_old(tmp_path: Path) -> None:
    async def told(at: Shop) -> None:
        async with at.client() as client:
            session = await client.sdk.reserve([await client.find(LIVE)])
            for _ in range(20):  # Unix time alone goes on so fast: to orchd it is an hour of credit.
                at.step_clock(175)
                await asyncio.sleep(ROUND_S)
            assert paying(session)
            assert len(client.nonces()) > 1
            await works(session)
            await session.close()

    story(tmp_path, told)

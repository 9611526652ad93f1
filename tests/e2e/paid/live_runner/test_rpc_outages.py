"""No RPC server answers: what was begun goes on for as long as what is known of payers is good, and then ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.e2e.paid.chain import OTHER
from tests.e2e.paid.live_runner.cases import refused
from tests.e2e.paid.live_runner.inside import Shop
from tests.e2e.paid.live_runner.models import LIVE, path_of
from tests.e2e.paid.live_runner.payer import Begun, read_offer
from tests.e2e.paid.live_runner.stories import GONE, story

KNOWN_S = 600.0
"""`chain.max_stale_s`."""
PAID_S = 80
ONCE_MORE_S = 30.0


async def tops_up(session: Begun) -> None:
    """Pay for a while, on new terms."""
    fresh = read_offer(await session.payer.refresh(session.offered.manifest))
    tickets = range(1, fresh.tickets_for(PAID_S) + 1)
    assert (await session.payer.top_up(session.offered, session.payer.pay(fresh, tickets))).status == 200


def test_ten_minutes_end_no_session_and_more_end_it_with_its_credit(tmp_path: Path) -> None:
    async def told(at: Shop) -> None:
        payer, newcomer = at.payer(), at.payer(OTHER)
        session = await payer.begin(path_of(LIVE), seconds=120)
        at.rpc.hangs = True
        began = at.now
        while at.now - began < KNOWN_S - 60:
            await asyncio.sleep(53)
            await tops_up(session)
            assert (await session.app()).status == 200
            refused(await newcomer.ask(path_of(LIVE)), 503)
        longer = await payer.refresh(session.offered.manifest)
        await asyncio.sleep(began + KNOWN_S + 1 - at.now)
        late = payer.pay(read_offer(longer), range(1, 6))
        refused(await at.within_3_s(payer.top_up(session.offered, late)), 503)
        refused(await at.within_3_s(payer.refresh(session.offered.manifest)), 503)
        assert (await session.app()).status == 200, "it is paid for"
        await at.until("its credit is gone", lambda: not at.active(LIVE))
        assert [line["why"] for line in at.logged("stream_ended")] == [GONE]
        assert (await session.app()).status == 404
        refused(await at.within_3_s(payer.ask(path_of(LIVE))), 503)
        at.rpc.hangs = False
        await asyncio.sleep(ONCE_MORE_S)
        for each in (payer, newcomer):
            assert (await (await each.begin(path_of(LIVE))).app()).status == 200

    story(tmp_path, told, session_idle_s=3600)


def test_a_session_that_outlives_a_long_outage_is_topped_up_again(tmp_path: Path) -> None:
    async def told(at: Shop) -> None:
        session = await at.payer().begin(path_of(LIVE), seconds=200)
        at.rpc.hangs = True
        await asyncio.sleep(70)
        refused(await at.within_3_s(session.top_up()), 503)
        at.rpc.hangs = False
        await asyncio.sleep(ONCE_MORE_S)
        assert (await session.top_up()).status == 200
        await tops_up(session)
        assert (await session.app()).status == 200

    story(tmp_path, told, {"chain": {"max_stale_s": 60}}, session_idle_s=3600)

"""kill -9 in the middle of sessions, whenever it comes: no 404, no credit lost, no ticket taken twice."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Start
from tests.e2e.paid.chain import PaidChain
from tests.e2e.paid.live_runner.models import LIVE, path_of
from tests.e2e.paid.live_runner.outside import seller
from tests.soak import examples


@pytest.mark.soak
async def test_whenever_it_is_killed_a_session_goes_on(make: Start, chain: PaidChain) -> None:
    kills = examples(20, share=0.1)
    async with seller(make, chain, session_idle_s=3600) as shop:
        session = await shop.payer.begin(path_of(LIVE), seconds=120)
        for _ in range(kills):
            await shop.daemon.kill()
            await shop.daemon.start()
            await shop.listens()
            answer = await session.app()
            assert answer.status == 200, answer.text
            again = await session.payer.top_up(session.offered, session.payer.pay(session.offered, [session.paid]))
            assert again.status == 403, "a ticket is good once"
            assert (await session.top_up(tickets=3)).status == 200
        assert (await session.stop()).status == 200
        code, printed = await shop.daemon.command("tickets", "reconcile", *shop.daemon.flags("state_dir"))
        assert code == 0, printed

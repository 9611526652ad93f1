"""A container written for a node works unchanged behind orchd alone, in a session that is paid for."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

from tests.e2e.conftest import Start
from tests.e2e.daemon import ROOT
from tests.e2e.environments import PYTRICKLE, SDK
from tests.e2e.paid.chain import PaidChain
from tests.e2e.paid.live_runner.models import LIVE, PRICE, path_of
from tests.e2e.paid.live_runner.outside import selling
from tests.e2e.realtime import BLUE, inverted, name, need, pytrickle
from tests.e2e.scripts import PIPELINE
from tests.e2e.sdk_user import sdk_user

APP = ROOT / "tests" / "e2e" / "paid" / "live_runner" / "callback_app.py"
ENTRY = {
    "pipeline": PIPELINE,
    "model_id": LIVE,
    "command": [str(SDK.python), str(APP)],
    "warm": True,
    "mode": "persistent",
    "maxSessions": 2,
    "price_per_unit": PRICE,
    "health": {"interval_s": 0.3},
}


async def test_a_container_makes_channels_and_proxies_for_its_session_and_ends_it(
    make: Start, chain: PaidChain
) -> None:
    need(SDK)
    async with selling(make, chain, ENTRY) as shop:
        await shop.daemon.until_state(LIVE, "ready")
        await shop.ready()
        payer = shop.payer
        session = await payer.begin(path_of(LIVE), seconds=200)
        made = await session.app("/make")
        assert made.status == 200, made.text
        said = json.loads(made.text)
        assert said["written"] == 200
        assert all(said[name].startswith(f"{shop.url}/") for name in ("channel", "proxy"))
        channel, proxy = (urlsplit(said[name]).path for name in ("channel", "proxy"))
        async with asyncio.timeout(60):
            segment = await payer.call(f"{channel}/0", method="GET", body="")
        assert (segment.status, segment.body) == (200, b"hello")
        behind = await payer.call(f"{proxy}/behind")
        assert json.loads(behind.text) == {"session": session.offered.manifest}
        await session.app("/end")  # Which cuts this request, too.
        await shop.daemon.until_model(LIVE, "is free", lambda model: not model["sessions"]["active"])
        assert (await session.app("/make")).status == 404
        assert {(await payer.call(path, method="GET", body="")).status for path in (f"{channel}/0", proxy)} == {404}


async def test_a_realtime_container_is_paid_for_while_its_video_comes_back(make: Start, chain: PaidChain) -> None:
    need(PYTRICKLE)
    need(SDK)
    entry = pytrickle(LIVE, price_per_unit=PRICE)
    async with selling(make, chain, entry, settings={"streams.idle_s": "1"}) as shop, shop.signer() as signer:
        await shop.daemon.until_state(LIVE, "ready")
        await shop.listens()
        async with sdk_user(shop.url, name(LIVE), BLUE, signer.url) as client:
            paid = len(signer.paid)
            await shop.daemon.until("it is topped up twice", lambda: len(signer.paid) >= paid + 2)
            await client.shows(inverted(BLUE))
            await client.do("end")
        await shop.daemon.until_model(LIVE, "is free", lambda model: not model["sessions"]["active"])
        assert await shop.daemon.metric("orchd_tickets_total") > 0

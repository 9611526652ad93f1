"""Who finds an orchd without a node, beside those who have its address."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web

from orchd.doors.public_live_runner.discovery import FRESH_S
from tests.doubles.shared.listener import Listener
from tests.e2e.paid.chain import OTHER
from tests.e2e.paid.live_runner.inside import Shop
from tests.e2e.paid.live_runner.models import FREE, LIVE, LIVE_JOB, app_of
from tests.e2e.paid.live_runner.stories import story, works


def test_clients_of_a_signer_that_discovers_find_what_is_for_sale(tmp_path: Path) -> None:
    async def told(at: Shop) -> None:
        async with at.client() as client, at.client(OTHER) as other:
            for name in (LIVE, LIVE_JOB, FREE):
                assert await client.sdk.discover(app_of(name)) == [await client.find(name)]
            session = await client.sdk.reserve(await client.sdk.discover(app_of(LIVE)))
            await works(session)
            await asyncio.sleep(FRESH_S)
            assert await other.sdk.discover(app_of(LIVE)) == [], "its only slot is taken"
            await session.close()
            await asyncio.sleep(FRESH_S)
            assert await other.sdk.discover(app_of(LIVE)) == [await other.find(LIVE)]

    story(tmp_path, told, maxSessions=1)


def test_clients_of_a_list_find_what_was_for_sale_when_it_was_made(tmp_path: Path) -> None:
    async def told(at: Shop) -> None:
        made = await at.payer().call("/discovery", method="GET", body="")
        kept = Listener("127.0.0.1:0")

        async def read(_request: web.Request) -> web.Response:
            return web.Response(body=made.body, content_type="application/json")

        files = web.Application()
        files.add_routes([web.get("/runners.json", read)])
        await kept.open(files, None)
        try:
            await at.stop()
            await at.start()
            async with at.client() as client:
                found = await client.sdk.discover(app_of(LIVE), directory=f"http://{kept.address}/runners.json")
                session = await client.sdk.reserve(found)
                await works(session)
                await session.close()
        finally:
            await kept.close()

    story(tmp_path, told)

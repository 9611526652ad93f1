"""A client that pays no more: what is under way is cut so that nobody takes it for whole, and the slot is free."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from tests.doubles.sdk_client.client import Session
from tests.doubles.sdk_client.http import HttpError, SdkError, Stream, request
from tests.e2e.paid.live_runner.inside import Shop
from tests.e2e.paid.live_runner.models import LIVE, LIVE_JOB, PRICE
from tests.e2e.paid.live_runner.stories import GONE, ROUND_S, story


async def is_gone(session: Session) -> None:
    """See that its next call is told so."""
    with pytest.raises(HttpError) as refused:
        await request("POST", f"{session.app_url}/echo", {})
    assert refused.value.status == 404


async def read(stream: Stream) -> None:
    """Read it to its end."""
    while await stream.line():
        pass


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
                assert socket.close_code != aiohttp.WSCloseCode.OK
                assert left_s - 1 <= at.now - began <= left_s + 2
            await is_gone(session)
            assert at.container.counts["active"] == 0
            assert [line["why"] for line in at.logged("stream_ended")] == [GONE]

    story(tmp_path, told)


def test_an_event_stream_ends_with_the_credit_for_it(tmp_path: Path) -> None:
    async def told(at: Shop) -> None:
        async with at.client() as client, aiohttp.ClientSession() as http:
            session = await client.sdk.reserve([await client.find(LIVE)])
            async with http.post(f"{session.app_url}/sse?n=0&interval=0.5", ssl=False) as stream:
                for _ in range(10):
                    assert await stream.content.readline()
                await session.stop()  # It stops paying, and says nothing.
                left_s = at.credit(session.session_id) / PRICE
                began = at.now
                with pytest.raises(aiohttp.ClientPayloadError):
                    await stream.content.read()
                assert left_s - 1 <= at.now - began <= left_s + 2
            await is_gone(session)
            await at.until("the runner has seen it", lambda: at.container.counts["active"] == 0)
            assert at.container.counts["cancelled"] == 1
            assert [line["why"] for line in at.logged("stream_ended")] == [GONE]

    story(tmp_path, told)


def test_the_stream_of_a_job_ends_with_the_credit_for_it(tmp_path: Path) -> None:
    async def told(at: Shop) -> None:
        at.container.script["job"] = "/sse?n=0&interval=0.5"
        async with at.client() as client:
            done = await client.sdk.call(await client.find(LIVE_JOB), stream=True)
            streamed, funding = done.streamed, done.funding
            assert streamed is not None
            assert streamed.stream is not None
            assert funding is not None
            await asyncio.sleep(2 * ROUND_S)
            await streamed.stop()
            with pytest.raises(SdkError, match="broken off"):
                await read(streamed.stream)
            await streamed.close()
            await at.until("its slot is free", lambda: not at.active(LIVE_JOB))
            assert at.container.counts["cancelled"] == 1
            assert at.credit(funding.challenge.manifest_id) < PRICE
            with pytest.raises(HttpError) as refused:
                await request("POST", funding.challenge.payment_url, headers=await funding.payment())
            assert refused.value.status == 404

    story(tmp_path, told)

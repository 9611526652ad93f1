"""Realtime video from Livepeer's own Python SDK to orchd alone, through its own channels to a real PyTrickle, and back.

The client speaks TLS to the listener for payers; the container writes and reads by the plain one for runners. The
model costs nothing: what is paid for is tried in `paid/`.
"""

from __future__ import annotations

import os
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.e2e.environments import PYTRICKLE, SDK
from tests.e2e.realtime import BLUE, inverted, name, need, pytrickle
from tests.e2e.sdk_user import SdkUser, sdk_user
from tests.ports import free_port

MODEL = "one"


class Shop:
    """An orchd without a node, and its clients."""

    def __init__(self, daemon: Daemon, url: str) -> None:
        self.daemon = daemon
        self.url = url

    @asynccontextmanager
    async def client(self) -> AsyncIterator[SdkUser]:
        """Start one whose video comes back; nothing of it may be left in the end."""
        async with sdk_user(self.url, name(MODEL), BLUE) as client:
            yield client
        await self.daemon.until_model(
            MODEL, "is ready and free", lambda m: m["ready"] and not m["sessions"]["active"] and not m["streams"]
        )

        async def no_channel() -> bool:
            status = await self.daemon.status()
            return {await self.channel(url) for url in client.told["channels"]} <= {404} and not status["channels"][
                "bytes"
            ]

        await self.daemon.until("no channel is left", no_channel)

    async def channel(self, url: str) -> int:
        unverified = ssl.create_default_context()
        unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
        async with aiohttp.ClientSession() as session, session.get(f"{url}/next", ssl=unverified) as answer:
            return answer.status


@pytest.fixture
async def shop(make: Start, tmp_path: Path) -> AsyncIterator[Shop]:
    need(PYTRICKLE)
    need(SDK)
    port = free_port()
    url = f"https://127.0.0.1:{port}"
    settings = {
        "public.listen": f"127.0.0.1:{port}",
        "public.url": url,
        "public.doors": "live-runner",
        "public.runner_listen": f"127.0.0.1:{free_port()}",
        "hooks.order": "tickets",
        "streams.idle_s": "1",
    }
    daemon = make(settings=settings)
    daemon.write(pytrickle(MODEL))
    async with daemon:
        await daemon.until_state(MODEL, "ready")
        yield Shop(daemon, url)


async def test_video_comes_back_and_however_the_session_ends_its_events_say_so_and_nothing_is_left(shop: Shop) -> None:
    async with shop.client() as client:
        shown = await shop.daemon.model(MODEL)
        [stream] = shown["streams"]
        assert (stream["id"], stream["origin"], stream["phase"]) == (client.told["session"], "sold", "running")
        assert {url.partition("/ai/trickle/")[0] for url in client.told["channels"]} == {shop.url}
        await client.until("the container has said something", lambda: "send_first_processed_segment" in client.events)
        await client.do('params {"keep": 0}')
        await client.shows((inverted(BLUE)[0], 0, 0))
        await client.do("end")
    async with shop.client() as client:
        runner = (await shop.daemon.model(MODEL))["runners"][0]
        async with shop.daemon.client.get(f"{runner['address']}/seen") as answer:
            os.kill((await answer.json())["pid"], signal.SIGKILL)
        await client.until("its events say that it has ended", lambda: "session_ended" in client.events)

"""Livepeer's own Python SDK before a real orchd: what it finds, reserves, pays for, and ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.e2e.conftest import Start
from tests.e2e.daemon import PATIENCE_S, ROOT
from tests.e2e.environments import SDK
from tests.e2e.paid.chain import PaidChain
from tests.e2e.paid.live_runner.models import FIXED, FIXED_JOB, FREE, LIVE, LIVE_JOB, app_of
from tests.e2e.paid.live_runner.outside import seller
from tests.e2e.realtime import need

CLIENT = ROOT / "tests" / "e2e" / "paid" / "live_runner" / "official_client.py"
PAID_HEADERS = {"livepeer-payment", "livepeer-segment", "livepeer-payer-address"}


@dataclass(frozen=True)
class Client:
    """The SDK's user, as a process."""

    process: asyncio.subprocess.Process

    async def says(self, name: str) -> dict[str, Any]:
        """Return its next line, which must have this member."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = await self.process.stdout.readline()
        assert line, "it has ended"
        said: dict[str, Any] = json.loads(line)
        assert name in said, said
        return said

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")


@asynccontextmanager
async def official(*words: str) -> AsyncIterator[Client]:
    """Run it with these arguments; it must end well."""
    process = await asyncio.create_subprocess_exec(
        *(str(SDK.python), str(CLIENT), *words), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Client(process)
        async with asyncio.timeout(PATIENCE_S):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_official_client_finds_pays_uses_and_ends(make: Start, chain: PaidChain) -> None:
    need(SDK)
    async with seller(make, chain) as shop, shop.signer() as signer:
        apps = [app_of(name) for name in (LIVE, LIVE_JOB, FIXED_JOB)]
        async with official(shop.url, signer.url, *apps) as client:
            everything = sorted(app_of(name) for name in (LIVE, FIXED, LIVE_JOB, FIXED_JOB, FREE))
            assert (await client.says("apps"))["apps"] == everything
            assert (await client.says("listed"))["listed"] == everything
            begun = await client.says("session")
            assert begun["app_url"].startswith(f"{shop.url}/apps/")
            assert begun["target"] == "/echo"
            await shop.daemon.until("it was topped up twice", lambda: len(signer.paid) >= 3)
            model = await shop.daemon.model(LIVE)
            assert model["sessions"]["active"] == 1
            client.go_on()
            used = await client.says("released")
            assert (used["released"], used["paying"]) == (False, True)
            await client.says("closed")
            await shop.daemon.until_model(LIVE, "is free", lambda found: found["sessions"]["active"] == 0)
            for _ in range(2):
                done = await client.says("job")
                assert done["length"] == len('{"say": "hello"}')
                assert PAID_HEADERS.isdisjoint(name.lower() for name in done["headers"])
            before = len(signer.paid)
            await shop.runner.script(job="/sse?n=40&interval=0.2&gate=more")
            client.go_on()
            await shop.daemon.until("its job was topped up", lambda: len(signer.paid) >= before + 2)
            await shop.runner.open_gate("more")
            streamed = await client.says("stream")
            assert (streamed["stream"], streamed["released"]) == (40, False)
        assert await shop.daemon.metric("orchd_tickets_total") > 0
        assert not shop.daemon.events("error")

"""The scripted runner as a child of the test."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from orchd.domain.ids import Address

SCRIPTED = Path(__file__).with_name("scripted.py")
BOUND_S = 60.0
"""Whatever a test waits for has happened long before this."""


class LocalRunner:
    """A scripted runner that listens on loopback."""

    def __init__(self, port: int, client: aiohttp.ClientSession, pid: int) -> None:
        self.address = Address("127.0.0.1", port)
        self.url = self.address.url
        self.client = client
        self.pid = pid

    async def script(self, **changes: Any) -> None:
        async with self.client.post(f"{self.url}/_script", json=changes) as answer:
            assert answer.status == 200

    async def open_gate(self, name: str, n: int | None = None) -> None:
        async with self.client.post(f"{self.url}/_open/{name}", params={} if n is None else {"n": n}) as answer:
            assert answer.status == 200

    async def seen(self, **at_least: int) -> dict[str, Any]:
        """Return the counters as soon as each named one is at least so high."""
        async with asyncio.timeout(BOUND_S), self.client.get(f"{self.url}/_seen", params=at_least) as answer:
            counters: dict[str, Any] = await answer.json()
            return counters


@asynccontextmanager
async def scripted(**script: Any) -> AsyncIterator[LocalRunner]:
    """Run `scripted.py` with this script until the block ends."""
    environment = {**os.environ, "HOST": "127.0.0.1", "PORT": "0", "SCRIPT": json.dumps(script)}
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPTED), env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        async with asyncio.timeout(BOUND_S):
            while b"listening on" not in (line := await child.stdout.readline()):
                assert line, "the scripted runner ended before it listened"
        async with aiohttp.ClientSession() as client:
            yield LocalRunner(int(line.rsplit(b" ", 1)[1]), client, child.pid)
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()

"""EDGE. anvil as a process on a free port, and JSON-RPC to it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.conftest import cannot_run
from tests.e2e.environments import CHAIN
from tests.ports import free_port

START_S = 60.0


class AnvilError(Exception):
    """The node refuses a call; `str` is its text, such as that of a revert."""


class Anvil:
    """A running anvil.

    Attributes:
        url: of its JSON-RPC.
        accounts: addresses that it signs for, as text; each has 10,000 ETH.
    """

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.accounts: list[str] = []
        self._session = session

    async def call(self, method: str, *params: object) -> Any:
        """Return the result of one call.

        Raises:
            AnvilError: it was refused.
        """
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        async with self._session.post(self.url, json=body) as response:
            answer = await response.json()
        if "error" in answer:
            raise AnvilError(answer["error"]["message"])
        return answer["result"]

    async def mine(self, blocks: int = 1) -> None:
        """Let so many blocks come."""
        await self.call("anvil_mine", hex(blocks))

    async def send(self, sender: str, to: str | None, data: str, value: int = 0) -> dict[str, Any]:
        """Send a transaction in a block of its own, and return its receipt. Nobody's key is needed.

        Raises:
            AnvilError: it reverts.
        """
        await self.call("anvil_impersonateAccount", sender)
        transaction = {"from": sender, "data": data, "value": hex(value), **({"to": to} if to else {})}
        await self.call("eth_call", transaction, "latest")  # Which says why it reverts, if it does.
        sent = await self.call("eth_sendTransaction", transaction)
        while (receipt := await self.call("eth_getTransactionReceipt", sent)) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        assert receipt["status"] == "0x1"
        return dict(receipt)


@asynccontextmanager
async def anvil(chain_id: int) -> AsyncIterator[Anvil]:
    """Start anvil, and end it afterwards. A test is left out where it isn't installed."""
    if not CHAIN.ready():
        cannot_run(f"no {CHAIN.about}: python -m tests.e2e.environments")
    [program] = CHAIN.modules.glob("@foundry-rs/anvil-*/bin/anvil")  # The build for this kind of machine alone.
    port = free_port()
    flags = ["--port", str(port), "--chain-id", str(chain_id), "--slots-in-an-epoch", "1", "--accounts", "2"]
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            program, *flags, stdout=log, stderr=log, cwd=tempfile.gettempdir()
        )
        try:
            async with aiohttp.ClientSession() as session:
                node = Anvil(f"http://127.0.0.1:{port}", session)
                async with asyncio.timeout(START_S):
                    await _answers(node, process, program)
                node.accounts = await node.call("eth_accounts")
                yield node
        finally:
            process.kill()
            await process.wait()


async def _answers(node: Anvil, process: asyncio.subprocess.Process, program: Path) -> None:
    while True:
        assert process.returncode is None, f"{program} has ended with {process.returncode}"
        try:
            await node.call("eth_chainId")
        except aiohttp.ClientError:
            await asyncio.sleep(0.02)
        else:
            return

"""The chain that backs the tickets: Livepeer's contracts on anvil, behind an RPC server as that of a provider."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from orchd.chain.contracts import ARBITRUM_ONE
from tests.doubles.gateway.purse import Funds
from tests.doubles.livepeer_chain.chain import LocalChain, RedeemedTicket
from tests.doubles.rpc.proxy import RpcProxy
from tests.tickets.validation.sender import Signer, checksummed

ETHER = 10**18
DEPOSIT, RESERVE = 10 * ETHER, 5 * ETHER
GATEWAY, OTHER, STRANGER = (Signer(bytes((digit,)) * 32) for digit in (0x46, 0x47, 0x48))
US = Signer(b"\x42" * 32).address


@dataclass(frozen=True)
class PaidChain:
    """Where orchd is registered and active, and three accounts have deposit and reserve.

    Attributes:
        rpc: orchd's server; its faults can be switched on.
        gateway, other, stranger: the accounts.
    """

    local: LocalChain
    rpc: RpcProxy
    folder: Path
    gateway: Signer = GATEWAY
    other: Signer = OTHER
    stranger: Signer = STRANGER

    @classmethod
    @asynccontextmanager
    async def started(cls, folder: Path) -> AsyncIterator[PaidChain]:
        """Start it, and end it afterwards."""
        async with LocalChain.started(ARBITRUM_ONE) as local, RpcProxy.serving(local.url) as rpc:
            chain = cls(local, rpc, folder)
            await local.activate(US)
            for account in (chain.gateway, chain.other, chain.stranger):
                await local.fund(account.address, DEPOSIT, RESERVE)
            yield chain

    @property
    def settings(self) -> dict[str, str]:
        """Those of an orchd on it."""
        urls = self.folder / "rpc-urls"
        urls.write_text(self.rpc.url + "\n")
        urls.chmod(0o600)
        return {
            "chain.id": str(self.local.id),
            "chain.rpc_url_file": str(urls),
            "chain.controller": self.local.controller,
            "chain.orchestrator": checksummed(US),
            "chain.poll_s": "0.2",
        }

    async def funds(self, account: Signer) -> Funds:
        """Return what an account sees of itself and of the chain."""
        return await self.local.funds(account.address)

    async def mine(self, blocks: int) -> None:
        """Let so many blocks come."""
        await self.local.anvil.mine(blocks)

    async def redeem(self, ticket: Mapping[str, str], sig: str, rand: int) -> None:
        """Redeem a ticket as `orchd tickets export` prints it."""
        raw = {name: bytes.fromhex(value[2:]) for name, value in ticket.items() if value.startswith("0x")}
        number = {name: int(value) for name, value in ticket.items() if not value.startswith("0x")}
        redeemed = RedeemedTicket(
            *(raw["recipient"], raw["sender"], number["faceValue"], number["winProb"], number["senderNonce"]),
            *(raw["recipientRandHash"], raw["auxData"]),
        )
        await self.local.redeem(redeemed, bytes.fromhex(sig[2:]), rand)

    async def earned(self) -> int:
        """Return what orchd's account was paid by the contract, in wei."""
        return await self.local.fees(US)

"""Livepeer's contracts on a local chain, and what orchestrators, senders and time do there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode, encode
from eth_hash.auto import keccak

from tests.doubles.gateway.purse import Funds
from tests.doubles.livepeer_chain.anvil import Anvil, anvil
from tests.doubles.livepeer_chain.compile import COMPILED

LOCAL = 31337
POOL_SIZE = 100
FIRST_ROUND = 4321
ROUND_LENGTH = 50
"""Blocks. More than terms are good for, so that a round can pass without them."""
_TICKET = "(address,address,uint256,uint256,uint256,bytes32,bytes)"
_PLENTY = 10**24


@dataclass(frozen=True)
class Contract:
    """One that is deployed."""

    address: str
    name: str

    def data(self, signature: str, *values: object) -> str:
        """Return the data of a call of this function."""
        return selectors_of(self.name)[signature] + encode(types_of(signature), values).hex()


@dataclass(frozen=True)
class RedeemedTicket:
    """A ticket as the TicketBroker takes it, in the order of its members."""

    recipient: bytes
    sender: bytes
    face_value: int
    win_prob: int
    sender_nonce: int
    recipient_rand_hash: bytes
    aux_data: bytes

    @property
    def values(self) -> tuple[object, ...]:
        return (
            self.recipient,
            self.sender,
            self.face_value,
            self.win_prob,
            self.sender_nonce,
            self.recipient_rand_hash,
            self.aux_data,
        )


class LocalChain:
    """The chain. Its rounds count its own blocks, as if it were the L1.

    Attributes:
        id: of the chain.
        anvil: for what is not here.
    """

    def __init__(self, node: Anvil, id: int) -> None:
        self.anvil = node
        self.id = id

    @classmethod
    @asynccontextmanager
    async def started(cls, chain_id: int = LOCAL, round_length: int = ROUND_LENGTH) -> AsyncIterator[LocalChain]:
        """Start a chain in its first round, with nobody active, and end it afterwards."""
        async with anvil(chain_id) as node:
            chain = cls(node, chain_id)
            await chain._deploy_all(round_length)
            yield chain

    @property
    def url(self) -> str:
        """Of its JSON-RPC: that of a chain which is no Arbitrum; see `tests/doubles/rpc`."""
        return self.anvil.url

    # What orchestrators and the protocol do.

    async def activate(self, orchestrator: bytes, *, active: bool = True) -> None:
        """Put an orchestrator into the active set, or out of it."""
        round = await self.read(self.rounds, "currentRound()", "uint256")
        await self.send(self.bonding, "setActive(address,bool,uint256)", orchestrator, active, round)

    async def next_round(self, *, initialize: bool = True) -> int:
        """Let blocks come until a round begins, and have somebody initialize it. Return its number."""
        round = await self.read(self.rounds, "currentRound()", "uint256")
        start = await self.read(self.rounds, "currentRoundStartBlock()", "uint256")
        passed = await self.read(self.rounds, "blockNum()", "uint256") - start
        await self.anvil.mine(await self.read(self.rounds, "roundLength()", "uint256") - passed)
        if initialize:
            await self.initialize_round()
        return int(round) + 1

    async def initialize_round(self) -> None:
        await self.send(self.rounds, "initializeRound()")

    async def set_round_hash(self, round: int, hash: bytes) -> None:
        """Have the RoundsManager keep this as a round's block hash, as the zeros that were reported of Arbitrum."""
        await self.send(self.rounds, "setBlockHashForRound(uint256,bytes32)", round, hash)

    async def pause(self, *, paused: bool = True) -> None:
        await self.send(self.controller_contract, "setPaused(bool)", paused)

    # What senders do.

    async def fund(self, sender: bytes, deposit: int, reserve: int) -> None:
        """Have a sender pay in, in wei."""
        value = deposit + reserve
        signature = "fundDepositAndReserve(uint256,uint256)"
        await self.send(self.broker, signature, deposit, reserve, by=sender, value=value)

    async def unlock(self, sender: bytes) -> None:
        await self.send(self.broker, "unlock()", by=sender)

    async def withdraw(self, sender: bytes) -> None:
        await self.send(self.broker, "withdraw()", by=sender)

    async def funds(self, sender: bytes) -> Funds:
        """Return what a sender sees of itself, and of the chain."""
        block = int(await self.anvil.call("eth_blockNumber"), 16)
        round = await self.read(self.rounds, "lastInitializedRound()", "uint256")
        hashed = await self.read(self.rounds, "blockHashForRound(uint256)", "bytes32", round)
        whole = "((uint256,uint256),(uint256,uint256))"
        (deposit, withdraw_round), (reserve, _) = await self.read(self.broker, "getSenderInfo(address)", whole, sender)
        return Funds(block, round, hashed, deposit, reserve, withdraw_round)

    # What recipients do.

    async def redeem(self, ticket: RedeemedTicket, sig: bytes, recipient_rand: int) -> dict[str, Any]:
        """Redeem a ticket, and return the receipt.

        Raises:
            AnvilError: it is refused; the text says why.
        """
        signature = f"redeemWinningTicket({_TICKET},bytes,uint256)"
        return await self.send(self.broker, signature, ticket.values, sig, recipient_rand)

    async def fees(self, recipient: bytes) -> int:
        """Return what a recipient has earned, in wei."""
        return int(await self.read(self.bonding, "fees(address)", "uint256", recipient))

    # All of it.

    async def send(
        self, to: Contract, signature: str, *values: object, by: bytes | None = None, value: int = 0
    ) -> dict[str, Any]:
        """Call a function in a transaction.

        Args:
            by: who pays; None = somebody.

        Raises:
            AnvilError: it reverts.
        """
        sender = self.anvil.accounts[0] if by is None else f"0x{by.hex()}"
        if by is not None:
            await self.anvil.call("anvil_setBalance", sender, hex(_PLENTY))
        return await self.anvil.send(sender, to.address, to.data(signature, *values), value)

    async def read(self, of: Contract, signature: str, returned: str, *values: object) -> Any:
        """Return what a function returns, of this one type."""
        data = await self.anvil.call("eth_call", {"to": of.address, "data": of.data(signature, *values)}, "latest")
        [found] = decode([returned], bytes.fromhex(data[2:]))
        return found

    async def _deploy_all(self, round_length: int) -> None:
        self.controller_contract = await self._deploy("Controller")
        self.controller = self.controller_contract.address
        self.rounds = await self._deploy("RoundsManager", ["uint256", "uint256"], FIRST_ROUND, round_length)
        self.bonding = await self._deploy("BondingManager", ["uint256"], POOL_SIZE)
        self.broker = await self._deploy("TicketBroker", ["address"], self.controller)
        for each in (self.rounds, self.bonding, self.broker):
            known_by = keccak(each.name.encode())
            await self.send(self.controller_contract, "setContract(bytes32,address)", known_by, each.address)
        await self.initialize_round()

    async def _deploy(self, name: str, types: Sequence[str] = (), *values: object) -> Contract:
        data = contracts()[name]["bytecode"] + encode(types, values).hex()
        receipt = await self.anvil.send(self.anvil.accounts[0], None, data)
        return Contract(receipt["contractAddress"], name)


def contracts() -> dict[str, Any]:
    """Return the compiled contracts by name."""
    found: dict[str, Any] = json.loads(COMPILED.read_text())["contracts"]
    return found


def selectors_of(name: str) -> dict[str, str]:
    """Return the selectors of a contract's functions by their signatures."""
    found: dict[str, str] = contracts()[name]["selectors"]
    return found


def types_of(signature: str) -> list[str]:
    """Return the types of a function's arguments."""
    types, depth = [""], 0
    for char in signature.partition("(")[2][:-1]:
        depth += (char == "(") - (char == ")")
        if char == "," and not depth:
            types.append("")
        else:
            types[-1] += char
    return [each for each in types if each]

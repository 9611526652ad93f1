"""RPC servers in memory: what they say, and the ways in which they fail. They answer at once: time can be virtual."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchd.chain.contracts import (
    BLOCK_HASH_FOR_ROUND,
    CLAIMED_RESERVE,
    GET_CONTRACT,
    GET_SENDER_INFO,
    GET_TRANSCODER_POOL_SIZE,
    IS_ACTIVE_TRANSCODER,
    LAST_INITIALIZED_ROUND,
    NAMES,
)
from orchd.domain.model import Secret
from orchd.rpc.client import RpcReply
from orchd.rpc.ports import RpcFault

SELECTOR = len("0x") + 8


@dataclass
class FakeFunds:
    """What the TicketBroker keeps of a payer."""

    deposit: int = 0
    withdraw_round: int = 0
    reserve: int = 0
    claimed: int = 0
    claimed_by_us: int = 0


@dataclass
class FakeChain:
    """A chain as several servers tell of it.

    Attributes:
        hashes: by round; others are zero.
        payers: by address, 20 bytes; others have nothing.
    """

    l1_block: int = 1000
    round: int = 7
    hashes: dict[int, int] = field(default_factory=lambda: {6: 0x66, 7: 0x77})
    active: bool = True
    pool_size: int = 100
    gas_price: int = 10_000_000
    payers: dict[bytes, FakeFunds] = field(default_factory=dict)


class FakeRpcServer:
    """One server.

    Attributes:
        chain: what it says.
        hangs: it never answers.
        reply: in place of everything, if set; a text is a whole body.
        takes_batches: it answers several calls at once.
        asked: the methods and selectors of all calls, in order. `requests`: how many.
        l1_blocks: its blocks have an l1BlockNumber.
    """

    def __init__(self, chain: FakeChain, chain_id: int) -> None:
        self.chain = chain
        self.chain_id = chain_id
        self.hangs = False
        self.reply: RpcReply | None = None
        self.takes_batches = True
        self.l1_blocks = True
        self.asked: list[str] = []
        self.requests = 0

    def says(self, body: str | bytes, status: int = 200, retry_after_s: float = 0.0) -> None:
        """Answer everything with this from now on."""
        self.reply = RpcReply(status, body.encode() if isinstance(body, str) else body, retry_after_s)

    async def answer(self, document: Any) -> RpcReply:
        self.requests += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.reply is not None:
            return self.reply
        if isinstance(document, list) and not self.takes_batches:
            return _json({"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no batches"}})
        return _json([self._one(call) for call in document] if isinstance(document, list) else self._one(document))

    def _one(self, call: Mapping[str, Any]) -> Any:
        return {"jsonrpc": "2.0", "id": call["id"], "result": self._result(call["method"], call["params"])}

    def _result(self, method: str, params: list[Any]) -> Any:
        self.asked.append(method if method != "eth_call" else params[0]["data"][:SELECTOR])
        match method:
            case "eth_chainId":
                return hex(self.chain_id)
            case "eth_blockNumber":
                return hex(9_000_000 + self.chain.l1_block)
            case "eth_gasPrice":
                return hex(self.chain.gas_price)
            case "eth_getBlockByNumber":
                l1 = {"l1BlockNumber": hex(self.chain.l1_block)} if self.l1_blocks else {}
                return {"number": hex(9_000_000 + self.chain.l1_block), **l1}
        return self._returned(params[0]["data"][:SELECTOR], bytes.fromhex(params[0]["data"][SELECTOR:]))

    def _returned(self, selector: str, given: bytes) -> str:
        chain, payer = self.chain, self.chain.payers.get(given[12:32], FakeFunds())
        return words(
            *{
                GET_CONTRACT: lambda: [1 + list(NAMES.values()).index(given.hex())],
                LAST_INITIALIZED_ROUND: lambda: [chain.round],
                BLOCK_HASH_FOR_ROUND: lambda: [chain.hashes.get(int.from_bytes(given, "big"), 0)],
                GET_TRANSCODER_POOL_SIZE: lambda: [chain.pool_size],
                IS_ACTIVE_TRANSCODER: lambda: [int(chain.active)],
                GET_SENDER_INFO: lambda: [payer.deposit, payer.withdraw_round, payer.reserve, payer.claimed],
                CLAIMED_RESERVE: lambda: [payer.claimed_by_us],
            }[selector]()
        )


class FakeRpcClient:
    """`rpc.client.RpcClient`: the servers by their URLs; nobody else is there."""

    def __init__(self, **servers: FakeRpcServer) -> None:
        self.servers = {f"http://{name}/k3y": server for name, server in servers.items()}

    @property
    def urls(self) -> Secret:
        """The content of a file with all of them."""
        return Secret("\n".join(self.servers))

    async def post(self, url: Secret, document: object) -> RpcReply:
        if (server := self.servers.get(url.value)) is None:
            raise RpcFault("connection refused: nothing listens on this port there")
        return await server.answer(document)

    async def close(self) -> None:
        """Nothing is kept."""


def words(*values: int) -> str:
    """Return the ABI encoding of these integers."""
    return "0x" + b"".join(value.to_bytes(32, "big") for value in values).hex()


def _json(answer: Any) -> RpcReply:
    return RpcReply(200, json.dumps(answer).encode())

"""EDGE. `net.Orchestrator` of the node's service port: GetOrchestrator, the one true list of capabilities, and Ping.

The gRPC server is grpcio's, started by the first connection, behind a loopback port of its own; `alpn` brings the
callers of the service port here. Field numbers other than 33 carry what orchestrators say to gateways and are there
for shape. Source: byoc.md 4.2; onchain-grpc.json.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from orchd.tasks import cancel, spawn
from tests.doubles.golivepeer import byoc_creds, protobuf
from tests.doubles.golivepeer.byoc_creds import BadCreds
from tests.doubles.golivepeer.chain import ChainRefusal
from tests.doubles.golivepeer.signing import eth_account

if TYPE_CHECKING:
    from tests.doubles.golivepeer.node import Node

BYOC = 37
_CALL_LIMIT_S = 30.0


class Unknown(Exception):
    """gRPC status UNKNOWN with this text."""


def get_orchestrator(node: Node, request: bytes) -> bytes:
    """Answer the call. Raises Unknown."""
    said = protobuf.decode(request)
    address = said.get(1, [b""])[0]
    signature = said.get(2, [b""])[0]
    if not isinstance(address, bytes) or not isinstance(signature, bytes):
        raise Unknown("malformed request")
    sender = _checksummed(address)
    try:
        byoc_creds.check(sender, signature.hex(), sender, node.settings.on_chain)
    except BadCreds:
        raise Unknown("Invalid orchestrator request: orchestrator req sig check failed") from None
    if node.max_sessions == 0:
        raise Unknown("OrchestratorCapped")
    return orchestrator_info(node, sender)


def orchestrator_info(node: Node, sender: str) -> bytes:
    """Raises Unknown: the base price is above 0 and the sender has no reserve."""
    chain = node.settings.on_chain
    fields: list[tuple[int, protobuf.Value]] = [(1, node.service_uri.encode())]
    if chain is not None:
        base = node.base_prices.prices.get(sender.lower(), node.base_prices.prices.get("default", Fraction(0)))
        try:
            price = chain.adjusted(sender, base)
            fields.append((2, _ticket_params(chain.ticket_params(sender, price.numerator))))
        except ChainRefusal as refusal:
            raise Unknown(str(refusal)) from refusal
        fields.append((3, protobuf.encode((1, price.numerator), (2, price.denominator))))
        fields.append((4, bytes.fromhex(chain.orchestrator[2:])))
    auth = ((1, secrets.token_bytes(32)), (2, secrets.token_hex(4).encode()), (3, int(time.time()) + 1800))
    fields.append((6, protobuf.encode(*auth)))
    return protobuf.encode(*fields, *((33, price) for price in _capability_prices(node)))


def _capability_prices(node: Node) -> list[bytes]:
    """Whole wei per second, overhead not included; zero is listed, negative is not."""
    return [
        protobuf.encode((1, whole), (2, 1), (3, BYOC), (4, name.encode()))
        for name, capability in node.byoc.capabilities.items()
        if (whole := capability.price.numerator // capability.price.denominator) >= 0
    ]


def _ticket_params(terms: dict[str, Any]) -> bytes:
    names = ("recipient", "face_value", "win_prob", "recipient_rand_hash", "seed", "expiration_block")
    expiry = terms["expiration_params"]
    fields = [(number, base64.b64decode(terms.get(name, ""))) for number, name in enumerate(names, 1)]
    block_hash = base64.b64decode(expiry["creation_round_block_hash"])
    return protobuf.encode(*fields, (7, protobuf.encode((1, expiry["creation_round"]), (2, block_hash))))


def ping(node: Node, request: bytes) -> bytes:
    """Return the value signed with the node's key; as it is, off-chain."""
    value = protobuf.decode(request).get(1, [b""])[0]
    chain = node.settings.on_chain
    if chain is not None and isinstance(value, bytes):
        eth = eth_account()
        from eth_utils.crypto import keccak

        signable = eth.messages.encode_defunct(primitive=keccak(value))
        value = bytes(eth.Account.sign_message(signable, chain.key).signature)
    return protobuf.encode((1, value))


def _checksummed(address: bytes) -> str:
    from eth_utils.address import to_checksum_address

    return str(to_checksum_address(address.rjust(20, b"\0")))


class GrpcPort:
    """Takes the HTTP/2 connections of the service port."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._server: Any = None
        self._port = 0
        self._relays: set[asyncio.Task[None]] = set()

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay = spawn(self._relay(reader, writer), name="grpc-relay")
        self._relays.add(relay)
        relay.add_done_callback(self._relays.discard)

    async def stop(self) -> None:
        await cancel(*self._relays)
        if self._server is not None:
            await asyncio.to_thread(self._server.stop(None).wait)
            self._server = None

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:
            self._start()
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            there = spawn(_copy(reader, back_writer), name="grpc-there")
            back = spawn(_copy(back_reader, writer), name="grpc-back")
            try:
                await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
            finally:
                await cancel(there, back)
        finally:
            back_writer.close()
            writer.close()

    def _start(self) -> None:
        import grpc  # type: ignore[import-untyped]

        loop = asyncio.get_running_loop()

        def method(answer: Callable[[Node, bytes], bytes]) -> Any:
            def call(request: bytes, context: Any) -> bytes:
                # The node's state belongs to its loop.
                future = asyncio.run_coroutine_threadsafe(_on_loop(answer, self._node, request), loop)
                try:
                    return future.result(_CALL_LIMIT_S)
                except Unknown as refusal:
                    context.abort(grpc.StatusCode.UNKNOWN, str(refusal))
                    raise

            return grpc.unary_unary_rpc_method_handler(call)

        methods = {"GetOrchestrator": method(get_orchestrator), "Ping": method(ping)}
        self._server = grpc.server(ThreadPoolExecutor(2))
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("net.Orchestrator", methods),))
        self._port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()


async def _on_loop(answer: Callable[[Node, bytes], bytes], node: Node, request: bytes) -> bytes:
    return answer(node, request)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        return

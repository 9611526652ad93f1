"""EDGE. A caller of the node's gRPC methods, over its TLS port, on bytes. Source: byoc.md 4.2."""

from __future__ import annotations

import asyncio

from tests.doubles.golivepeer.node import Node

_LIMIT_S = 30.0


class CallFailed(Exception):
    """The status's name, and what the node said."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details


async def call(node: Node, method: str, request: bytes) -> bytes:
    """Raises CallFailed."""
    return await asyncio.to_thread(_call, node, method, request)


def _call(node: Node, method: str, request: bytes) -> bytes:
    import grpc  # type: ignore[import-untyped]

    address = node.service_url.removeprefix("https://")
    trust = grpc.ssl_channel_credentials(node.certificate_path.read_bytes())
    with grpc.secure_channel(address, trust) as channel:
        try:
            answer: bytes = channel.unary_unary(f"/net.Orchestrator/{method}")(request, timeout=_LIMIT_S)
        except grpc.RpcError as error:
            raise CallFailed(str(error.code()), error.details()) from error
    return answer

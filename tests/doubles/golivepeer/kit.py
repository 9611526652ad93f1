"""For tests of the double itself: a node with a worker behind it, and a caller in front."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.doubles.golivepeer.byoc import Capability
from tests.doubles.golivepeer.node import Node, NodeSettings
from tests.doubles.shared import caller
from tests.doubles.shared.caller import Answer
from tests.doubles.shared.clock import Clock
from tests.doubles.shared.worker import Worker

SECRET = {"Authorization": "s3cret"}
NAME = "echo/one"
# The throw-away account of byoc.md 3.1; it has a reserve in the default chain.
FUNDED_KEY = "46" * 32
UNFUNDED_KEY = "48" * 32


@dataclass
class Kit:
    node: Node
    worker: Worker
    clock: Clock

    @property
    def capability(self) -> Capability:
        return self.node.byoc.capabilities[NAME]

    @property
    def worker_url(self) -> str:
        return f"http://127.0.0.1:{self.worker.port}"

    async def call(
        self, method: str, target: str, headers: dict[str, str] | None = None, body: str | bytes = b""
    ) -> Answer:
        """On the service port."""
        return await caller.call(self.node.service_url, method, target, headers, body)

    async def cli(
        self, target: str, method: str = "GET", headers: dict[str, str] | None = None, body: str = ""
    ) -> Answer:
        return await caller.call(self.node.cli_url, method, target, headers, body)

    async def register(self, name: str = NAME, capacity: int = 2, **more: Any) -> Answer:
        said = {"name": name, "url": self.worker_url, "capacity": capacity, **more}
        return await self.call("POST", "/capability/register", SECRET, json.dumps(said))

    async def token(self, name: str = NAME, key: str = FUNDED_KEY) -> Answer:
        headers = {"Livepeer-Eth-Address": _base64(asker(key)), "Livepeer-Capability": name}
        return await self.call("GET", "/process/token", headers)

    async def job(self, path: str = "x", name: str = NAME, *, body: str = "{}", **fields: Any) -> Answer:
        return await self.call("POST", f"/process/request/{path}", job_header(name, **fields), body)

    async def stream(self, action: str, stream_id: str = "cam1", *, body: str = "{}", **fields: Any) -> Answer:
        header = job_header(id=stream_id, request=json.dumps({"stream_id": stream_id}), **fields)
        return await self.call("POST", f"/ai/stream/{action}", header, body)


def _base64(value: dict[str, Any]) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def sign(message: str, key: str) -> tuple[str, str]:
    """Return the checksummed address of `key` and its signature, as gateways send them (byoc.md 3.1)."""
    from eth_keys.datatypes import PrivateKey
    from eth_utils.crypto import keccak

    private = PrivateKey(bytes.fromhex(key))
    text = message or private.public_key.to_checksum_address()
    digest = keccak(b"\x19Ethereum Signed Message:\n32" + keccak(text=text))
    raw = bytearray(private.sign_msg_hash(digest).to_bytes())
    raw[64] += 27
    return private.public_key.to_checksum_address(), raw.hex()


def asker(key: str) -> dict[str, str]:
    """The token header of `key`'s owner: the signed text is the address itself."""
    address, signature = sign("", key)
    return {"addr": address, "sig": signature}


def job_header(name: str = NAME, *, key: str = FUNDED_KEY, **fields: Any) -> dict[str, str]:
    """The `Livepeer` header of a signed job, `fields` changed or added."""
    job: dict[str, Any] = {
        "id": "job1",
        "request": "{}",
        "parameters": "{}",
        "capability": name,
        "timeout_seconds": 5,
    } | fields
    address, signature = sign(job["request"] + job["parameters"], key)
    signed = {"sender": address, "sig": signature} | job
    return {"Livepeer": _base64(signed), "Content-Type": "application/json"}


@asynccontextmanager
async def kit(**settings: Any) -> AsyncIterator[Kit]:
    """Run a node with these settings, and a worker; `echo/one` is not registered yet."""
    clock = Clock()
    worker = Worker(clock)
    await worker.start()
    try:
        async with Node(NodeSettings(**settings), clock) as node:
            yield Kit(node, worker, clock)
    finally:
        await worker.stop()

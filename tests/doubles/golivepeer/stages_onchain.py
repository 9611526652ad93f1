"""What the recorded on-chain files need beside their own steps, and how to do those recorded without their request."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tests.doubles.golivepeer import stages_grpc
from tests.doubles.golivepeer.chain import Chain
from tests.doubles.golivepeer.replay import Replay, Stage
from tests.doubles.golivepeer.stages import register

ROUND_5 = "0xed74e6d595f22510c2caf09b97a584fbb93d8dd363c91dc8c39e32457f5e84d3"
ROUND_9 = "0xe49f943c33eaa62ccce014551229bd3e9126b4ff2b86062c4047e5edcc0066a4"

Instead = Callable[[Replay, Mapping[str, Any]], Awaitable[None]]


def get(target: str, listener: str = "cli") -> Instead:
    """A step whose request is its label."""

    async def ask(replay: Replay, step: Mapping[str, Any]) -> None:
        answer = await replay.exchange(listener, "GET", target, {}, b"")
        if "response" in step:
            replay.same(step["response"], answer)

    return ask


async def registered_unadjusted(replay: Replay) -> None:
    for name, price, scaling in (("paid", 2500000, 1), ("frac", 1, 3), ("huge", 2**63 - 1, 1), ("rat", 100, 3)):
        await register(replay, f"aa/{name}", 2, price_per_unit=price, price_scaling=scaling, currency="wei")


async def free_capability(replay: Replay) -> None:
    await register(replay, "echo/free", 2)


async def token_of_the_node(replay: Replay, step: Mapping[str, Any]) -> None:
    """The token of whoever the recorded one names."""
    asker = json.loads(step["response"]["body"])["sender_address"]
    header = base64.b64encode(json.dumps(asker).encode()).decode()
    headers = {"Livepeer-Eth-Address": header, "Livepeer-Capability": "echo/free"}
    replay.same(step["response"], await replay.exchange("service", "GET", "/process/token", headers, b""))


async def terminated_and_started(replay: Replay, _step: Mapping[str, Any]) -> None:
    """The recorded node knew the block before its start until the next one came."""
    await replay.node.stop()
    await replay.node.start()
    chain = replay.node.settings.on_chain
    assert chain is not None
    chain.block -= 1


STAGES: dict[str, Stage] = {
    "onchain-token-noadjust.json": Stage(
        {
            "on_chain": Chain(auto_adjust_price=False, block=1042, round=5, round_block_hash=ROUND_5),
            "service_uri": "https://ai2.example.co:8935",
        },
        registered_unadjusted,
    ),
    "onchain-price.json": Stage({"on_chain": Chain(block=1833, round=9, round_block_hash=ROUND_9)}),
    "onchain-restart.json": Stage(instead={"SIGTERM and start again": terminated_and_started}),
    "onchain-cli.json": Stage(
        prepare=free_capability,
        instead={"token with the node's own signature from signMessage": token_of_the_node},
    ),
    "onchain-set-orchestrator-config.json": Stage(instead={"orchestratorInfo": get("/orchestratorInfo")}),
    "onchain-ai-registry.json": Stage(
        {"on_chain": Chain(uri="")},
        instead={
            "orchestratorInfo, nothing registered": get("/orchestratorInfo"),
            "contractAddresses": get("/contractAddresses"),
        },
    ),
    "onchain-grpc.json": Stage(
        prepare=stages_grpc.registered,
        instead={
            **stages_grpc.INSTEAD,
            "cli: setPriceForBroadcaster poor 0": get(
                "/setPriceForBroadcaster?pricePerUnit=0&pixelsPerUnit=1"
                "&broadcasterEthAddr=0x1999BEC693CfC3FFa9727070f9e2B8091EC563Bf"
            ),
            "GET /healthz on the service port": get("/healthz", "service"),
            "GET /discovery on the service port (no -useLiveRunners)": get("/discovery", "service"),
        },
    ),
}

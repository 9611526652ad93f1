"""A node (the double), and the parts of ours that talk to it, on the test's own loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import Any

from orchd.advertise.board import Board
from orchd.advertise.settings import OrchestratorSettings
from orchd.domain.ids import ModelKey
from orchd.domain.model import Secret
from orchd.domain.money import Price
from orchd.domain.offer import NodeStatus, Offer, Offers
from orchd.node.client import NodeClient
from tests.golivepeer.clock import RealClock
from tests.golivepeer.node import Node, NodeSettings

BOUND_S = 20.0
"""Real seconds; nothing here takes as long."""


async def until(what: str, condition: Callable[[], object]) -> None:
    """Wait until `condition` holds; fail with `what` if it never does."""
    try:
        async with asyncio.timeout(BOUND_S):
            while not condition():  # noqa: ASYNC110 - the condition is the node's, which sets no event of ours
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"never came true: {what}") from None


class CountingBoard(Board):
    """Attributes:
    looks: how often the node was looked at.
    """

    looks = 0

    def saw(self, node: NodeStatus) -> None:
        self.looks += 1
        super().saw(node)


class Jobs:
    """What the board asks the session table: set by tests."""

    def __init__(self) -> None:
        self.active: Counter[ModelKey] = Counter()
        self.begun: Counter[ModelKey] = Counter()
        self.streams: Counter[ModelKey] = Counter()

    def board(self) -> CountingBoard:
        return CountingBoard(
            active=lambda key: self.active[key],
            begun=lambda key: self.begun[key],
            streams=lambda key: self.streams[key],
        )


def key(name: str) -> ModelKey:
    return ModelKey("llm", name)


def offer(name: str, capacity: int = 1, price: int | Price = 0, capability: str = "") -> Offer:
    """Return an offer of model `llm/NAME`."""
    asked = price if isinstance(price, Price) else Price(Fraction(price))
    return Offer(key(name), key(name).slug, capability or f"llm/{name}", capacity, asked, persistent=False)


def offers(*found: Offer, why_not: dict[ModelKey, str] | None = None) -> Offers:
    return Offers({each.key: each for each in found}, why_not or {})


def settings_for(node: Node, *, cli: bool = True, **changes: Any) -> OrchestratorSettings:
    quick = {"poll_s": 0.02, "call_timeout_s": 2.0, "check_s": 0.05}
    return OrchestratorSettings.model_validate(
        {"service_url": node.service_url, "cli_url": node.cli_url if cli else "", **quick, **changes}
    )


@asynccontextmanager
async def node(**settings: Any) -> AsyncIterator[Node]:
    async with Node(NodeSettings(**settings), RealClock()) as running:
        yield running


@asynccontextmanager
async def client_of(settings: OrchestratorSettings, secret: str | None = "s3cret") -> AsyncIterator[NodeClient]:
    client = NodeClient(settings, Secret(secret) if secret else None)
    try:
        yield client
    finally:
        await client.close()

"""A node (the double), and the parts of ours that talk to it, on the test's own loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from orchd.advertise.listings import Listings
from orchd.advertise.settings import OrchestratorSettings
from orchd.domain.details import HostGpu
from orchd.domain.ids import ModelKey
from orchd.domain.model import Secret
from orchd.domain.money import Price
from orchd.domain.offer import NodeStatus, Offer, Offers
from orchd.domain.signal import Signal
from orchd.node.client import NodeClient
from orchd.node.ports import Discovered, Probed
from tests.doubles.golivepeer.node import Node, NodeSettings
from tests.doubles.livepeer_node.node import Node as LivepeerNode
from tests.doubles.livepeer_node.settings import NodeSettings as LivepeerNodeSettings
from tests.doubles.shared.clock import RealClock

BOUND_S = 60.0
"""Real seconds; nothing here takes as long."""


async def until(what: str, condition: Callable[[], object]) -> None:
    """Wait until `condition` holds; fail with `what` if it never does."""
    try:
        async with asyncio.timeout(BOUND_S):
            while not condition():  # noqa: ASYNC110 - the condition is the node's, which sets no event of ours
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"never came true: {what}") from None


class CountingListings(Listings):
    """Attributes:
    looks: how often the node was looked at.
    """

    looks = 0

    def set_node(self, node: NodeStatus) -> None:
        self.looks += 1
        super().set_node(node)


class Jobs:
    """What the listings ask the session table: set by tests."""

    def __init__(self) -> None:
        self.active: Counter[ModelKey] = Counter()
        self.begun: Counter[ModelKey] = Counter()
        self.streams: Counter[ModelKey] = Counter()
        self.running: Counter[ModelKey] = Counter()

    def listings(self) -> CountingListings:
        return CountingListings(
            active=lambda key: self.active[key],
            begun=lambda key: self.begun[key],
            streams=lambda key, door: self.streams[key],
            jobs=lambda key, door: self.running[key],
        )


def key(name: str) -> ModelKey:
    return ModelKey("llm", name)


def offer(name: str, capacity: int = 1, price: int | Price = 0, capability: str = "") -> Offer:
    """Return an offer of model `llm/NAME`."""
    asked = price if isinstance(price, Price) else Price(Fraction(price))
    return Offer(key(name), key(name).slug, capability or f"llm/{name}", capacity, asked, persistent=False)


def offers(*found: Offer, why_not: dict[ModelKey, str] | None = None) -> Offers:
    return Offers({each.key: each for each in found}, why_not or {})


class FakeWatch:
    """`node.ports.RestartWatch` that counts suspicions."""

    def __init__(self) -> None:
        self.status = NodeStatus()
        self.polled: Signal[NodeStatus] = Signal()
        self.discovered: Signal[Discovered] = Signal()
        self.suspicions = 0
        self.lost: list[float] = []
        """When what the node has forgotten was taken."""

    def suspect(self, taken_at: float | None = None) -> None:
        self.suspicions += 1
        self.lost += [taken_at] if taken_at is not None else []

    def ask(self, registry: str, spoken: Callable[[Probed], Awaitable[bool]]) -> None:
        """The tests say what is spoken."""

    async def run(self) -> None:
        raise AssertionError("the tests say how the node stands")


@dataclass
class NodeSessionsSeen:
    """`ports.NodeSessions` that keeps what it is told."""

    held: dict[ModelKey, set[str]] = field(default_factory=dict)
    told: list[tuple[str, str]] = field(default_factory=list)

    def of(self, key: ModelKey) -> set[str]:
        return self.held.setdefault(key, set())

    def reserved(self, key: ModelKey, session: str) -> None:
        self.told.append(("reserved", session))
        self.of(key).add(session)

    def released(self, key: ModelKey, session: str) -> None:
        self.told.append(("released", session))
        self.of(key).discard(session)

    def listed(self, key: ModelKey, sessions: frozenset[str], asked_at: float) -> None:
        assert asked_at <= asyncio.get_running_loop().time()
        self.held[key] = set(sessions)

    def forgotten(self, key: ModelKey, asked_at: float) -> None:
        assert asked_at <= asyncio.get_running_loop().time()
        self.told.append(("forgotten", str(key)))
        self.held[key] = set()


async def no_gpus() -> tuple[HostGpu, ...]:
    """This machine has none."""
    return ()


def settings_for(node: Node | LivepeerNode, *, cli: bool = True, **changes: Any) -> OrchestratorSettings:
    """Return quick settings for either program; `cli` has no meaning for Livepeer Node, which has no such port."""
    quick = {"poll_s": 0.02, "call_timeout_s": 20.0, "check_s": 0.05}
    cli_url = node.cli_url if cli and isinstance(node, Node) else ""
    return OrchestratorSettings.model_validate(
        {"service_url": node.service_url, "cli_url": cli_url, **quick, **changes}
    )


@asynccontextmanager
async def node(**settings: Any) -> AsyncIterator[Node]:
    """Run go-livepeer's double."""
    async with Node(NodeSettings(**settings), RealClock()) as running:
        yield running


@asynccontextmanager
async def livepeer_node(**settings: Any) -> AsyncIterator[LivepeerNode]:
    """Run the double of Livepeer Node."""
    async with LivepeerNode(LivepeerNodeSettings(**settings), RealClock()) as running:
        yield running


@asynccontextmanager
async def client_of(settings: OrchestratorSettings, secret: str | None = "s3cret") -> AsyncIterator[NodeClient]:
    client = NodeClient(settings, Secret(secret) if secret else None)
    try:
        yield client
    finally:
        await client.close()

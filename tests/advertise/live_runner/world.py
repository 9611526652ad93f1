"""orchd's Live Runner writer beside the double of either node program, with everything around it in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from fractions import Fraction
from typing import Any

from orchd import tasks
from orchd.advertise.free_slots import SlotUse
from orchd.advertise.listings import Listings
from orchd.advertise.live_runner import NAME
from orchd.advertise.live_runner.registry import LiveRegistry
from orchd.advertise.registry import RegistryContext
from orchd.advertise.settings import OrchestratorSettings
from orchd.domain.details import NO_DETAILS, Details
from orchd.domain.ids import ModelKey
from orchd.domain.model import Secret
from orchd.domain.money import Currency, Price
from orchd.domain.offer import NodeProgram, NodeStatus, Offer, Offers, Published
from orchd.errors import Code
from orchd.node.client import NodeClient
from orchd.node.ports import NodeAccess, NodeAnswer, SecretFileSeen
from orchd.node.route_secrets import RouteSecrets
from tests.advertise.rig import FakeWatch, NodeSessionsSeen, until
from tests.doubles.golivepeer.live_registry import Runner
from tests.doubles.golivepeer.node import Node, NodeSettings
from tests.doubles.livepeer_node.node import Node as LivepeerNode
from tests.doubles.livepeer_node.registry import Runner as LivepeerNodeRunner
from tests.doubles.livepeer_node.settings import NodeSettings as LivepeerNodeSettings
from tests.doubles.shared.clock import Clock
from tests.fakes.stored import FakeSecretStore

SECRET = "s3cret-of-the-node"


def key(name: str = "xl") -> ModelKey:
    return ModelKey("text-to-image", f"acme/{name}")


def offer(
    name: str = "xl",
    *,
    capacity: int = 2,
    persistent: bool = True,
    price: Price | None = None,
    app: str = "",
    details: Details = NO_DETAILS,
) -> Offer:
    usd = price or Price(Fraction(12, 10), 3600, Currency.USD)
    return Offer(key(name), key(name).slug, app or str(key(name)), capacity, usd, persistent, details=details)


class CountingClient(NodeClient):
    """Attributes:
    looks: how often discovery was read.
    """

    looks = 0

    async def service(self, method: str, path: str, **rest: Any) -> NodeAnswer:
        answer = await super().service(method, path, **rest)
        self.looks += path == "/discovery"
        return answer


class World:
    """Attributes:
    active: what `listings.active` says of every model.
    healthy: models that the node is to take for healthy.
    secret_file: where `secret` is from; `look` in it may change that.
    slots: what is free; None = everything, always. Set before `orchd`.
    """

    program = NodeProgram.GO_LIVEPEER

    def __init__(self, node: Node, **settings: object) -> None:
        self.node = node
        self.settings = OrchestratorSettings.model_validate(
            {"service_url": node.service_url, "call_timeout_s": 5.0, **settings}
        )
        self.active: dict[ModelKey, int] = {}
        self.store = FakeSecretStore()
        self.sessions = NodeSessionsSeen()
        self.watch = FakeWatch()
        self.healthy: set[ModelKey] = set()
        self.secrets = RouteSecrets("00" * 32, 3600.0)
        self.secret: Secret | None = Secret(SECRET)
        self.eth_usd: Fraction | None = Fraction(3000)
        self.secret_file = SecretFileSeen()
        self.on_chain: bool | None = None
        self.slots: SlotUse | None = None
        self.listings = self._new_listings()
        self._registry: LiveRegistry | None = None

    @property
    def registry(self) -> LiveRegistry:
        assert self._registry is not None
        return self._registry

    def _new_listings(self) -> Listings:
        return Listings(
            active=lambda key: self.active.get(key, 0),
            begun=lambda key: 0,
            streams=lambda key, door: 0,
            slots=self.slots,
        )

    def node_is_up(self) -> None:
        """As the watch would say it after a start of the node."""
        before = self.listings.node
        self.listings.set_node(
            NodeStatus(True, before.epoch + 1, before.since + 1, self.on_chain, "0.9.x", (NAME,), program=self.program)
        )

    def node_is_back(self) -> None:
        """As the watch would say it when the same process answers again."""
        self.listings.set_node(replace(self.listings.node, since=self.listings.node.since + 1))

    def post(self, *offers: Offer, why_not: tuple[str, ...] = ()) -> None:
        """Offer these models; `why_not` names others that are ours and are not offered."""
        self.listings.set_offers(
            Offers({each.key: each for each in offers}, {key(name): "not ready" for name in why_not})
        )

    @asynccontextmanager
    async def orchd(self, *, withdraw: bool = False) -> AsyncIterator[World]:
        """One life of the writer: ends as by a kill, or in order."""
        self.listings = self._new_listings()
        self.healthy.clear()
        self.sessions = NodeSessionsSeen()
        client = self.client = CountingClient(self.settings, self.secret)
        self.secret_file.changed.connect(self.listings.wake)
        self._registry = LiveRegistry(
            RegistryContext(
                NodeAccess(client, self.secrets, self.store, self.watch, self.healthy, secret_file=self.secret_file),
                self.listings,
                self.settings,
                lambda: self.eth_usd,
                self.sessions,
                "test",
            )
        )
        running = tasks.spawn(self._registry.run(), name="live runner")
        try:
            yield self
            assert not running.done(), "the registry has ended"
        finally:
            await tasks.cancel(running)
            if withdraw:
                await self._registry.withdraw_all()
            await client.close()

    def use_secret(self, secret: str, *, around: str = "") -> None:
        """As `orchd.node.secret_file` does when the file has changed."""
        self.secret = Secret(secret)
        self.secret_file.around = around
        self.client.use_secret(self.secret)
        self.secret_file.changed.emit()

    async def looked_again(self) -> None:
        """Wait until all that discovery shows now has been compared."""
        before = self.client.looks
        await until("discovery was read again, and again after that", lambda: self.client.looks > before + 2)

    # What the node has.

    async def discovery(self) -> bytes:
        """Return what it answers to anybody who asks what it offers."""
        return (await self.client.service("GET", "/discovery")).body

    def runner(self, name: str = "xl") -> Runner | None:
        """Return the node's record, listed or not."""
        registry = self.node.live_runners.registry
        known = registry.known(self.registry.runner_id(key(name)))
        return known or registry.labelled(self.registry.runner_id(key(name)))

    def capacity(self, name: str = "xl") -> int | None:
        """Return the capacity that discovery shows; None = it is not listed."""
        routes = {each["url"].split("/apps/")[1].split("/")[0]: each for each in self.node.live_runners.offered()}
        found = routes.get(self.registry.runner_id(key(name)))
        return found["capacity"] if found else None

    def reserve(self, name: str = "xl") -> str:
        """Reserve a session as a gateway would."""
        runner = self.runner(name)
        assert runner is not None
        return self.node.live_runners.registry.reserve(runner).session_id

    def release(self, session: str, name: str = "xl") -> None:
        runner = self.runner(name)
        assert runner is not None
        self.node.live_runners.registry.release(runner, session)

    def standing(self, name: str = "xl") -> Published:
        """Return what orchd's status says."""
        return self.listings.published[NAME].get(
            key(name), Published(wanted=False, published=False, confirmed=None, since=0.0)
        )


class LivepeerNodeWorld(World):
    """The same beside Livepeer Node's double."""

    program = NodeProgram.LIVEPEER_NODE

    def __init__(self, node: LivepeerNode, **settings: object) -> None:
        super().__init__(node, **settings)  # type: ignore[arg-type]  # What is used of it here, both have.
        self.livepeer_node = node

    def runner(self, name: str = "xl") -> LivepeerNodeRunner | None:  # type: ignore[override]  # As above.
        return self.livepeer_node.live_runners.registry.known(self.registry.runner_id(key(name)))

    def capacity(self, name: str = "xl") -> int | None:
        """Return the capacity of what is listed, or would be but for its sessions; None = it is not."""
        runner = self.runner(name)
        usable = runner is not None and self.livepeer_node.live_runners.registry.usable(runner)
        return runner.entry.capacity if runner is not None and usable else None

    def shown(self, name: str = "xl") -> bool:
        """Return whether discovery has it."""
        routes = {each["url"].split("/apps/")[1].split("/")[0] for each in self.livepeer_node.live_runners.offered()}
        return self.registry.runner_id(key(name)) in routes

    def reserve(self, name: str = "xl") -> str:
        runner = self.runner(name)
        assert runner is not None
        registry = self.livepeer_node.live_runners.registry
        return registry.reserve(runner.runner_id, persistent=runner.persistent).session_id

    def release(self, session: str, name: str = "xl") -> None:
        runner = self.runner(name)
        assert runner is not None
        self.livepeer_node.live_runners.registry.end(runner.sessions[session])


@asynccontextmanager
async def world(node: NodeSettings | None = None, **settings: object) -> AsyncIterator[World]:
    """A running go-livepeer, with a clock that stands still, and an orchd that was not started yet."""
    flags = node or NodeSettings(orch_secret=SECRET, use_live_runners=True, plain_http=True)
    async with Node(flags, Clock()) as running:
        beside = World(running, **{"cli_url": running.cli_url, **settings})
        beside.on_chain = flags.on_chain is not None
        yield beside


@asynccontextmanager
async def livepeer_node_world(
    node: LivepeerNodeSettings | None = None, **settings: object
) -> AsyncIterator[LivepeerNodeWorld]:
    """The same with Livepeer Node; nobody knows whether it is on chain."""
    async with LivepeerNode(node or LivepeerNodeSettings(bootstrap_secret=SECRET.encode()), Clock()) as running:
        yield LivepeerNodeWorld(running, **settings)


WORLDS: dict[str, Callable[[], AbstractAsyncContextManager[World]]] = {
    "go-livepeer": world,
    "livepeer-node": livepeer_node_world,
}


async def a_hanging_or_failing_node_delays_and_breaks_nothing(beside: World) -> None:
    """Have the node fail and hang while a listed model is offered again: it is told in the end, and no error stays."""
    beside.node.faults.fail = True
    beside.post(offer(capacity=3))
    await until("the error is shown", lambda: "500" in beside.standing().error)
    beside.node.faults.fail = False
    beside.node.faults.hang(True)
    beside.post(offer(capacity=4))
    await until("the error is shown", lambda: beside.standing().code is Code.NODE_UNREACHABLE)
    beside.node.faults.hang(False)
    beside.node_is_back()
    await until("it is listed with capacity 4", lambda: beside.capacity() == 4)
    await until("the error is over", lambda: beside.standing().error == "")

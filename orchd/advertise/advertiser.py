"""The advertiser: decides which models are offered, and runs the registries that tell the node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import structlog

from orchd.advertise import registries
from orchd.advertise.listings import Listings
from orchd.advertise.offer import OfferBook
from orchd.advertise.price_doubts import warnings
from orchd.advertise.registry import Registry, RegistryContext, SessionRegistry
from orchd.advertise.settings import OrchestratorSettings
from orchd.domain.changes import Changes
from orchd.domain.ids import ModelKey
from orchd.domain.money import Price
from orchd.domain.offer import Offers
from orchd.domain.ports import NodeSessions
from orchd.domain.snapshots import SnapshotSource
from orchd.domain.state import ModelStatus
from orchd.errors import Code
from orchd.node.ports import NodeAccess, NodeCalls, NodeError, Probed
from orchd.rate.ports import ExchangeRate
from orchd.told_gpus import ToldGpus

log = structlog.get_logger("orchd.advertise")

Spoken = Callable[[NodeCalls, OrchestratorSettings, Probed], Awaitable[bool]]
"""`spoken` of a registry's module."""

WITHDRAW_S = 5.0
"""Timeout for withdrawing everything when orchd stops; the node's own timeouts drop what is left."""


async def _named(name: str, spoken: Spoken, client: NodeCalls, settings: OrchestratorSettings, node: Probed) -> bool:
    """Return True: the settings name the registry.

    Raises:
        NodeError: `NOT_SPOKEN`: the node does not have it.
    """
    if not await spoken(client, settings, node):
        raise NodeError(
            f"cannot use {name} (orchestrator.register): this {node.program.in_words} does not have that registry; "
            'write ["auto"] there',
            code=Code.NOT_SPOKEN,
        )
    return True


class Advertiser:
    """Tells the node's registries of models that can serve.

    Args:
        node: what the node part gives.
        rate: None = USD and ETH can't be converted.
        sessions: is told of the sessions that gateways reserve at the node.
        instance: as in the settings.
        gpus: which GPU clients are told of.

    Attributes:
        registries: by name, those that the node does not speak as well.
    """

    def __init__(
        self,
        settings: OrchestratorSettings,
        listings: Listings,
        node: NodeAccess,
        rate: ExchangeRate | None,
        sessions: NodeSessions,
        instance: str,
        gpus: ToldGpus,
    ) -> None:
        self.listings = listings
        self._gpus = gpus
        self.changes: Changes[ModelKey] = listings.changes
        self._book = OfferBook(
            name=settings.capability,
            offer_cold=settings.offer_cold,
            grace_s=settings.withdraw_grace_s,
            gpu_of=gpus.of,
        )
        self._warned_of: Offers | None = None
        self._rate = rate
        if rate is not None:
            rate.changed.connect(listings.wake)
        modules = {name: registries.module(name, "registry") for name in registries.names()}
        auto = settings.registries == ("auto",)
        for name, found in modules.items():
            if auto or name in settings.registries:
                asked = found.spoken if auto else partial(_named, name, found.spoken)
                node.watch.ask(name, partial(asked, node.calls, settings))
        context = RegistryContext(node, listings, settings, self._rate_now, sessions, instance)
        self.registries: dict[str, Registry] = {name: found.make(context) for name, found in modules.items()}
        self._priced: dict[ModelKey, Price] = {}

    def roots(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what runs as long as orchd does, by name."""
        return {name: each.run() for name, each in self.registries.items()}

    async def open(self) -> None:
        """Wait for the rate, or the first prices that need it would be refused."""
        if self._rate is not None:
            await self._rate.tried()

    async def follow(self, snapshots: SnapshotSource) -> None:
        """Say what is to be found, after each turn of the loop, until cancelled."""
        version = 0
        while True:
            turn = snapshots.turn
            snapshot = await snapshots.fresh()
            changed = snapshots.changes.since(version)
            await self._gpus.learn(snapshot.models[key].model for key in changed if key in snapshot.models)
            found = self._book.update(snapshot, changed)
            version = snapshot.version
            self._warn(found)
            self.listings.set_offers(found)
            await snapshots.turned(turn)

    def _warn(self, found: Offers) -> None:
        """Say once what is odd about a price; what that is depends on the node."""
        if not self.listings.node.epoch or found is self._warned_of:
            return
        self._warned_of = found
        for key, offer in found.now.items():
            before = self._priced.get(key)
            if before == offer.price:
                continue
            self._priced[key] = offer.price
            for code, text in warnings(offer.price, before, self._rate_now(), self.listings.node):
                log.warning("price_doubtful", pipeline=key.pipeline, model_id=key.model_id, code=code, reason=text)

    def _rate_now(self) -> Fraction | None:
        return None if self._rate is None else self._rate.eth_usd

    async def stop_session(self, key: ModelKey, session: str) -> None:
        """End a session that a gateway has reserved at the node."""
        for registry in self.registries.values():
            if isinstance(registry, SessionRegistry):
                await registry.stop_session(key, session)

    async def withdraw(self) -> None:
        """Offer nothing any more, after the registries' tasks have ended."""
        offers = self.listings.offers
        self.listings.set_offers(Offers({}, offers.why_not | dict.fromkeys(offers.now, "orchd is ending")))
        try:
            async with asyncio.timeout(WITHDRAW_S):
                await asyncio.gather(*(registry.withdraw_all() for registry in self.registries.values()))
        except TimeoutError:
            log.warning("not_all_withdrawn", waited_s=WITHDRAW_S)

    def add_to(self, status: ModelStatus) -> ModelStatus:
        """Return the status with how the model stands in the node's registries."""
        key = status.model.key
        registries = {name: models[key] for name, models in self.listings.published.items() if key in models}
        return replace(status, registries=registries, not_offered=self.listings.offers.why_not.get(key, ""))

"""The node beside us, as one part: the watch over it, its registries' writers, and what they share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from fractions import Fraction
from typing import Any

import structlog

from orchd.advertise.board import Board
from orchd.advertise.byoc.registry import ByocRegistry
from orchd.advertise.live_runner.registry import LiveRegistry
from orchd.advertise.node_watch import NodeWatch
from orchd.advertise.offer import offers
from orchd.advertise.pricing import warnings
from orchd.advertise.rate import EthUsd
from orchd.domain.ids import ModelKey
from orchd.domain.money import Price
from orchd.domain.offer import Offers
from orchd.domain.ports import NodeSessions, Store
from orchd.domain.state import ModelStatus, Snapshot
from orchd.errors import OrchdError
from orchd.node.client import NodeClient
from orchd.settings.tree import Settings
from orchd.tickets.route_secrets import RouteSecrets

log = structlog.get_logger("orchd.advertise")

RATE_PERIOD_S = 300.0
"""Between two looks at the rate; the node follows its own feed hourly (byoc.md 2.3)."""
WITHDRAW_S = 5.0
"""Longest time for withdrawing everything when orchd stops; what stays is withdrawn by the node's own means."""


class Advertiser:
    """Args:
    secrets: what the node gets to show us.
    rate: None = USD and ETH can't be turned into each other.
    sessions: hears of Live Runner's sessions.
    """

    def __init__(
        self,
        settings: Settings,
        board: Board,
        client: NodeClient,
        store: Store,
        secrets: RouteSecrets,
        rate: EthUsd | None,
        sessions: NodeSessions,
    ) -> None:
        rules = settings.orchestrator
        self.board = board
        self._rules = rules
        self._rate = rate
        self._eth_usd: Fraction | None = None
        self._watch = NodeWatch(client, board, store, rules)
        self._byoc = ByocRegistry(client, board, secrets, rules, self._rate_now, store)
        self._live = LiveRegistry(
            client, board, secrets, rules, self._rate_now, self._watch, store, sessions, instance=settings.instance
        )
        self._serving: dict[ModelKey, float] = {}
        self._priced: dict[ModelKey, Price] = {}

    def roots(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what runs as long as orchd does, by name."""
        return {
            "node": self._watch.run(),
            "byoc": self._byoc.run(),
            "live runner": self._live.run(),
            "rate": self._follow_rate(),
        }

    async def open(self) -> None:
        """Learn the rate, or the first prices that need it would be refused."""
        await self._read_rate()

    async def follow(self, snapshot: Callable[[], Snapshot], changed: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Post what shall be found, after each turn of the loop, until cancelled."""
        rules = self._rules
        while True:
            found = offers(
                snapshot(),
                name=rules.capability,
                offer_cold=rules.offer_cold,
                grace_s=rules.withdraw_grace_s,
                serving=self._serving,
            )
            self._warn(found)
            self.board.post(found)
            await changed()

    def _warn(self, found: Offers) -> None:
        """Say once what is odd about a price; what that is depends on the node."""
        if not self.board.node.epoch:
            return
        for key, offer in found.now.items():
            before = self._priced.get(key)
            if before == offer.price:
                continue
            self._priced[key] = offer.price
            for code, text in warnings(offer.price, before, self._eth_usd, on_chain=self.board.node.on_chain):
                log.warning("price_doubtful", pipeline=key.pipeline, model_id=key.model_id, code=code, reason=text)

    def use_rate(self, rate: EthUsd | None) -> None:
        """Read the rate from another source from the next time on."""
        self._rate = rate

    def _rate_now(self) -> Fraction | None:
        return self._eth_usd

    async def _follow_rate(self) -> None:
        while True:
            await asyncio.sleep(RATE_PERIOD_S)
            await self._read_rate()

    async def _read_rate(self) -> None:
        if self._rate is None:
            return
        try:
            rate = await self._rate.read()
        except OrchdError as exc:
            log.warning("rate_unavailable", reason=exc.message, code=exc.code, kept=str(self._eth_usd or "none"))
            return
        if rate != self._eth_usd:
            self._eth_usd = rate
            self.board.stir()

    def healthy(self, key: ModelKey) -> bool:
        """Return whether the node is to take a model for healthy (Live Runner's static way)."""
        return self._live.healthy(key)

    async def stop_session(self, key: ModelKey, session: str) -> None:
        """End a session of Live Runner's at the node."""
        await self._live.stop_session(key, session)

    async def withdraw(self) -> None:
        """Nothing is offered any more; the writers' tasks have ended."""
        try:
            async with asyncio.timeout(WITHDRAW_S):
                await asyncio.gather(self._byoc.withdraw_all(), self._live.withdraw_all())
        except TimeoutError:
            log.warning("not_all_withdrawn", waited_s=WITHDRAW_S)

    def shown(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot with what is known of the node and its registries."""
        return replace(
            snapshot,
            node=self.board.node,
            models={key: self._shown(key, status) for key, status in snapshot.models.items()},
        )

    def _shown(self, key: ModelKey, status: ModelStatus) -> ModelStatus:
        registries = {name: models[key] for name, models in self.board.published.items() if key in models}
        return replace(status, registries=registries, not_offered=self.board.offers.why_not.get(key, ""))

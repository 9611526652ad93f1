"""The node beside orchd, as two parts: what others ask of it, below the jobs, and what it is told, above them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import structlog

from orchd import tasks
from orchd.advertise.advertiser import Advertiser
from orchd.advertise.listings import Listings
from orchd.advertise.metrics import RegistryErrors, StandingsCollector
from orchd.advertise.rate import eth_usd_source
from orchd.database.database import HasDatabase
from orchd.domain.ids import ModelKey
from orchd.domain.model import Secret
from orchd.node.client import NodeClient
from orchd.node.metrics import NodeCollector
from orchd.node.route_secrets import KEY_NAME, RouteSecrets, is_key, new_key
from orchd.node.tables import SecretTable
from orchd.part import Context, Part, Roots
from orchd.realtime.ports import RealtimeStreams
from orchd.realtime.stream import Origin
from orchd.reconcile.ports import Reconciler
from orchd.reload import SecretInUse
from orchd.sessions.ports import Sessions
from orchd.settings.files import read_secret

log = structlog.get_logger("orchd.advertise")


class NodePart(Part):
    """Knows the node, and builds what tells it of our models. Tells it nothing by itself: see `OffersPart`.

    Attributes:
        advertiser, tokens: from `open` on.
        secrets: files with secrets that may be read again, by the setting that names them.
    """

    name = "node"
    advertiser: Advertiser
    tokens: RouteSecrets

    def __init__(
        self,
        context: Context,
        database: HasDatabase,
        sessions: Sessions,
        reconcile: Reconciler,
        realtime: RealtimeStreams,
    ) -> None:
        self._context = context
        self._reconcile = reconcile
        self._database = database
        self._sessions = sessions
        self._realtime = realtime
        self._client: NodeClient | None = None
        self._stops: set[asyncio.Task[Any]] = set()
        self.secrets: dict[str, SecretInUse] = {}

    async def open(self) -> None:
        context, rules = self._context, self._context.settings.orchestrator
        secret = read_secret("orchestrator.secret_file", rules.secret_file, context.env)
        rpc_url = read_secret("orchestrator.rpc_url_file", rules.rpc_url_file, context.env)
        rate = eth_usd_source(rules.eth_usd, rules.eth_usd_feed, rpc_url, rules.call_timeout_s, context.names)
        self.tokens = RouteSecrets(await self._route_key(), rules.token_rotation_h * 3600)
        self._client = client = NodeClient(rules, secret, context.names, context.lag)
        table, keeper, store = self._sessions.table, self._realtime.keeper, SecretTable(self._database.database)
        listings = Listings(
            active=table.running,
            begun=table.begun,
            streams=lambda key: keeper.count(key, Origin.BYOC),
            on_error=RegistryErrors(context.metrics).registry_error,
        )
        StandingsCollector(context.metrics, lambda: listings.node, lambda: listings.published)
        NodeCollector(context.metrics, lambda: listings.node)
        self.advertiser = Advertiser(context.settings, listings, client, store, self.tokens, rate, keeper)
        self.secrets["orchestrator.secret_file"] = SecretInUse(secret, client.use_secret)
        self.secrets["orchestrator.rpc_url_file"] = SecretInUse(rpc_url, self._use_rpc_url)
        keeper.over_at_node.connect(self._stop_session)
        self._reconcile.snapshots.contribute(self.advertiser, lambda snapshot: replace(snapshot, node=listings.node))

    def healthy(self, key: ModelKey) -> bool:
        """Return whether the node is to take a model for healthy."""
        return self.advertiser.healthy(key)

    async def close(self) -> None:
        await tasks.cancel(*self._stops)
        if self._client is not None:
            await self._client.close()

    async def _route_key(self) -> str:
        """Return the key of the routes' tokens, which the node keeps: so it must outlive us."""
        store = SecretTable(self._database.database)
        if not is_key(key := await store.secret(KEY_NAME) or ""):
            if key:
                log.warning("route_key_unreadable", next="a new one is made, and the node gets new tokens")
            key = new_key()
            await store.save_secret(KEY_NAME, key)
        return key

    def _use_rpc_url(self, rpc_url: Secret | None) -> None:
        rules = self._context.settings.orchestrator
        names = self._context.names
        self.advertiser.use_rate(
            eth_usd_source(rules.eth_usd, rules.eth_usd_feed, rpc_url, rules.call_timeout_s, names)
        )

    def _stop_session(self, key: ModelKey, session: str) -> None:
        task = tasks.spawn(self.advertiser.stop_session(key, session), name="stop a session at the node")
        self._stops.add(task)
        task.add_done_callback(self._stops.discard)


class OffersPart(Part):
    """Tells the node what can be served. It starts after the jobs, so that what is offered can be served."""

    name = "offers"
    roots_end_first = True

    def __init__(self, node: NodePart, reconcile: Reconciler) -> None:
        self._node = node
        self._reconcile = reconcile

    async def start(self) -> None:
        await self._node.advertiser.open()

    def roots(self) -> Roots:
        advertiser = self._node.advertiser
        return {"offers": advertiser.follow(self._reconcile.snapshots), **advertiser.roots()}

    async def withdraw(self) -> None:
        await self._node.advertiser.withdraw()

    def waits_for(self) -> str:
        return "the node to be told that nothing is offered any more"

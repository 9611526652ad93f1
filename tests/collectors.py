"""All collectors on one registry, with what each is told, for tests that look at the whole page."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orchd.advertise.metrics import CallbackCollector, RegistryErrors, StandingsCollector
from orchd.catalog.metrics import CatalogCollector
from orchd.chain.metrics import ChainCollector
from orchd.channels.bounds import Bounds
from orchd.channels.channels import Channels
from orchd.channels.metrics import ChannelsCollector
from orchd.daemon_metrics import DaemonCollector
from orchd.domain.chain import ChainStatus
from orchd.domain.ids import ModelKey
from orchd.domain.offer import Callback, NodeStatus, Published
from orchd.domain.state import ClientsStatus
from orchd.exposition import MetricsRegistry
from orchd.health.metrics import HealthCollector
from orchd.hooks.metrics import HookCollector, HookCounts
from orchd.jobs.metrics import ConnectionCollector, JobCollector
from orchd.node.metrics import NodeCollector
from orchd.public.metrics import PublicCollector
from orchd.realtime.metrics import StreamCollector
from orchd.reconcile.metrics import ReconcileCollector, StandingCollector
from orchd.rpc.metrics import RpcCollector
from orchd.rpc.server import RpcServer
from orchd.runtime.metrics import RuntimeCollector
from orchd.sold.metrics import SoldCollector
from orchd.tickets.ledger.metrics import LedgerCollector
from orchd.tickets.ledger.values import LedgerState
from orchd.tickets.ledger.view import LedgerView
from orchd.tickets.metrics import PaymentCollector


class FakeBooks:
    """The open ledger, with nothing in it."""

    failures = 0

    def __init__(self) -> None:
        self.view = LedgerView(LedgerState(b"", 0))

    def paid_sessions(self) -> Mapping[ModelKey, int]:
        return {}

    def rounds_left(self) -> int:
        return 2


class Metrics:
    """The collectors of all parts, on a registry that is passed in, and what each of them is told."""

    def __init__(self, registry: MetricsRegistry, version: str) -> None:
        self.registry = registry
        self.page = registry.page
        self.render = registry.render
        self.loop_lag = DaemonCollector(registry, version).loop_lag
        self.probed = HealthCollector(registry).probed
        runtimes = RuntimeCollector(registry)
        self.runtime_event, self.runtime_up = runtimes.runtime_event, runtimes.runtime_up
        self.fleet = fleet = ReconcileCollector(registry, self.probed, self.runtime_up)
        self.define, self.forget, self.state, self.restarted = fleet.define, fleet.forget, fleet.state, fleet.restarted
        self.held_over: set[ModelKey] = set()
        self.leaving: set[ModelKey] = set()
        self.converged = True
        StandingCollector(
            registry,
            held_over=lambda: self.held_over,
            leaving=lambda: self.leaving,
            converged=lambda: self.converged,
        )
        self._slots: Callable[[ModelKey], tuple[int, int, int]] = lambda key: (0, 0, 0)
        jobs = JobCollector(registry, lambda key: self._slots(key))
        self.job_finished, self.request_refused = jobs.job_finished, jobs.request_refused
        self.connection_closed, self.runner_errors = jobs.connection_closed, jobs.runner_errors
        self._connections: Callable[[], Mapping[str, int]] = dict
        ConnectionCollector(registry, lambda: self._connections())
        self._streams: Callable[[], Mapping[ModelKey, Mapping[str, int]]] = dict
        StreamCollector(registry, lambda: self._streams())
        self._sold: Callable[[], Mapping[ModelKey, Mapping[str, int]]] = dict
        SoldCollector(registry, lambda: self._sold())
        self._node: Callable[[], NodeStatus | None] = lambda: None
        NodeCollector(registry, lambda: self._node())
        self._published: Callable[[], Mapping[str, Mapping[ModelKey, Published]]] = dict
        StandingsCollector(registry, lambda: self._node(), lambda: self._published())
        self.callback = Callback("http://127.0.0.1:8737")
        CallbackCollector(registry, lambda: self.callback)
        ChannelsCollector(registry, Channels(Bounds()))
        self.registry_error = RegistryErrors(registry).registry_error
        self.hooks = HookCounts()
        HookCollector(registry, self.hooks)
        self.clients: ClientsStatus | None = None
        public = PublicCollector(registry, lambda: self.certificate_expires_at, lambda: self.clients)
        self.certificate_expires_at: float | None = None
        self.answered = public.answered
        self.reloaded = CatalogCollector(registry).reloaded
        self.chain = ChainStatus(42161, "0x1")
        ChainCollector(registry, lambda: self.chain)
        self.payments = PaymentCollector(registry)
        self.books = FakeBooks()
        LedgerCollector(registry, self.books)
        self.rpc_servers: tuple[RpcServer, ...] = ()
        RpcCollector(registry, lambda: self.rpc_servers)

    def slots_from(self, read: Callable[[ModelKey], tuple[int, int, int]]) -> None:
        """Take the numbers of slots (taken, letting go, pending) from there from now on."""
        self._slots = read

    def connections_from(self, read: Callable[[], Mapping[str, int]]) -> None:
        """Take the numbers of connections from there from now on."""
        self._connections = read

    def node_from(self, read: Callable[[], NodeStatus | None]) -> None:
        """Take how the node stands from there from now on."""
        self._node = read

    def registries_from(self, read: Callable[[], Mapping[str, Mapping[ModelKey, Published]]]) -> None:
        """Take how models stand in registries from there from now on."""
        self._published = read

    def sold_from(self, read: Callable[[], Mapping[ModelKey, Mapping[str, int]]]) -> None:
        """Take the numbers of sold sessions from there from now on."""
        self._sold = read

    def streams_from(self, read: Callable[[], Mapping[ModelKey, Mapping[str, int]]]) -> None:
        """Take the numbers of streams from there from now on."""
        self._streams = read

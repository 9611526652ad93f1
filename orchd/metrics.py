"""All collectors of the daemon together. Names and labels are an interface: a change goes into the release notes.

Labels are `pipeline`, `model_id` and words from closed lists; any other word is counted as `other`. A model's gauges
and its jobs by outcome appear, at zero, when it is defined; what most models never need appears with its first event
(`exposition.py` tells how), and all of it goes with the model. Each part has its own collector, in its `metrics.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orchd.advertise.metrics import RegistriesCollector
from orchd.catalog.metrics import CatalogCollector
from orchd.daemon_metrics import DaemonCollector
from orchd.domain.ids import ModelKey
from orchd.domain.offer import NodeStatus, Published
from orchd.exposition import Registry
from orchd.health.metrics import HealthCollector
from orchd.jobs.metrics import JobCollector
from orchd.node.metrics import NodeCollector
from orchd.realtime.metrics import StreamCollector
from orchd.reconcile.metrics import ReconcileCollector
from orchd.runtime.metrics import RuntimeCollector


class Metrics:
    """The collectors of all parts, on a registry that is passed in, and what each of them is told."""

    def __init__(self, registry: Registry, version: str) -> None:
        self.registry = registry
        self.page = registry.page
        self.render = registry.render
        daemon = DaemonCollector(registry, version)
        self.loop_lag = daemon.loop_lag
        fleet = ReconcileCollector(registry)
        self.define, self.forget, self.state, self.restarted = fleet.define, fleet.forget, fleet.state, fleet.restarted
        self.probed = HealthCollector(registry).probed
        jobs = JobCollector(registry)
        self.job_finished, self.request_refused = jobs.job_finished, jobs.request_refused
        self.connection_closed, self.connections_from = jobs.connection_closed, jobs.connections_from
        self.sessions_from, self.runner_errors = jobs.sessions_from, jobs.runner_errors
        self._streams = StreamCollector(registry)
        self._node = NodeCollector(registry)
        self._registries = RegistriesCollector(registry)
        self.registry_error = self._registries.registry_error
        self.reloaded = CatalogCollector(registry).reloaded
        runtimes = RuntimeCollector(registry)
        self.runtime_event, self.runtime_up = runtimes.runtime_event, runtimes.runtime_up

    def node_from(self, read: Callable[[], NodeStatus | None]) -> None:
        """Take how the go-livepeer node stands from there, when a page is rendered."""
        self._node.node = self._registries.node = read

    def registries_from(self, read: Callable[[], Mapping[str, Mapping[ModelKey, Published]]]) -> None:
        """Take how each model stands in each registry from there."""
        self._registries.published = read

    def streams_from(
        self,
        read: Callable[[], Mapping[ModelKey, Mapping[str, int]]],
        carries: Callable[[ModelKey], bool] = lambda key: True,
    ) -> None:
        """Take the numbers of streams, by model and phase, from there. `carries`: as in `StreamCollector`."""
        self._streams.streams, self._streams.carries = read, carries

"""The go-livepeer node, its registries and realtime streams: read where they are kept, when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from orchd.domain.ids import ModelKey
from orchd.domain.offer import NodeStatus, Published
from orchd.errors import Code

OTHER = "other"
REGISTRIES = ("byoc", "live-runner", OTHER)
REGISTRY_CODES = (
    *(Code.NODE_UNREACHABLE, Code.NODE_CERTIFICATE, Code.NODE_REFUSED, Code.NODE_SECRET, Code.NODE_CURRENCY),
    *(Code.NOT_SPOKEN, Code.PRICE_UNPUBLISHABLE, Code.RATE_UNAVAILABLE),
    OTHER,
)
PHASES = ("held", "starting", "running", "ending")
"""Of `realtime.stream.Phase`, which this module may not import; a test keeps the words the same."""

_NOTHING = Published(wanted=False, published=False, confirmed=None, since=0.0)


class NodeCollector(Collector):
    """Args:
    models: that are defined now; each has series in every registry that is used.

    Attributes:
        node, registries, streams: where they are read; streams by model and phase.
    """

    def __init__(self, models: Callable[[], Iterable[ModelKey]]) -> None:
        self._models = models
        self._errors = {(registry, code): 0 for registry in REGISTRIES for code in REGISTRY_CODES}
        self.node: Callable[[], NodeStatus | None] = lambda: None
        self.registries: Callable[[], Mapping[str, Mapping[ModelKey, Published]]] = dict
        self.streams: Callable[[], Mapping[ModelKey, Mapping[str, int]]] = dict

    def failed(self, registry: str, code: str) -> None:
        """As `Metrics.registry_error`."""
        self._errors[registry if registry in REGISTRIES else OTHER, _known(code)] += 1

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        node = self.node()
        up = GaugeMetricFamily("orchd_node_up", "1 = go-livepeer can be used; absent = orchd has none beside it.")
        starts = CounterMetricFamily("orchd_node_starts", "Starts of go-livepeer that were seen, the first included.")
        if node is not None:
            up.add_metric((), node.up)
            starts.add_metric((), node.epoch)
        errors = CounterMetricFamily(
            "orchd_registry_errors", "Calls to a registry that failed, by code.", labels=("registry", "code")
        )
        for names, count in self._errors.items():
            errors.add_metric(names, count)
        streams = GaugeMetricFamily(
            "orchd_streams", "Realtime sessions now, by phase.", labels=("pipeline", "model_id", "phase")
        )
        counts = self.streams()
        for key in dict.fromkeys((*self._models(), *counts)):
            of_key = counts.get(key, {})
            for phase in PHASES:
                streams.add_metric((key.pipeline, key.model_id, phase), of_key.get(phase, 0))
        yield from (up, starts, errors, streams, *self._standings(node))

    def _standings(self, node: NodeStatus | None) -> Iterable[Metric]:
        labels = ("pipeline", "model_id", "registry")
        wanted = GaugeMetricFamily("orchd_registry_wanted", "1 = gateways shall find it there.", labels=labels)
        published = GaugeMetricFamily(
            "orchd_registry_published", "1 = go-livepeer has taken it, and no withdrawal since.", labels=labels
        )
        confirmed = GaugeMetricFamily(
            "orchd_registry_confirmed",
            "1 = go-livepeer was seen to offer it, 0 = not to; absent = not looked yet, or it can't be seen.",
            labels=labels,
        )
        changed = GaugeMetricFamily(
            "orchd_registry_changed_timestamp_seconds",
            "Unix time when orchd_registry_published changed last; absent = never.",
            labels=labels,
        )
        failing = GaugeMetricFamily(
            "orchd_registry_failing",
            "1 = the last call about it failed, by code; absent = it went well.",
            labels=(*labels, "code"),
        )
        standings = self.registries()
        for registry in dict.fromkeys((*REGISTRIES[:-1], *standings)):
            shown = standings.get(registry, {})
            used = node is not None and registry in node.registries
            for key in dict.fromkeys((*(self._models() if used else ()), *shown)):
                names = (key.pipeline, key.model_id, registry)
                one = shown.get(key, _NOTHING)
                wanted.add_metric(names, one.wanted)
                published.add_metric(names, one.published)
                if one.confirmed is not None:
                    confirmed.add_metric(names, one.confirmed)
                if one.since:
                    changed.add_metric(names, one.since)
                if one.code is not None:
                    failing.add_metric((*names, _known(one.code)), 1)
        return wanted, published, confirmed, changed, failing


def _known(code: str) -> str:
    return code if code in REGISTRY_CODES else OTHER

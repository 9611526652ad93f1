"""Whether the node program beside orchd can be used, and how often it has started."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from orchd.domain.offer import NodeStatus
from orchd.exposition import MetricsRegistry
from orchd.metric_lines import Family, Page, sample

UP = Family(
    "orchd_node_up",
    "gauge",
    "1 = the node can be used; absent = orchd has none beside it.",
    unit="0 or 1",
    good_for="does paid work reach orchd at all?",
)
STARTS = Family(
    "orchd_node_starts_total",
    "counter",
    "Starts of the node that were seen, the first included.",
    unit="starts",
    good_for="does the node crash?",
)


class NodeCollector:
    """`exposition.Collector` of the node.

    Args:
        node: returns its status; None = orchd has none beside it.
    """

    families = (UP, STARTS)

    def __init__(self, registry: MetricsRegistry, node: Callable[[], NodeStatus | None]) -> None:
        self._node = node
        registry.register(self)

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        if (node := self._node()) is not None:
            yield sample(UP.name, int(node.up)), sample(STARTS.name, node.epoch)

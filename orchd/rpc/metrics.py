"""Whether the RPC servers answer. A server is named by its host: its URL may hold a key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from orchd.exposition import MetricsRegistry
from orchd.metric_lines import Family, Page, sample
from orchd.rpc.server import RpcServer

UP = Family(
    "orchd_rpc_up",
    "gauge",
    "1 = the RPC server has answered the last time.",
    ("server",),
    unit="0 or 1",
    good_for="is there a second RPC server if the first one fails?",
)
REQUESTS = Family(
    "orchd_rpc_requests_total",
    "counter",
    "Requests to the RPC server; one holds several calls.",
    ("server",),
    unit="requests",
    good_for="what does the provider charge for?",
)
FAILURES = Family(
    "orchd_rpc_failures_total",
    "counter",
    "Requests that the RPC server did not answer, or not so that the answer can be used.",
    ("server",),
    unit="requests",
    good_for="is a provider unreliable, or its limit reached?",
)


class RpcCollector:
    """`exposition.Collector` of the RPC servers."""

    families = (UP, REQUESTS, FAILURES)

    def __init__(self, registry: MetricsRegistry, servers: Callable[[], Sequence[RpcServer]]) -> None:
        self._servers = servers
        registry.register(self)

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        servers = self._servers()
        yield (
            "".join(sample(UP.name, int(each.works), server=each.name) for each in servers),
            "".join(sample(REQUESTS.name, each.asked, server=each.name) for each in servers),
            "".join(sample(FAILURES.name, each.failed, server=each.name) for each in servers),
        )

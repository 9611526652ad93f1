"""The channels, counted when a page is rendered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchd.channels.channels import Channels
from orchd.exposition import MetricsRegistry
from orchd.metric_lines import Family, Page, sample

CHANNELS = Family(
    "orchd_channels",
    "gauge",
    "Channels of sessions that orchd sells itself, now.",
    unit="channels",
    good_for="how near is `channels.max_channels`?",
)
BYTES = Family(
    "orchd_channels_bytes",
    "gauge",
    "Bytes of segments that the channels hold in memory.",
    unit="bytes",
    good_for="how near is `channels.memory_mb`?",
)
REQUESTS = Family(
    "orchd_channels_requests",
    "gauge",
    "Reads and writes of segments under way, those that wait for a segment included.",
    unit="requests",
    good_for="how near is `channels.max_requests`?",
)
REFUSED = Family(
    "orchd_channels_refused_total",
    "counter",
    "Reads and writes of segments that were refused, as too many were under way or no memory was left.",
    unit="requests",
    good_for="do clients or containers lose segments to a limit?",
)


class ChannelsCollector:
    """`exposition.Collector` of the channels."""

    families = (CHANNELS, BYTES, REQUESTS, REFUSED)

    def __init__(self, registry: MetricsRegistry, channels: Channels) -> None:
        self._channels = channels
        registry.register(self)

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        channels = self._channels
        yield (
            sample(CHANNELS.name, len(channels)),
            sample(BYTES.name, channels.size),
            sample(REQUESTS.name, channels.requests),
            sample(REFUSED.name, channels.refused),
        )

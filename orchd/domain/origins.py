"""Who can have begun a realtime session. Pure."""

from __future__ import annotations

from enum import StrEnum


class Origin(StrEnum):
    """Who began a stream: that says who must be told of its end."""

    DIRECT = "direct"
    BYOC = "byoc"
    LIVE_RUNNER = "live-runner"
    SOLD = "sold"
    """A client has reserved it at orchd itself."""
    FOUND = "found"
    """A container was busy with it when orchd started, and nobody has named it yet."""

    @property
    def at_node(self) -> bool:
        """The node keeps such a stream as a session of its own: it reserves, lists and releases it."""
        return self is Origin.LIVE_RUNNER

    @property
    def reserved(self) -> bool:
        """Such a session begins before its first request and outlives each start at its container."""
        return self in (Origin.LIVE_RUNNER, Origin.SOLD)


AT_NODE = Origin.LIVE_RUNNER
"""The origin of a session that the node has reserved."""

"""Which channels a stream gets whose client brings no media: the node's, or orchd's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from orchd.domain.model import Secret
from orchd.jobs.run import Run
from orchd.jobs.stream_head import session_pass
from orchd.realtime.node_channels import NodeChannels
from orchd.realtime.session_channels import OwnSessionChannels, SessionChannels
from orchd.realtime.stream import Stream

if TYPE_CHECKING:
    from orchd.domain.sold import SoldSession
    from orchd.node.ports import NodeCalls


class StreamChannels:
    """Knows who makes the channels of a stream.

    Args:
        node: makes those of its sessions; None = there is no node.
        own: returns those of a session that orchd has sold; None = it sells none.
    """

    def __init__(self, node: NodeCalls | None, own: Callable[[SoldSession], OwnSessionChannels] | None) -> None:
        self._node = node
        self._own = own

    def of(self, run: Run, stream: Stream) -> SessionChannels | None:
        """Return how to have channels made for the stream that a request is about; None = nobody makes any."""
        if run.sold is not None:
            return None if self._own is None else self._own(run.sold)
        if self._node is None or not stream.origin.at_node:
            return None
        route, token = session_pass(run.head)
        return NodeChannels(self._node, route, stream.id, Secret(token)) if route and token else None

    def left(self, session: SoldSession) -> SessionChannels | None:
        """Return the channels that an earlier orchd has made for the stream of a session; None = its client has brought
        its own.
        """
        channels = None if self._own is None else self._own(session)
        return channels if channels is not None and channels.all_there else None

"""Does the node still carry a stream? Its control channel tells: it is there from the start to the stop.

It also ends when nobody has written to it for 5 minutes, as a gateway does every 10 s.

Source: docs/protocol/byoc.md, 6.
"""

from __future__ import annotations

import re

from orchd.domain.live_runner import TRICKLE
from orchd.errors import Code
from orchd.node.ports import NodeCalls, NodeError

PLAIN = re.compile(r"[A-Za-z0-9._~-]+")
"""Names that need no escaping in a path. A stream with another one is never asked about."""


async def lives(client: NodeCalls, stream: str) -> bool:
    """Return whether the node has the control channel of a stream.

    Raises:
        NodeError: it did not say.
    """
    if not PLAIN.fullmatch(stream):
        return True
    answer = await client.service("GET", f"{TRICKLE}{stream}-control/next")
    gone = answer.has_no_channel()
    if answer.status != 200 and not gone:
        raise NodeError(
            f"cannot see whether the node carries stream {stream}: it answered {answer.status}", code=Code.NODE_REFUSED
        )
    return not gone

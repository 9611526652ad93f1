"""Live Runner as each node program speaks it: what an answer means there, what it is told, and in which words. Pure.

Everything in which the two programs differ is a member of `Dialect`; nothing else of the registry asks which one it is.
Source: docs/protocol/live-runner.md, 2, and docs/protocol/livepeer-node.md, 5 and 12.
"""

from __future__ import annotations

from orchd.advertise.live_runner.dialects.dialect import Dialect
from orchd.advertise.live_runner.dialects.golivepeer import GoLivepeer
from orchd.advertise.live_runner.dialects.livepeer_node import LivepeerNode
from orchd.domain.offer import NodeProgram, NodeStatus

_DIALECTS: dict[NodeProgram, Dialect] = {
    NodeProgram.GO_LIVEPEER: GoLivepeer(),
    NodeProgram.LIVEPEER_NODE: LivepeerNode(),
}


def spoken_by(node: NodeStatus) -> Dialect:
    """Return the dialect of the program beside us; of one that was not seen yet, that of go-livepeer."""
    return _DIALECTS[node.program or NodeProgram.GO_LIVEPEER]

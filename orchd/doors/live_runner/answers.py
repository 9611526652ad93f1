"""Which answers of a container may reach a client of Live Runner. Pure.

The node passes every status on, and to its clients some are its own words: 402 is a demand to pay, 480 and 482 are
those of the client's signer (docs/protocol/livepeer-node.md, 9.2).
"""

from __future__ import annotations

from orchd.domain.ids import ModelKey
from orchd.errors import Code, JobRefused

NODES_WORDS = frozenset({402, 480, 482})


def check_status(status: int, key: ModelKey) -> None:
    """Refuse an answer of a runner that the client would take for the node's, or for its signer's.

    Raises:
        JobRefused: BACKEND_UNUSABLE.
    """
    if status in NODES_WORDS:
        raise JobRefused(
            Code.BACKEND_UNUSABLE,
            f"cannot pass on the answer of the runner of {key}: {status}, which is about payment to clients of Live "
            "Runner",
        )

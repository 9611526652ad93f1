"""Which program is beside us, read from its answer to one request that changes nothing. Pure.

Source: docs/protocol/livepeer-node.md, 3. Never decided by port, certificate, setting or `Server` header.
"""

from __future__ import annotations

from enum import Enum

from orchd.domain.offer import NodeProgram
from orchd.errors import Code
from orchd.node.ports import NodeAnswer, NodeError, Probed

PATH, BODY = "/runners/heartbeat", b"{}"
"""The probe: a POST of this body without a credential. Livepeer Node wants a credential first, go-livepeer last."""


class NoVerdict(Enum):
    """Answers to the probe that do not say which program gave them."""

    BUSY = "busy"
    """Livepeer Node without a free place says so before it looks at the request: ask again."""
    NO_LIVE_RUNNER = "no live runner"
    """A go-livepeer without Live Runner, if it answers `/healthz`; else neither program."""
    NEITHER = "neither"


def read_probe(answer: NodeAnswer) -> Probed | NoVerdict:
    """Return what the answer to the probe shows.

    Raises:
        NodeError: it is the answer of a node that can't be used.
    """
    reason = answer.json_error()
    match answer.status, reason is not None:
        case (401 | 400, True):  # 400: older than its rule that the credential comes first
            return Probed(NodeProgram.LIVEPEER_NODE, live_runner=True)
        case 400, False:
            return Probed(NodeProgram.GO_LIVEPEER, live_runner=True)
        case 503, True:
            return NoVerdict.BUSY
        case 404, True:
            raise NodeError(
                f"cannot use Livepeer Node: it answers {reason!r}, so the path of its ServiceURL is missing in "
                "orchestrator.service_url, or is another one there",
                code=Code.NODE_REFUSED,
            )
        case 404, False:
            return NoVerdict.NO_LIVE_RUNNER
    return NoVerdict.NEITHER


def is_busy(answer: NodeAnswer) -> bool:
    """Return whether Livepeer Node says that it has no free place, which is a sign of life."""
    return answer.status == 503 and answer.json_error() is not None


def quoted(path: str, answer: NodeAnswer) -> str:
    """Return an answer in words, to be shown."""
    said = answer.error_text()
    return f"{path} answered {answer.status}" + (f", {said!r}" if said else "")


def neither(probe: NodeAnswer, other: str) -> NodeError:
    """Return the error of what answers as neither program does.

    Args:
        other: a second answer in words.
    """
    return NodeError(f"cannot use what answers as a node: {quoted(PATH, probe)}, {other}", code=Code.NODE_REFUSED)

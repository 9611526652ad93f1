"""What a person is told of the node's refusals in the dynamic registry. Pure."""

from __future__ import annotations

from orchd.advertise.live_runner.states import ListingEvent
from orchd.domain.ids import ModelKey
from orchd.errors import Code, OrchdError
from orchd.node.ports import NodeError


def explain(key: ModelKey, event: ListingEvent, status: int, said: str) -> OrchdError | None:
    """Return what a person should know of a refusal; None where we help ourselves at once.

    Args:
        event: what the answer means.
        said: the answer's text, without secrets.
    """
    what = f"cannot register {key} with Live Runner"
    match event:
        case ListingEvent.UNKNOWN:
            return None
        case ListingEvent.EXPIRED:
            return OrchdError(f"{what} yet: go-livepeer has still to sweep its expired record", code=Code.NODE_REFUSED)
        case ListingEvent.OTHER_SECRET:
            why = "go-livepeer has a record of it whose secret was lost, and which expires in half a minute"
            return OrchdError(f"{what} yet: {why}", code=Code.NODE_REFUSED)
        case ListingEvent.REFUSED if status == 401:
            why = "go-livepeer does not know the secret in orchestrator.secret_file; put its -orchSecret there"
            return OrchdError(f"{what}: {why}", code=Code.NODE_SECRET)
        case ListingEvent.REFUSED if status == 404:
            spoken = said == "dynamic live runner registration is disabled"
            why = "it needs -orchSecret" if spoken else "it needs -useLiveRunners"
            return OrchdError(f"{what}: go-livepeer says {said!r} ({why})", code=Code.NOT_SPOKEN)
    return OrchdError(f"{what}: go-livepeer says {status}, {said!r}", code=Code.NODE_REFUSED)


def no_secret() -> NodeError:
    """Return what is wrong where the setting names no secret."""
    return NodeError(
        "cannot register with Live Runner without go-livepeer's -orchSecret: name a file that holds it in "
        "orchestrator.secret_file",
        code=Code.NODE_SECRET,
    )

"""How a model stands in BYOC's registry, for status and metrics. Pure."""

from __future__ import annotations

from orchd.advertise.byoc import wire
from orchd.advertise.byoc.registration import Capability, Registration
from orchd.advertise.prices import Unpublishable
from orchd.domain.offer import Published
from orchd.errors import Code


def standing(registration: Registration, target: Capability | Unpublishable | None, epoch: int) -> Published:
    """Return how it stands; the caller knows since when.

    Args:
        target: what the node is to be told; None = nothing is offered.
        epoch: which start of the node runs.
    """
    record, trouble = registration.record, registration.trouble
    error, code = (trouble.error, trouble.code) if trouble else ("", None)
    if registration.contested and record is not None and not error:
        error, code = contested(record), Code.NODE_REFUSED
    if isinstance(target, Unpublishable):
        error, code = f"cannot publish the price: {target.reason}", Code.PRICE_UNPUBLISHABLE
    published = registration.offered and registration.epoch == epoch
    return Published(
        wanted=target is not None,
        published=published,
        confirmed=_confirmed(registration) if published else None,
        since=0.0,
        error=error,
        code=code,
        price=wire.price_text(record.price) if record and registration.offered else "",
    )


def contested(record: Capability) -> str:
    """Return what it means that another program registers the same name."""
    return (
        f"cannot keep {record.name!r} at go-livepeer: another program, such as a second orchd, registers the same name "
        f"there, with more slots than ours ({record.capacity}); give each orchd names of its own "
        "(orchestrator.capability), or a node of its own"
    )


def beside(name: str) -> str:
    """Return what it means that another orchd has a model of the same name at this node."""
    return (
        f"another orchd at this go-livepeer has {name!r}, too: if both register it with BYOC, the last one gets all of "
        "its jobs; give each orchd names of its own (orchestrator.capability), or a node of its own"
    )


def is_gone(registration: Registration) -> bool:
    """Return whether a token has shown that the node has lost it."""
    return registration.seen is not None and registration.seen.registered is False


def _confirmed(registration: Registration) -> bool | None:
    """Return whether a token has shown that the node offers it; None = it can't be told."""
    if registration.seen is None:
        return None
    if registration.seen.registered is None and registration.odd:
        return False
    return registration.seen.registered

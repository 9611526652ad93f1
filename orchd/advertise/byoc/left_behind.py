"""Takes back what an orchd that is gone has told BYOC's registry, for `orchd down`: nobody else ever would."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from orchd.advertise.byoc import wire
from orchd.advertise.byoc.kept import NAMES, UNREADABLE
from orchd.advertise.byoc.registration import Capability, Unregister
from orchd.domain.stores import SecretStore
from orchd.node.ports import NodeCalls, NodeError


def left(kept: Mapping[str, str]) -> tuple[str, ...]:
    """Return the capabilities that the node may hold.

    Args:
        kept: everything in the store.
    """
    return tuple(_capabilities(kept))


async def take_back(calls: NodeCalls, store: SecretStore, kept: Mapping[str, str]) -> AsyncIterator[str]:
    """Take them back, and yield each that the node holds no more.

    Raises:
        NodeError: the others are left; a later orchd still knows of them.
    """
    capabilities, call = _capabilities(kept), Unregister("")
    try:
        for name in list(capabilities):
            try:
                answer = await calls.service("POST", wire.UNREGISTER, body=name.encode(), authorization=calls.secret)
            except NodeError as exc:
                raise wire.unanswered(exc, name, call) from exc
            if not wire.nothing_to_take_back(answer, call) and (error := wire.refusal(answer, name, call)):
                raise error
            del capabilities[name]
            yield name
    finally:
        await store.save_secret(NAMES, wire.dump(capabilities))


def _capabilities(kept: Mapping[str, str]) -> dict[str, Capability]:
    try:
        return wire.load(kept[NAMES]) if NAMES in kept else {}
    except UNREADABLE:
        return {}

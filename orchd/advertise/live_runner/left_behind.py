"""Takes back what an orchd that is gone has told Live Runner by heartbeats, for `orchd down`.

The node would drop it by itself, but only when its last heartbeat has expired. What it was told by the CLI port is
hidden as soon as nobody answers for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from orchd.advertise.live_runner import wire
from orchd.advertise.live_runner.dialects.dialect import unregistered
from orchd.advertise.live_runner.states import ListingEvent
from orchd.advertise.live_runner.wire import KEPT_NAME, KeptRegistration
from orchd.domain.stores import SecretStore
from orchd.errors import Code
from orchd.node.ports import NodeCalls, NodeError


def left(kept: Mapping[str, str]) -> tuple[str, ...]:
    """Return the routes of the runners that the node may hold.

    Args:
        kept: everything in the store.
    """
    return tuple(_registrations(kept))


async def take_back(calls: NodeCalls, store: SecretStore, kept: Mapping[str, str]) -> AsyncIterator[str]:
    """Take them back, and yield each that the node holds no more.

    Raises:
        NodeError: the others are left; a later orchd still knows of them.
    """
    for runner, registration in _registrations(kept).items():
        path = f"/runners/{runner}/unregister"
        answer = await calls.service("POST", path, authorization=registration.secret)
        if unregistered(answer.status) is not ListingEvent.GONE:
            raise NodeError(
                f"cannot unregister {runner!r} with the node: it answered {answer.status}", code=Code.NODE_REFUSED
            )
        await store.forget_secret(KEPT_NAME + runner)
        yield runner


def _registrations(kept: Mapping[str, str]) -> dict[str, KeptRegistration]:
    """Return those that can be read, by route; other names may begin likewise."""
    found = {name.removeprefix(KEPT_NAME): text for name, text in kept.items() if name.startswith(KEPT_NAME)}
    return {runner: read for runner, text in found.items() if (read := wire.load_kept(text)) is not None}

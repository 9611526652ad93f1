"""What is to be offered, and how each registry has taken it. Holds values, decides nothing.

The advertiser writes the offers, the watch of the node its status, and each registry how its models stand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from orchd.advertise import registries
from orchd.domain.changes import Changes
from orchd.domain.ids import ModelKey
from orchd.domain.offer import NodeStatus, Offers, Published


class _PublishedModels(dict[ModelKey, Published]):
    """How models stand in one registry. Each model that is set to another value or removed counts as changed."""

    def __init__(self, changes: Changes[ModelKey]) -> None:
        super().__init__()
        self._changes = changes

    def __setitem__(self, key: ModelKey, published: Published) -> None:
        if self.get(key) != published:
            super().__setitem__(key, published)
            self._changes.touch(key)

    def __delitem__(self, key: ModelKey) -> None:
        super().__delitem__(key)
        self._changes.touch(key)

    def pop(self, key: ModelKey, *default: Any) -> Any:
        self._changes.touch(key)
        return super().pop(key, *default)


def _uncounted(registry: str, code: str) -> None:
    """Errors are counted nowhere."""


class Listings:
    """What the registries read and write.

    Args:
        active: sessions of a model that run now, of all kinds; the node knows nothing of those that let go.
        begun: sessions of a model that began since orchd started.
        streams: realtime sessions of a model that came by a door (`byoc`) and run now.
        on_error: called with registry and code at each call that failed.

    Attributes:
        changes: models of which something else is shown now: in a registry, or why they are not offered.
        offers: what gateways are to find now; see `set_offers`.
        node: how the node was seen last.
        published: how each model stands, by registry; written by that registry alone.
    """

    def __init__(
        self,
        *,
        active: Callable[[ModelKey], int],
        begun: Callable[[ModelKey], int],
        streams: Callable[[ModelKey, str], int],
        on_error: Callable[[str, str], None] = _uncounted,
    ) -> None:
        self.active = active
        self.begun = begun
        self.streams = streams
        self.on_error = on_error
        self.offers = Offers({}, {})
        self.node = NodeStatus()
        self.changes: Changes[ModelKey] = Changes()
        self.published: Mapping[str, dict[ModelKey, Published]] = {
            name: _PublishedModels(self.changes) for name in registries.names()
        }
        self._waiting: set[asyncio.Event] = set()

    def set_offers(self, offers: Offers) -> None:
        """Replace what gateways are to find."""
        before, self.offers = self.offers, offers
        if offers is before:
            return
        if offers.now != before.now:
            self.wake()
        for key in before.why_not.keys() | offers.why_not.keys():
            if before.why_not.get(key) != offers.why_not.get(key):
                self.changes.touch(key)

    def set_node(self, node: NodeStatus) -> None:
        """Replace how the node stands."""
        if node != self.node:
            self.wake()
        self.node = node

    def wake(self) -> None:
        """Wake the registries: something that they read has changed."""
        for event in self._waiting:
            event.set()

    def subscribe(self) -> asyncio.Event:
        """Return an event that is set at each change. A reader clears it before it reads."""
        event = asyncio.Event()
        event.set()
        self._waiting.add(event)
        return event

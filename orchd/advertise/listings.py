"""What is to be offered, and how each registry has taken it. Holds values, decides nothing.

The advertiser writes the offers, the watch of the node its status, and each registry how its models stand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from orchd.advertise import registries
from orchd.domain.ids import ModelKey
from orchd.domain.offer import NodeStatus, Offers, Published


def _uncounted(registry: str, code: str) -> None:
    """Errors are counted nowhere."""


class Listings:
    """What the registries read and write.

    Args:
        active: sessions of a model that run now, of all kinds; the node knows nothing of those that let go.
        begun: sessions of a model that began since orchd started.
        streams: realtime sessions of a model that came by the node's job path and run now.
        on_error: called with registry and code at each call that failed.

    Attributes:
        offers: what gateways are to find now; see `set_offers`.
        node: how the node was seen last.
        published: how each model stands, by registry; written by that registry alone.
    """

    def __init__(
        self,
        *,
        active: Callable[[ModelKey], int],
        begun: Callable[[ModelKey], int],
        streams: Callable[[ModelKey], int],
        on_error: Callable[[str, str], None] = _uncounted,
    ) -> None:
        self.active = active
        self.begun = begun
        self.streams = streams
        self.on_error = on_error
        self.offers = Offers({}, {})
        self.node = NodeStatus()
        self.published: Mapping[str, dict[ModelKey, Published]] = {name: {} for name in registries.names()}
        self._waiting: set[asyncio.Event] = set()

    def set_offers(self, offers: Offers) -> None:
        """Replace what gateways are to find."""
        if offers.now != self.offers.now:
            self.wake()
        self.offers = offers

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

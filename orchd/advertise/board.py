"""Where the registries' writers read what shall be offered, and say how it stands. Holds values, decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from orchd.domain.ids import ModelKey
from orchd.domain.offer import NodeStatus, Offers, Published, RegistryName


def _nobody(registry: str, code: str) -> None:
    """Nobody counts them."""


class Board:
    """Args:
    active: sessions of a model that run now, of all kinds; of those that let go the node knows nothing.
    begun: sessions of a model that began since orchd started.
    streams: realtime sessions of a model that came by BYOC and run now.
    on_error: called with registry and code at each call that failed.

    Attributes:
        offers: what shall be found now; see `post`.
        node: how the node was seen last.
        published: how each model stands, by registry; written by that registry's writer alone.
    """

    def __init__(
        self,
        *,
        active: Callable[[ModelKey], int],
        begun: Callable[[ModelKey], int],
        streams: Callable[[ModelKey], int],
        on_error: Callable[[str, str], None] = _nobody,
    ) -> None:
        self.active = active
        self.begun = begun
        self.streams = streams
        self.on_error = on_error
        self.offers = Offers({}, {})
        self.node = NodeStatus()
        self.published: Mapping[RegistryName, dict[ModelKey, Published]] = {name: {} for name in RegistryName}
        self._waiting: set[asyncio.Event] = set()

    def post(self, offers: Offers) -> None:
        """Say what shall be found from now on."""
        if offers.now != self.offers.now:
            self.stir()
        self.offers = offers

    def saw(self, node: NodeStatus) -> None:
        """Say how the node stands."""
        if node != self.node:
            self.stir()
        self.node = node

    def stir(self) -> None:
        """Wake the writers: something else has changed that they look at."""
        for event in self._waiting:
            event.set()

    def listen(self) -> asyncio.Event:
        """Return an event that is set at each change; whoever waits for it clears it first, and then looks."""
        event = asyncio.Event()
        event.set()
        self._waiting.add(event)
        return event

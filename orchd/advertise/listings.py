"""What is to be offered, and how each registry has taken it. Holds values, decides nothing.

The advertiser writes the offers, the watch of the node its status, and each registry how its models stand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from orchd.advertise import registries
from orchd.advertise.free_slots import SlotUse
from orchd.advertise.leaks import LeakedSlots
from orchd.advertise.off_market import OffMarket
from orchd.domain.changes import Changes
from orchd.domain.ids import ModelKey
from orchd.domain.offer import NodeStatus, Offers, Published
from orchd.domain.signal import Signal

Told = Callable[[str, ModelKey, Published | None, Published | None, Mapping[ModelKey, str]], None]
"""Called with registry, model, how it stood and stands there (None = nothing is known of it), and `Offers.why_not`."""


class _PublishedModels(dict[ModelKey, Published]):
    """How models stand in one registry. `changed` is called with each that is set to another value, or removed."""

    def __init__(self, changed: Callable[[ModelKey, Published | None, Published | None], None]) -> None:
        super().__init__()
        self._changed = changed

    def __setitem__(self, key: ModelKey, published: Published) -> None:
        if (before := self.get(key)) != published:
            super().__setitem__(key, published)
            self._changed(key, before, published)

    def __delitem__(self, key: ModelKey) -> None:
        before = self[key]
        super().__delitem__(key)
        self._changed(key, before, None)

    def pop(self, key: ModelKey, *default: Any) -> Any:
        before = self.get(key)
        found = super().pop(key, *default)
        self._changed(key, before, None)
        return found


def _no_jobs(key: ModelKey, door: str) -> int:
    """No job runs."""
    return 0


def _uncounted(registry: str, code: str) -> None:
    """Errors are counted nowhere."""


def _untold(
    registry: str, key: ModelKey, before: Published | None, now: Published | None, why_not: Mapping[ModelKey, str]
) -> None:
    """Changes are told to nobody."""


class _AllFree:
    """After `SlotUse`: no slot is taken but by the node."""

    def __init__(self, at_node: Callable[[ModelKey], int]) -> None:
        self.at_node = at_node

    def capacity(self, key: ModelKey) -> int | None:
        return None


class Listings:
    """What the registries read and write.

    Args:
        active: sessions of a model that run now, of all kinds; the node knows nothing of those that let go.
        begun: sessions of a model that began since orchd started.
        streams: realtime sessions of a model that came by a door (`byoc`) and run now.
        jobs: its jobs that came by that door and run now, those that wait for a slot included.
        on_error: called with registry and code at each call that failed.
        told: called with each change of `published`.
        slots: what is free; None = everything, always.

    Attributes:
        leaks: slots that the node keeps although their jobs are over.
        changes: models of which something else is shown now: in a registry, or why they are not offered.
        offers: what gateways are to find now; see `set_offers`.
        node: how the node was seen last.
        published: how each model stands, by registry; written by that registry alone.
        slots_moved: emitted with each model of which `slots` says another capacity.
        others: runners of other orchd that the node lists for the same name, by model, where that can be seen.
    """

    def __init__(
        self,
        *,
        active: Callable[[ModelKey], int],
        begun: Callable[[ModelKey], int],
        streams: Callable[[ModelKey, str], int],
        jobs: Callable[[ModelKey, str], int] = _no_jobs,
        on_error: Callable[[str, str], None] = _uncounted,
        told: Told = _untold,
        slots: SlotUse | None = None,
    ) -> None:
        self.active = active
        self.begun = begun
        self.streams = streams
        self.jobs = jobs
        self.leaks = LeakedSlots(self.wake)
        self.slots: SlotUse = slots or _AllFree(active)
        self.slots_moved: Signal[ModelKey] = Signal()
        self.on_error = on_error
        self.offers = Offers({}, {})
        self.node = NodeStatus()
        self.changes: Changes[ModelKey] = Changes()
        self.published: Mapping[str, dict[ModelKey, Published]] = {
            name: _PublishedModels(partial(self._changed, told, name)) for name in registries.names()
        }
        self.others: Mapping[ModelKey, str] = {}
        self._off_market = OffMarket()
        self._waiting: set[asyncio.Event] = set()

    def _changed(
        self, told: Told, registry: str, key: ModelKey, before: Published | None, now: Published | None
    ) -> None:
        self.changes.touch(key)
        told(registry, key, before, now, self.offers.why_not)
        self._off_market.look(key, [self.published[name].get(key) for name in self.node.registries])

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

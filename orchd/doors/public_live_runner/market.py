"""Which models Live Runner's clients can have now, by what the loop and the slot table know. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from orchd.domain.details import Gpu
from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.doors.base import Readiness
from orchd.doors.public_live_runner.discovery import OnSale
from orchd.realtime.servable import live_runner_gap
from orchd.tickets.prices import WorkPrice


class ModelStands(Protocol):
    """See `reconcile.standing.Standing`."""

    @property
    def ready(self) -> bool: ...
    @property
    def startable(self) -> bool: ...
    @property
    def reason(self) -> str: ...


class ModelsNow(Protocol):
    """See `reconcile.ports.ServedModels`."""

    def models(self) -> Mapping[ModelKey, Model]: ...
    def standing(self, key: ModelKey) -> ModelStands: ...


class SlotsTaken(Protocol):
    """See `sessions.table.SessionTable`."""

    def could_begin(self, key: ModelKey) -> int: ...
    def slots(self, key: ModelKey) -> tuple[int, int, int]: ...


@dataclass(frozen=True, slots=True)
class Findable:
    """What the operator wants to be found.

    Attributes:
        name: pattern of capability names, with {pipeline} and {model_id}.
        cold: models that their first session would start, too.
        full: models without a free slot, too.
    """

    name: str
    cold: bool
    full: bool


class Market:
    """Looks at all of them.

    Args:
        prices: returns what models cost, of those that can be sold now; called when clients are told.
        gpu_of: returns the GPU that clients are told of.
    """

    def __init__(
        self,
        models: ModelsNow,
        slots: SlotsTaken,
        prices: Callable[[Iterable[Model]], Mapping[ModelKey, WorkPrice]],
        gpu_of: Callable[[Model], Gpu | None],
        findable: Findable,
    ) -> None:
        self._models = models
        self._slots = slots
        self._prices = prices
        self._gpu_of = gpu_of
        self._findable = findable

    def on_sale(self) -> list[OnSale]:
        """Return what can be had now, the first in the file first."""
        offered = list(self._offered())
        prices = self._prices(offered)
        return [self._told(model, prices[model.key]) for model in offered if model.key in prices]

    def could_begin(self, key: ModelKey) -> Readiness:
        """Return whether a session could begin, if a slot is free, by a start of a cold model too; and if not, why."""
        stands = self._models.standing(key)
        return stands.ready or stands.startable, stands.reason

    def _offered(self) -> Iterator[Model]:
        findable = self._findable
        for key, model in self._models.models().items():
            if model.price is None or live_runner_gap(model):
                continue
            stands = self._models.standing(key)
            could = stands.ready or (findable.cold and stands.startable)
            if could and (findable.full or self._slots.could_begin(key)):
                yield model

    def _told(self, model: Model, price: WorkPrice) -> OnSale:
        active, _, pending = self._slots.slots(model.key)
        return OnSale(
            model.key.slug,
            model.name_for_gateways(self._findable.name),
            model.persistent,
            price,
            active + pending,
            self._slots.could_begin(model.key),
            replace(model.details, gpu=self._gpu_of(model)),
        )

"""Which models clients can have now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

import pytest

from orchd.domain.details import Details, Gpu
from orchd.domain.ids import ModelKey
from orchd.domain.model import Model, StreamSpec
from orchd.domain.money import Price
from orchd.doors.public_live_runner.market import Findable, Market
from orchd.tickets.prices import WorkPrice
from tests.jobs.model import a_model

KEY = ModelKey("image", "org/one")
MODEL = a_model(KEY, price=Price(Fraction(5)), details=Details(version="2"))
GPU = Gpu("0", "H100")


@dataclass
class Stands:
    """After `market.ModelStands`."""

    ready: bool = True
    startable: bool = False
    reason: str = ""


@dataclass
class Around:
    """Models, slots and prices of the test's.

    Attributes:
        slots: taken, letting go, kept for sessions that may begin.
        costs: wei; None = it can't be told.
    """

    model: Model = MODEL
    stands: Stands = field(default_factory=Stands)
    free: int = 2
    taken: tuple[int, int, int] = (3, 1, 1)
    costs: int | None = 5
    asked: list[ModelKey] = field(default_factory=list)

    def models(self) -> Mapping[ModelKey, Model]:
        return {KEY: self.model}

    def standing(self, key: ModelKey) -> Stands:
        return self.stands

    def could_begin(self, key: ModelKey) -> int:
        return self.free

    def slots(self, key: ModelKey) -> tuple[int, int, int]:
        return self.taken

    def prices(self, models: Iterable[Model]) -> Mapping[ModelKey, WorkPrice]:
        self.asked = [model.key for model in models]
        return {} if self.costs is None else {key: WorkPrice(self.costs) for key in self.asked}

    def market(self, *, cold: bool = False, full: bool = False) -> Market:
        return Market(self, self, self.prices, lambda model: GPU, Findable("{pipeline}/{model_id}", cold, full))

    def on_sale(self, *, cold: bool = False, full: bool = False) -> bool:
        return bool(self.market(cold=cold, full=full).on_sale())


def test_a_ready_model_with_a_price_is_told_with_its_slots_and_gpu() -> None:
    (told,) = Around().market().on_sale()
    assert (told.slug, told.app, told.persistent) == (KEY.slug, "image/org/one", False)
    assert (told.price, told.taken, told.free) == (WorkPrice(5), 4, 2)
    assert told.details == Details(GPU, "2")


def test_it_is_told_under_the_name_and_in_the_mode_of_its_entry() -> None:
    (told,) = Around(replace(MODEL, capability="acme", persistent=True)).market().on_sale()
    assert (told.app, told.persistent) == ("acme", True)


@pytest.mark.parametrize(
    "around",
    [
        Around(replace(MODEL, price=None)),
        Around(stands=Stands(ready=False)),
        Around(costs=None),
        # Its streams outlive the request that starts them, and there is no session that could hold them.
        Around(replace(MODEL, stream=StreamSpec(post_starts_stream=True))),
    ],
)
def test_what_can_t_be_had_is_not_told_whatever_the_operator_wants_to_be_found(around: Around) -> None:
    assert not around.on_sale(cold=True, full=True)


def test_cold_models_are_told_where_the_operator_wants_that() -> None:
    around = Around(stands=Stands(ready=False, startable=True))
    assert not around.on_sale()
    assert around.asked == [], "their prices were told to nobody"
    assert around.on_sale(cold=True)


def test_full_models_are_told_where_the_operator_wants_that() -> None:
    assert not Around(free=0).on_sale()
    (told,) = Around(free=0).market(full=True).on_sale()
    assert told.free == 0


@pytest.mark.parametrize(
    ("stands", "able"),
    [(Stands(), True), (Stands(False, True, "cold"), True), (Stands(False, False, "it loads"), False)],
)
def test_a_session_could_begin_on_a_ready_model_and_by_the_start_of_a_cold_one(stands: Stands, able: bool) -> None:
    assert Around(stands=stands).market().could_begin(KEY) == (able, stands.reason)

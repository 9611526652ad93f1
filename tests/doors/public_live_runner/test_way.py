"""What is found where no chain makes tickets worth anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.doors.public_live_runner.way import for_nothing
from orchd.tickets.prices import WorkPrice

FREE, PAID = ModelKey("image", "free"), ModelKey("image", "paid")


def prices(_models: Iterable[Model]) -> Mapping[ModelKey, WorkPrice]:
    return {FREE: WorkPrice(0), PAID: WorkPrice(5, fixed=True)}


def test_what_has_a_price_is_not_found_or_is_free_where_payers_are_trusted() -> None:
    assert for_nothing(prices, all_free=False)([]) == {FREE: WorkPrice(0)}
    assert for_nothing(prices, all_free=True)([]) == {FREE: WorkPrice(0), PAID: WorkPrice(0)}

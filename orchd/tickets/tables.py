"""What is kept of prices: those that directories may carry, so that they are honoured over a restart, too."""

from __future__ import annotations

from collections.abc import Iterable

from orchd.database.sql import Sql
from orchd.domain.ids import ModelKey
from orchd.tickets.live_runner.listed_prices import ListedPrice
from orchd.tickets.prices import WorkPrice


def listed_prices(sql: Sql) -> list[ListedPrice]:
    """Return all of them; times are Unix times."""
    rows = sql.rows("SELECT pipeline, model_id, wei, fixed, until FROM listed_prices")
    return [
        ListedPrice(ModelKey(pipeline, model_id), WorkPrice(wei, bool(fixed)), until)
        for pipeline, model_id, wei, fixed, until in rows
    ]


def put_listed_prices(sql: Sql, prices: Iterable[ListedPrice]) -> None:
    """Keep these in place of all others."""
    sql.change("DELETE FROM listed_prices")
    sql.change_all(
        "INSERT INTO listed_prices (pipeline, model_id, wei, fixed, until) VALUES (?, ?, ?, ?, ?)",
        [(*key, price.wei, price.fixed, until) for key, price, until in prices],
    )

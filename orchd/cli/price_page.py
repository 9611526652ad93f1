"""What `orchd price` prints: tables, notes below them, or JSON. Each registry describes its own prices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

from orchd.advertise import registries
from orchd.advertise.price_doubts import PriceWarning, warnings
from orchd.advertise.prices import Quote, ToldPrice, Unpublishable, quote
from orchd.cli import price_direct
from orchd.cli.price_direct import DirectPrice, direct_price
from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.domain.money import PriceUnit
from orchd.text import YELLOW, Cell, TextStyle, printable, table, units
from orchd.tickets.settings import TicketsSettings

Json = dict[str, Any]

ABSENT = "—"
_WARNING = "warning: "
_REPORTS = (
    "NODE REPORTS is what go-livepeer shows, at the rate below and before its overhead for each gateway; Livepeer Node "
    "rounds up to whole wei"
)
_EXACT, _ROUNDED = Context(prec=12), Context(prec=6)
_SMALL, _LARGE = Decimal("0.000001"), Decimal(1_000_000)
"""Smaller amounts have an exponent; of larger ones, what stands after the point doesn't matter."""


@dataclass(frozen=True, slots=True)
class Rate:
    """USD per ETH.

    Attributes:
        eth_usd: None = not known; `why` says why not.
    """

    eth_usd: Fraction | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One model.

    Attributes:
        quote: None = it has no price.
        told: its price by registry; empty = it has no price, or there is no node to tell it to.
        gateways: those that have a price of their own.
        direct: what its sessions cost at the door for clients of Live Runner; None = that is not open.
    """

    key: ModelKey
    quote: Quote | None = None
    told: Mapping[str, ToldPrice | Unpublishable] = field(default_factory=dict)
    warnings: tuple[PriceWarning, ...] = ()
    gateways: tuple[str, ...] = ()
    direct: DirectPrice | None = None


def row_of(model: Model, eth_usd: Fraction | None, tickets: TicketsSettings | None = None, *, node: bool = True) -> Row:
    """Return what there is to say about a model's price.

    Args:
        tickets: None = the door for clients of Live Runner is not open.
        node: there is one, or there may be, so it matters what its registries make of the price.
    """
    gateways = tuple(gateway for gateway, _ in model.gateway_prices)
    price = model.price
    if price is None:
        return Row(model.key, gateways=gateways)
    return Row(
        model.key,
        quote(price, eth_usd),
        {name: registries.module(name, "prices").describe(price, eth_usd) for name in registries.names() if node},
        warnings(price, None, eth_usd, None),
        gateways,
        None if tickets is None else direct_price(model, eth_usd, tickets),
    )


def as_text(rows: Iterable[Row], rate: Rate, style: TextStyle) -> str:
    """Return the amounts, what becomes of them, and what is to be said about them."""
    rows = list(rows)
    if not rows:
        return "no models"
    priced = [row for row in rows if row.quote]
    lines = []
    if priced:
        lines += table(
            ("MODEL", "WEI/SECOND", "WEI/HOUR", "USD/SECOND", "USD/HOUR", "PER UNIT"),
            (_amounts(row, row.quote) for row in priced if row.quote),
            style,
        )
    told = [row for row in priced if row.told]
    if told:
        headings = (registries.module(name, "prices").HEADING for name in registries.names())
        head = ("MODEL", *(text for heading in headings for text in (heading, "NODE REPORTS")))
        lines += ["", *table(head, (_published(row) for row in told), style), ""]
        lines += style.wrap(_REPORTS, "")
    sold = [(printable(str(row.key)), row.direct) for row in priced if row.direct]
    if sold:
        cells = (price_direct.cells_of(name, direct, ABSENT) for name, direct in sold)
        lines += ["", *table(price_direct.HEADINGS, cells, style), "", *style.wrap(price_direct.ABOUT, "")]
    lines += style.wrap(printable(rate.why) or f"ETH/USD {_amount(rate.eth_usd)}", "")
    notes = sorted(_notes(rows).items(), key=lambda note: not note[0].startswith(_WARNING))
    for text, keys in notes:
        colour = YELLOW if text.startswith(_WARNING) else None
        lines += [style.paint(line, colour) for line in style.wrap(f"{text} ({printable(', '.join(keys))})", "")]
    return "\n".join(lines)


def _amounts(row: Row, told: Quote) -> tuple[Cell, ...]:
    times = (told.wei_per_second, told.wei_per_hour, told.usd_per_second, told.usd_per_hour)
    unit = f"{_amount(told.wei_per_unit)} wei, {_amount(told.usd_per_unit)} USD per {units(1, told.unit)}"
    return tuple(map(Cell, (printable(str(row.key)), *map(_amount, times), unit)))


def _published(row: Row) -> tuple[Cell, ...]:
    cells = [Cell(printable(str(row.key)))]
    for told in row.told.values():
        texts = (told.told, told.reported or ABSENT) if isinstance(told, ToldPrice) else (ABSENT, ABSENT)
        cells += map(Cell, texts)
    return tuple(cells)


def _notes(rows: Iterable[Row]) -> dict[str, list[str]]:
    """Return what is to be said, each with the models that it is said of."""
    notes: dict[str, list[str]] = {}
    for row in rows:
        said = [_WARNING + warning.text for warning in row.warnings]
        if row.direct is not None:
            said += [_WARNING + text for text in price_direct.warnings_of(row.direct)]
            said += [row.direct.why] * bool(row.direct.why)
        if row.quote is None:
            said.append("not offered for pay, it has no price_per_unit")
        elif row.quote.unit is PriceUnit.VIDEO_720P:
            said.append(f"{ABSENT} per second and hour: what a second costs depends on the size and rate of the video")
        elif row.quote.unit is PriceUnit.FIXED:
            said.append(f"{ABSENT} per second and hour: the price is for a whole job or session")
        for name, told in row.told.items():
            if isinstance(told, Unpublishable):
                said.append(f"cannot publish to {registries.about(name).title}: {told.reason}")
        if row.gateways:
            said.append("prices for single gateways are not published: the registries take one price for all gateways")
        for text in said:
            notes.setdefault(text, []).append(str(row.key))
    return notes


def _amount(value: Fraction | None) -> str:
    """Return an amount exactly if 12 digits are enough, else rounded to 6 or more and marked so."""
    if value is None:
        return ABSENT
    if value.denominator == 1:
        return str(value)
    ratio = Decimal(value.numerator), Decimal(value.denominator)
    shown, about = _EXACT.divide(*ratio), ""
    if Fraction(shown) != value:
        shown, about = _ROUNDED.divide(*ratio), "~"
        if shown >= _LARGE:
            return about + str(round(value))
    return about + (f"{shown:f}" if shown >= _SMALL else f"{shown:e}")


def as_json(rows: Iterable[Row], rate: Rate) -> Json:
    """Return the same for machines; amounts as exact text, such as `3/2`."""
    return {
        "eth_usd": rate.eth_usd and str(rate.eth_usd),
        "eth_usd_missing": rate.why or None,
        "models": [
            {
                "pipeline": row.key.pipeline,
                "model_id": row.key.model_id,
                "amounts": row.quote
                and {
                    name: str(value) if isinstance(value, Fraction) else value
                    for name, value in asdict(row.quote).items()
                },
                **{name.replace("-", "_"): _told_json(row.told.get(name)) for name in registries.names()},
                "sold_directly": price_direct.as_json(row.direct),
                "warnings": [{"code": warning.code, "text": warning.text} for warning in row.warnings],
                "unpublished_gateways": list(row.gateways),
            }
            for row in rows
        ],
    }


def _told_json(told: ToldPrice | Unpublishable | None) -> Json | None:
    if told is None:
        return None
    return asdict(told) if isinstance(told, Unpublishable) else dict(told.json)

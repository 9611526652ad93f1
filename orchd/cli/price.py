"""`orchd price [MODEL]`: every price in every unit, what the registries are told of it and what the node then reports.

Reads the file, and the rate where that comes from a feed. Whether the node is on chain is not asked: it is taken to be.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from decimal import Context, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from orchd.advertise.pricing import (
    NO_RATE,
    ByocPrice,
    LivePrice,
    PriceWarning,
    Quote,
    Unpublishable,
    byoc_price,
    live_price,
    quote,
    warnings,
)
from orchd.advertise.rate import eth_usd_source
from orchd.advertise.settings import OrchestratorSettings
from orchd.catalog.reload import read_file
from orchd.cli.flags import add_settings_flags
from orchd.cli.text import YELLOW, Cell, Look, look_of, printable, table, write
from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.domain.money import PriceUnit
from orchd.domain.state import Severity
from orchd.errors import OrchdError, SettingsError
from orchd.settings.files import read_secret
from orchd.settings.tree import Settings
from orchd.status_view import find_model

Json = dict[str, Any]

ABSENT = "—"
_WARNING = "warning: "
_EXACT, _ROUNDED = Context(prec=12), Context(prec=6)
_SMALL, _LARGE = Decimal("0.000001"), Decimal(1_000_000)
"""Smaller amounts have an exponent; of larger ones, whatever is behind the point doesn't matter."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Attributes:
    eth_usd: None = not known; `why` says why not.
    """

    eth_usd: Fraction | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One model; what is None belongs to a model without a price."""

    key: ModelKey
    quote: Quote | None = None
    byoc: ByocPrice | Unpublishable | None = None
    live: LivePrice | Unpublishable | None = None
    warnings: tuple[PriceWarning, ...] = ()
    gateways: tuple[str, ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="one model; default all")
    parser.add_argument("--eth-usd", metavar="N", help="USD per ETH, in place of the setting orchestrator.eth_usd")
    parser.add_argument("--json", action="store_true", help="print JSON, with exact amounts")
    rate = ("orchestrator.eth_usd", "orchestrator.eth_usd_feed", "orchestrator.rpc_url_file")
    add_settings_flags(parser, only=("models_file", *rate))


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Return 1 if the file has errors, else 0."""
    path = Path(settings.models_file)
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    reading = read_file(path, Path(credentials) if credentials else None, strict=settings.strict_file)
    for problem in reading.problems:
        if problem.severity is Severity.ERROR:
            print(f"error    {printable(str(problem))}", file=sys.stderr)
    models = reading.models
    if args.model:
        key = find_model(args.model, models)
        models = {key: models[key]}
    rate = _rate_given(args.eth_usd) if args.eth_usd else _rate_set(settings.orchestrator)
    rows = [row_of(model, rate.eth_usd) for model in models.values()]
    write(json.dumps(as_json(rows, rate), indent=2) if args.json else as_text(rows, rate, look_of(sys.stdout)))
    return 1 if reading.count(Severity.ERROR) else 0


def _rate_given(text: str) -> Rate:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise SettingsError(f"cannot use --eth-usd {text}: it should be a positive number of USD per ETH")
    return Rate(rate)


def _rate_set(settings: OrchestratorSettings) -> Rate:
    """Return the rate that the settings name; one that can't be had is no error, only less is known then."""
    try:
        file = settings.rpc_url_file if settings.eth_usd == "feed" else ""
        url = read_secret("orchestrator.rpc_url_file", file, os.environ)
        source = eth_usd_source(settings.eth_usd, settings.eth_usd_feed, url, settings.call_timeout_s)
        return Rate(asyncio.run(source.read())) if source else Rate(None, NO_RATE)
    except OrchdError as exc:
        return Rate(None, exc.message)


def row_of(model: Model, eth_usd: Fraction | None) -> Row:
    """Return what there is to say about a model's price."""
    gateways = tuple(gateway for gateway, _ in model.gateway_prices)
    price = model.price
    if price is None:
        return Row(model.key, gateways=gateways)
    return Row(
        model.key,
        quote(price, eth_usd),
        byoc_price(price, eth_usd, on_chain=None),
        live_price(price, eth_usd, on_chain=None),
        warnings(price, None, eth_usd, on_chain=None),
        gateways,
    )


def as_text(rows: Iterable[Row], rate: Rate, look: Look) -> str:
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
            look,
        )
        head = ("MODEL", "BYOC, A SECOND", "NODE REPORTS", "LIVE RUNNER", "NODE REPORTS")
        lines += ["", *table(head, (_published(row, rate.eth_usd) for row in priced), look), ""]
        lines += look.wrap("NODE REPORTS is at the rate below, before the node's overhead for each gateway", "")
    lines += look.wrap(printable(rate.why) or f"ETH/USD {_amount(rate.eth_usd)}", "")
    notes = sorted(_notes(rows).items(), key=lambda note: not note[0].startswith(_WARNING))
    for text, keys in notes:
        colour = YELLOW if text.startswith(_WARNING) else None
        lines += [look.paint(line, colour) for line in look.wrap(f"{text} ({printable(', '.join(keys))})", "")]
    return "\n".join(lines)


def _amounts(row: Row, told: Quote) -> tuple[Cell, ...]:
    times = (told.wei_per_second, told.wei_per_hour, told.usd_per_second, told.usd_per_hour)
    unit = f"{_amount(told.wei_per_unit)} wei, {_amount(told.usd_per_unit)} USD per {told.unit}"
    return tuple(map(Cell, (printable(str(row.key)), *map(_amount, times), unit)))


def _published(row: Row, eth_usd: Fraction | None) -> tuple[Cell, ...]:
    texts = [printable(str(row.key)), *[ABSENT] * 4]
    if isinstance(row.byoc, ByocPrice):
        texts[1] = f"{row.byoc.price_per_unit}/{row.byoc.price_scaling} {row.byoc.currency}"
        wei = row.byoc.reported(eth_usd)
        texts[2] = ABSENT if wei is None else f"{wei} wei"
    if isinstance(row.live, LivePrice):
        texts[3] = f"{row.live.price} usd, {row.live.unit}"
        info = row.live.reported(eth_usd)
        texts[4] = f"{info.price} wei, {info.unit}" if info else ABSENT
    return tuple(map(Cell, texts))


def _notes(rows: Iterable[Row]) -> dict[str, list[str]]:
    """Return what is to be said, each with the models that it is said of."""
    notes: dict[str, list[str]] = {}
    for row in rows:
        said = [_WARNING + warning.text for warning in row.warnings]
        if row.quote is None:
            said.append("not offered for pay, it has no price_per_unit")
        elif row.quote.unit is PriceUnit.VIDEO_720P:
            said.append(f"{ABSENT} per second and hour: what a second costs depends on the size and rate of the video")
        elif row.quote.unit is PriceUnit.FIXED:
            said.append(f"{ABSENT} per second and hour: the price is for a whole job or session")
        if isinstance(row.byoc, Unpublishable):
            said.append(f"cannot publish to BYOC: {row.byoc.reason}")
        if isinstance(row.live, Unpublishable):
            said.append(f"cannot publish to Live Runner: {row.live.reason}")
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
                "byoc": _byoc_json(row.byoc, rate.eth_usd),
                "live_runner": _live_json(row.live, rate.eth_usd),
                "warnings": [{"code": warning.doubt, "text": warning.text} for warning in row.warnings],
                "unpublished_gateways": list(row.gateways),
            }
            for row in rows
        ],
    }


def _byoc_json(byoc: ByocPrice | Unpublishable | None, eth_usd: Fraction | None) -> Json | None:
    match byoc:
        case ByocPrice():
            return {**asdict(byoc), "node_reports_wei": byoc.reported(eth_usd)}
        case Unpublishable():
            return asdict(byoc)
    return None


def _live_json(live: LivePrice | Unpublishable | None, eth_usd: Fraction | None) -> Json | None:
    match live:
        case LivePrice():
            info = live.reported(eth_usd)
            return {**asdict(live), "currency": "usd", "node_reports": info and {**asdict(info), "currency": "wei"}}
        case Unpublishable():
            return asdict(live)
    return None

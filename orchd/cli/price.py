"""`orchd price [MODEL]`: every price in every unit, what the registries are told of it and what the node then reports.

Where orchd sells sessions itself, also what of that the signers of its clients can pay; without a node then, nothing of
registries.

Reads the file, and the rate where that comes from a feed. Whether the node is on chain is not asked: it is taken to be.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from fractions import Fraction
from pathlib import Path

from orchd.catalog.reload import read_file
from orchd.cli.flags import add_settings_flags
from orchd.cli.models_file import ERRORS, WHICH_FILE, find_models_file
from orchd.cli.price_page import Rate, as_json, as_text, row_of
from orchd.cli.rate import RATE_SETTINGS, rate_set
from orchd.domain.state import Severity
from orchd.errors import SettingsError
from orchd.settings.tree import Settings
from orchd.status_view import find_model
from orchd.streams import write
from orchd.text import printable, style_of

ABOUT = WHICH_FILE
_DIRECT = (
    "orchestrator.service_url",
    "public.doors",
    "tickets.value",
    "tickets.max_face_value",
    "tickets.longest_gap_s",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="one model; default all")
    parser.add_argument("--eth-usd", metavar="N", help="USD per ETH, in place of the setting orchestrator.eth_usd")
    parser.add_argument("--json", action="store_true", help="print JSON, with exact amounts")
    add_settings_flags(parser, only=("models_file", *RATE_SETTINGS, *_DIRECT))
    parser.epilog = ERRORS


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Return 1 if the file has errors, else 0."""
    path = find_models_file(args, settings, os.environ)
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    reading = read_file(path, Path(credentials) if credentials else None, strict=settings.strict_file)
    for problem in reading.problems:
        if problem.severity is Severity.ERROR:
            print(f"error    {printable(str(problem))}", file=sys.stderr)
    models = reading.models
    if args.model:
        key = find_model(args.model, models)
        models = {key: models[key]}
    rate = _rate_given(args.eth_usd) if args.eth_usd else rate_set(settings)
    tickets = settings.tickets if "live-runner" in settings.public.doors else None
    node = settings.orchestrator.enabled or tickets is None
    rows = [row_of(model, rate.eth_usd, tickets, node=node) for model in models.values()]
    write(json.dumps(as_json(rows, rate), indent=2) if args.json else as_text(rows, rate, style_of(sys.stdout)))
    return 1 if reading.count(Severity.ERROR) else 0


def _rate_given(text: str) -> Rate:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise SettingsError(f"cannot use --eth-usd {text}: it should be a positive number of USD per ETH")
    return Rate(rate)

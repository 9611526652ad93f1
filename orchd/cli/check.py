"""`orchd check`: what is wrong with aiModels.json, and what it would run. Reads only, and starts nothing.

Where the state directory can be read, it is known what runs here, and which slips would take something away from that.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from orchd.advertise.file_doubts import doubts
from orchd.call_within import call_within
from orchd.catalog.reading import Reading
from orchd.catalog.reload import read_file
from orchd.catalog.tables import last_good
from orchd.chain.doubts import chain_doubts
from orchd.cli.flags import add_settings_flags
from orchd.cli.hook_doubts import hook_files, hooks_refused
from orchd.cli.models_file import ERRORS, WHICH_FILE, find_models_file
from orchd.cli.public_doubts import public_doubts, public_refused, unsold
from orchd.database.beside import DATABASE
from orchd.domain.model import Model
from orchd.domain.money import Price
from orchd.domain.offer import NodeProgram
from orchd.domain.state import Severity
from orchd.errors import SettingsError
from orchd.node.tables import last_program
from orchd.rpc.urls import SETTING as RPC_URL_FILE
from orchd.rpc.urls import rpc_urls
from orchd.settings.advice import advice
from orchd.settings.files import READ_TIMEOUT_S, call, resolve_state_dir
from orchd.settings.secrets import read_secret, read_secret_text
from orchd.settings.tree import Settings
from orchd.streams import write
from orchd.text import RED, YELLOW, Cell, TextStyle, pad, printable, style_of, table, units

ABOUT = WHICH_FILE
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CheckFindings:
    """What is wrong, and what is right.

    Attributes:
        refused: names of settings with which orchd does not start, and why.
        settings: names of those that are likely to be mistakes, and why.
        hooks: why hooks can't be loaded.
        offers: what stands against offering all models.
    """

    reading: Reading
    refused: Sequence[tuple[str, str]] = ()
    settings: Sequence[tuple[str, str]] = ()
    hooks: Sequence[str] = ()
    offers: Sequence[str] = ()

    @property
    def errors(self) -> int:
        return self.reading.count(Severity.ERROR) + len(self.refused) + len(self.hooks)

    @property
    def warnings(self) -> int:
        return self.reading.count(Severity.WARNING) + len(self.settings) + len(self.offers)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", nargs="?", help="in place of the setting models_file")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--strict", action="store_true", help="unknown keys are errors; the setting strict_file")
    add_settings_flags(parser, only=("models_file", "strict_file", "state_dir"))
    parser.epilog = ERRORS


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Return 1 if there are errors, else 0."""
    path = Path(args.file) if args.file else find_models_file(args, settings, os.environ)
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    strict = args.strict or settings.strict_file
    reading = read_file(path, Path(credentials) if credentials else None, strict=strict, last_good=_last_good(settings))
    program = _kept(settings, last_program) if settings.orchestrator.enabled else None
    found = CheckFindings(
        reading,
        [*chain_doubts(settings.chain), *public_refused(settings)],
        [
            *advice(settings),
            *missing_secrets(settings),
            *unusable_urls(settings),
            *doubtful_secret(settings, program),
            *public_doubts(settings),
        ],
        hooks_refused(settings.hooks),
        (*offer_doubts(reading, settings, program), *unsold(reading.models.values(), settings)),
    )
    if args.json:
        write(json.dumps(as_json(found, str(path)), indent=2))
    else:
        write(as_text(found, style_of(sys.stdout)))
    return 1 if found.errors else 0


def missing_secrets(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each setting that names a file with a secret where there is none, or nothing of use in it, and why that
    matters.

    Only absolute paths: others may be systemd's credentials, which only the service sees. A file that this user is not
    allowed to see may be there, and good.
    """
    node, chain = settings.orchestrator, settings.chain
    named = {
        "orchestrator.secret_file": node.secret_file if node.enabled else "",
        RPC_URL_FILE: chain.rpc_url_file if chain.id or settings.reads_feed else "",
        "tickets.key_file": settings.tickets.key_file if settings.takes_tickets else "",
        **dict(hook_files(settings.hooks)),
    }
    for name, file in named.items():
        if Path(file).is_absolute():
            try:
                call(Path(file).stat)
            except FileNotFoundError:
                yield name, f"{file}: there is no such file, and orchd does not start without it: make it"
            except OSError:
                continue
            else:
                yield from _unusable(name, file)


def _unusable(name: str, file: str) -> Iterator[tuple[str, str]]:
    if not name.endswith(("secret_file", "key_file", RPC_URL_FILE)):
        return  # A list of addresses, which may be empty.
    try:
        read_secret(name, file, {}, lines=name == RPC_URL_FILE)
    except SettingsError as exc:
        if exc.__cause__ is None:  # Else this user can't read it.
            yield name, f"{exc.message}; orchd does not start with it"


def unusable_urls(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the setting whose file holds no URLs that can be asked; no server is asked."""
    chain = settings.chain
    if not chain.id and not settings.reads_feed:
        return
    try:
        text = read_secret(RPC_URL_FILE, chain.rpc_url_file, os.environ, lines=True)
    except SettingsError:
        return  # `missing_secrets` tells of it where that is sure.
    if text is not None:
        try:
            rpc_urls(text)
        except SettingsError as exc:
            yield RPC_URL_FILE, f"{chain.rpc_url_file}: {exc.message}"


def doubtful_secret(settings: Settings, program: NodeProgram | None) -> Iterator[tuple[str, str]]:
    """Yield the setting whose file Livepeer Node can't use as it is; go-livepeer reads past what stands around."""
    rules = settings.orchestrator
    if not rules.enabled or program is NodeProgram.GO_LIVEPEER:
        return
    try:
        text = read_secret_text("orchestrator.secret_file", rules.secret_file, os.environ)
    except SettingsError:
        return
    if text is not None and text.around:
        why = f"{rules.secret_file} {text.around}, and a Livepeer Node that reads this file knows no secret"
        yield "orchestrator.secret_file", f"{why}: write it with printf %s, and start the node again"


def offer_doubts(reading: Reading, settings: Settings, program: NodeProgram | None) -> Iterator[str]:
    """Return what stands against offering the models, also beside the node program that orchd has seen last here."""
    hold_s = settings.jobs.hold_timeout_s if settings.jobs.hold_limit else 0.0
    rules = settings.orchestrator
    return doubts(reading.models, rules.capability, program, hold_s, rate=bool(rules.eth_usd))


def _last_good(settings: Settings) -> tuple[Model, ...]:
    return _kept(settings, last_good) or ()


def _kept(settings: Settings, read: Callable[[Path], T]) -> T | None:
    """Return what `read` finds in the daemon's database; None where that can't be read."""
    try:
        database = resolve_state_dir(settings.state_dir, os.environ) / DATABASE
        return call_within(lambda: read(database), READ_TIMEOUT_S)
    except (SettingsError, TimeoutError):
        return None


def as_text(found: CheckFindings, style: TextStyle) -> str:
    """Return the problems line by line, doubtful settings too, a table of the models, and a summary."""
    reading = found.reading
    lines = [
        f"{style.paint(pad(problem.severity, 7), RED if problem.severity is Severity.ERROR else YELLOW)}  "
        f"{printable(str(problem))}"
        for problem in reading.problems
    ]
    refused = [*(f"setting {name} = {why}" for name, why in found.refused), *found.hooks]
    lines += [f"{style.paint(pad('error', 7), RED)}  {printable(line)}" for line in refused]
    warned = [*found.offers, *(f"setting {name} = {why}" for name, why in found.settings)]
    lines += [f"{style.paint(pad('warning', 7), YELLOW)}  {printable(line)}" for line in warned]
    if reading.models:
        head = ("MODEL", "KIND", "PROFILE", "SESSIONS", "REPLICAS", "START", "PRICE")
        lines += [""] * bool(lines) + table(head, map(_row, reading.models.values()), style) + [""]
    counts = {"model": len(reading.models), "error": found.errors, "warning": found.warnings}
    lines.append(", ".join(f"{count} {word}{'s' * (count != 1)}" for word, count in counts.items()))
    return "\n".join(lines)


def as_json(found: CheckFindings, file: str) -> dict[str, Any]:
    """Return the same for machines; no secrets, prices as exact text."""
    reading = found.reading
    return {
        "file": file,
        "ok": not found.errors,
        "hash": reading.file_hash,
        "problems": [
            {
                "severity": problem.severity,
                "code": problem.code,
                "message": problem.message,
                "line": problem.line,
                "column": problem.column,
                "entry": problem.entry,
                "field": problem.field,
                "pipeline": problem.key.pipeline if problem.key else None,
                "model_id": problem.key.model_id if problem.key else None,
                "unknown_key": problem.unknown_key,
            }
            for problem in reading.problems
        ],
        "hooks": list(found.hooks),
        "settings": [
            {"severity": severity, "setting": name, "message": f"{name} = {why}"}
            for severity, told in ((Severity.ERROR, found.refused), (Severity.WARNING, found.settings))
            for name, why in told
        ],
        "offers": list(found.offers),
        "models": [
            {
                "pipeline": model.key.pipeline,
                "model_id": model.key.model_id,
                "kind": model.kind,
                "profile": model.profile,
                "max_sessions": model.max_sessions,
                "replicas": model.replicas,
                "warm": model.warm,
                "price": _price_json(model.price),
                "gateway_prices": {gateway: _price_json(price) for gateway, price in model.gateway_prices},
            }
            for model in reading.models.values()
        ],
    }


def _row(model: Model) -> tuple[Cell, ...]:
    start = "" if not model.managed else "warm" if model.warm else "cold"
    more = f" (+{len(model.gateway_prices)} for gateways)" if model.gateway_prices else ""
    texts = (str(model.key), model.kind, model.profile, model.max_sessions, model.replicas, start)
    return (*(Cell(printable(str(text))) for text in texts), Cell(_price_text(model.price) + more))


def _price_text(price: Price | None) -> str:
    if price is None:
        return "not offered for pay"
    if price.per_unit == 0:
        return "free"
    return f"{float(price.per_unit):.12g} {price.currency} per {units(price.pixels_per_unit, price.unit)}"


def _price_json(price: Price | None) -> dict[str, Any] | None:
    if price is None:
        return None
    return {
        "per_unit": str(price.per_unit),
        "pixels_per_unit": price.pixels_per_unit,
        "currency": price.currency,
        "unit": price.unit,
    }

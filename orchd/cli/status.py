"""`orchd status [MODEL]`: what runs, since when, and why not."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from operator import itemgetter

from orchd import __version__
from orchd.cli.client import get_status
from orchd.cli.flags import add_settings_flags
from orchd.cli.status_changes import news, told
from orchd.errors import Code, DaemonUnreachable, OrchdError
from orchd.reconcile.status import model_name, state_colour
from orchd.settings.tree import Settings
from orchd.status_face import Json, Position, Section, status_faces
from orchd.text import BOLD, TextStyle, printable, style_of

WATCH_PERIOD_S = 1.0
CLEAR = "\x1b[H\x1b[J"
FACTS = ("state", "why", "wanted", "runs", "start", "sessions", "errors", "price", "offered")
"""The order of those lines at the head of a model's page; those of other names stand below them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="one model: its runners and latest events")
    parser.add_argument("--json", action="store_true", help="print what /status says")
    parser.add_argument("--watch", action="store_true", help="go on: redraw on a terminal, else print what changes")
    add_settings_flags(parser, only=("admin.listen",))


def run(args: argparse.Namespace, settings: Settings) -> int:
    if args.watch:
        return _watch(args, settings.admin.listen)
    status = get_status(settings.admin.listen, args.model)
    print(json.dumps(status, indent=2) if args.json else _page(status, args.model, style_of(sys.stdout)))
    return 0


def _page(status: Json, model: str | None, style: TextStyle) -> str:
    with _of_this_version():
        return model_page(status, style) if model else overview(status, style)


@contextmanager
def _of_this_version() -> Iterator[None]:
    """Say in words that a field is missing: after an upgrade, the former daemon runs until it is restarted.

    Raises:
        DaemonUnreachable: so that `--watch` waits for that restart.
    """
    try:
        yield
    except KeyError as exc:
        raise DaemonUnreachable(
            f"cannot read what orchd says: its /status has no field {exc.args[0]!r}, so the daemon that runs is of an "
            f"older version than this command ({__version__}); restart it (systemctl restart orchd), or use --json"
        ) from exc


def _watch(args: argparse.Namespace, listen: str) -> int:
    """Until interrupted, ask every second; a daemon that is away is said so, and waited for."""
    redraw = sys.stdout.isatty() and not args.json
    seen: Json | None = None
    away = ""
    while True:
        try:
            status = _status(listen, args.model, seen)
            if away and not redraw:
                print("orchd can be reached again", file=sys.stderr, flush=True)
            away = ""
            if redraw:
                print(CLEAR + _page(status, args.model if status["models"] else None, style_of(sys.stdout)), flush=True)
            elif args.json:
                if (changed := news(seen, status)) is not None:
                    print(json.dumps(changed), flush=True)
            else:
                with _of_this_version():
                    lines = [*told(states(seen) if seen else {}, states(status))]
                for line in lines:
                    print(line, flush=True)
            seen = status
        except DaemonUnreachable as exc:
            if redraw:
                print(CLEAR + exc.message, flush=True)
            elif exc.message != away:
                print(exc.message, file=sys.stderr, flush=True)
            away = exc.message
        time.sleep(WATCH_PERIOD_S)


def _status(listen: str, model: str | None, seen: Json | None) -> Json:
    """Return what `/status` says; a model that was there and is gone is left out, and may come back."""
    try:
        return get_status(listen, model)
    except OrchdError as exc:
        if exc.code is not Code.UNKNOWN_TARGET or seen is None:
            raise
        return {**get_status(listen), "models": []}


def states(status: Json) -> dict[str, str]:
    """Return one line for each thing that can change, by name; none of them changes by the mere passing of time."""
    lines: dict[str, str] = {}
    for model in status["models"]:
        for face in status_faces():
            lines.update(face.model_changes(model, status))
    for face in status_faces():
        lines.update(face.changes(status))
    return lines


def overview(status: Json, style: TextStyle) -> str:
    """Return the page of all models."""
    return "\n".join(_sections(status, style, [face.overview for face in status_faces()]))


def model_page(status: Json, style: TextStyle) -> str:
    """Return the page of one model, the only one in `status`."""
    [model] = status["models"]
    facts = {name: text for face in status_faces() for name, text in face.facts(model, status).items() if text}
    lines = [style.paint(printable(model_name(model)), BOLD)]
    for name in dict.fromkeys((*FACTS, *facts)):
        if text := facts.get(name):
            first, *more = style.wrap(printable(text), " " * 12)
            colour = state_colour(text) if name == "state" else None
            lines += [f"  {name:<10}{style.paint(first.strip(), colour)}", *more]
    return "\n".join([*lines, *_sections(status, style, [face.model_page for face in status_faces()])])


def _sections(status: Json, style: TextStyle, of: Iterable[Mapping[Position, Section]]) -> Iterator[str]:
    """Yield the lines of all sections, in the order of their positions."""
    found = sorted(((position, section) for each in of for position, section in each.items()), key=itemgetter(0))
    for _, section in found:
        yield from section(status, style)

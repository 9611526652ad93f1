"""`orchd status [MODEL]`: what runs, since when, and why not."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from orchd import __version__
from orchd.cli.client import Json, get_status
from orchd.cli.flags import add_client_flags
from orchd.errors import Code, DaemonUnreachable, OrchdError
from orchd.settings.basic import ADMIN_LISTEN
from orchd.settings.client import ClientSettings

WATCH_PERIOD_S = 1.0
CLEAR = "\x1b[H\x1b[J"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="one model: its runners and latest events")
    parser.add_argument("--json", action="store_true", help="print what /status says")
    parser.add_argument("--watch", action="store_true", help="go on: redraw on a terminal, else print what changes")
    add_client_flags(parser, ADMIN_LISTEN)


def run(args: argparse.Namespace, settings: ClientSettings) -> int:
    if args.watch:
        return _watch(args, settings.admin.listen)
    status = get_status(settings.admin.listen, args.model)
    print(json.dumps(status, indent=2) if args.json else _page(status, args.model))
    return 0


def _page(status: Json, model: str | None) -> str:
    from orchd.cli.status_pages import model_page, overview
    from orchd.text import style_of

    style = style_of(sys.stdout)
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
    from orchd.cli.status_changes import news, told
    from orchd.cli.status_pages import states

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
                print(CLEAR + _page(status, args.model if status["models"] else None), flush=True)
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

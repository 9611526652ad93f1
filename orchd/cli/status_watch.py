"""`orchd status --watch`: until interrupted, ask every second. A daemon that is away is said so, and waited for."""

from __future__ import annotations

import json
import sys
import time
from typing import NoReturn

from orchd.cli.client import get_status
from orchd.cli.screen import Screen
from orchd.cli.status_changes import news, told
from orchd.cli.status_pages import of_this_version, on_screen, page, states
from orchd.errors import Code, DaemonUnreachable, OrchdError
from orchd.status_face import Json
from orchd.text import is_dumb, printable

PERIOD_S = 1.0


def watch(listen: str, model: str | None, *, as_json: bool) -> NoReturn:
    """Redraw on a terminal; elsewhere print what changes, as lines or as JSON.

    Raises:
        KeyboardInterrupt: it ends by an interrupt.
        OrchdError: `unknown_target`: there is no such model at the beginning.
    """
    if sys.stdout.isatty() and not is_dumb() and not as_json:
        with Screen.entered() as screen:
            _redraw(screen, listen, model)
    _print_changes(listen, model, as_json=as_json)


def _redraw(screen: Screen, listen: str, model: str | None) -> NoReturn:
    seen: Json | None = None
    whole = f"orchd status {model}" if model else "orchd status"
    while True:
        try:
            seen = status = _status(listen, model, seen)
            shown = page(status, model if status["models"] else None, screen.style)
        except DaemonUnreachable as exc:
            shown = "\n".join(screen.style.wrap(f"{printable(exc.message)}. It is asked again each second.", ""))
        screen.draw(on_screen(shown, screen.style, whole))
        screen.wait(PERIOD_S)


def _print_changes(listen: str, model: str | None, *, as_json: bool) -> NoReturn:
    seen: Json | None = None
    away = ""
    while True:
        try:
            status = _status(listen, model, seen)
            with of_this_version():
                lines = _news(seen, status) if as_json else told(states(seen) if seen else {}, states(status))
            if away:
                print("orchd can be reached again", file=sys.stderr, flush=True)
            away = ""
            for line in lines:
                print(printable(line), flush=True)
            seen = status
        except DaemonUnreachable as exc:
            if exc.message != away:
                print(printable(exc.message), file=sys.stderr, flush=True)
            away = exc.message
        time.sleep(PERIOD_S)


def _news(seen: Json | None, status: Json) -> list[str]:
    changed = news(seen, status)
    return [] if changed is None else [json.dumps(changed)]


def _status(listen: str, model: str | None, seen: Json | None) -> Json:
    """Return what `/status` says; a model that was there and is gone is left out, and may come back."""
    try:
        return get_status(listen, model)
    except OrchdError as exc:
        if exc.code is not Code.UNKNOWN_TARGET or seen is None:
            raise
        return {**get_status(listen), "models": []}

"""`orchd events [MODEL]`: what orchd did and why, also before its last start and when no daemon runs."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from orchd.cli.flags import add_client_flags
from orchd.cli.since import SINCE_HELP, since_of
from orchd.domain.ids import ModelKey
from orchd.errors import StoreError
from orchd.history.read import KeptEvent, KeptHistory
from orchd.settings.basic import STATE_DIR
from orchd.settings.client import ClientSettings
from orchd.settings.files import resolve_state_dir

TAIL = 50
"""Events that are shown if nothing is said of how many."""
FOLLOW_S = 0.5
"""Between two looks at the file; the daemon writes about as often."""

_ALL = sys.maxsize - 1

Wanted = Callable[[ModelKey | None], bool]
Show = Callable[[KeptEvent], object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="pipeline/model_id, a model id, or a pattern such as 'llm/*'"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on: print what happens from now on, too")
    parser.add_argument("--since", metavar="TIME", help=SINCE_HELP)
    parser.add_argument(
        "--tail", metavar="N", type=_count, help=f"at most the newest N (default: {TAIL}; with --since: all)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    add_client_flags(parser, STATE_DIR)


def run(args: argparse.Namespace, settings: ClientSettings) -> int:
    state_dir = resolve_state_dir(settings.state_dir, os.environ)
    kept = KeptHistory(state_dir)
    since = since_of(args.since, time.time()) if args.since is not None else 0.0
    most = args.tail if args.tail is not None else _ALL if args.since else TAIL
    wanted = _wanted(args.model)
    if args.model and not args.follow and not any(map(wanted, models := kept.models())):
        from orchd.status_view import find_model

        find_model(args.model, models)
    found = kept.newest(most, wanted, since)
    show = _shower(as_json=args.json)
    if found.more and most:
        _say(f"older events are left out; `--tail {2 * most}` or `--since 1d` shows more")
    elif not found.events and most:
        _say(f"nothing that this asks for is kept in {state_dir}{'; waiting for what happens' if args.follow else ''}")
    _print_all(found.events, show)
    if args.follow:
        _follow(kept, found.newest_id, wanted, show)
    return 0


def _follow(kept: KeptHistory, last: int, wanted: Wanted, show: Show) -> None:
    """Print what comes after the event with the id `last`, until interrupted."""
    trouble = ""
    while True:
        time.sleep(FOLLOW_S)
        try:
            new = kept.after(last)
            trouble = ""
        except StoreError as exc:  # Being written again, or gone for a moment.
            if exc.message != trouble:
                _say(f"{exc.message}; trying again")
            trouble = exc.message
            continue
        if new:
            last = new[-1].id
            _print_all((event for event in new if wanted(event.key)), show)


def _shower(*, as_json: bool) -> Show:
    from orchd.cli.events_view import json_of, lines
    from orchd.text import style_of

    if as_json:
        return lambda event: print(json_of(event))
    style = style_of(sys.stdout)
    return lambda event: print(*lines(event, style), sep="\n")


def _print_all(events: Iterable[KeptEvent], show: Show) -> None:
    for event in events:
        show(event)
    sys.stdout.flush()


def _say(text: str) -> None:
    """Say something that is not an event: not where events are piped to."""
    print(f"orchd: {text}", file=sys.stderr)


def _wanted(name: str | None) -> Wanted:
    """Return what tells whether an event about a model is asked for."""
    if name is None:
        return lambda key: True

    def fits(key: ModelKey | None) -> bool:
        if key is None:
            return False
        return name in (str(key), key.model_id) or fnmatchcase(str(key), name) or fnmatchcase(key.model_id, name)

    return fits


def _count(text: str) -> int:
    if text.isascii() and text.isdecimal():
        return int(text[:9])
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")

"""`orchd events [MODEL]`: what orchd did and why, also before its last start and when no daemon runs."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from fnmatch import fnmatchcase

from orchd.cli.flags import add_settings_flags
from orchd.cli.since import SINCE_HELP, since_of
from orchd.domain.ids import ModelKey
from orchd.errors import StoreError
from orchd.history.ports import Kind
from orchd.history.read import KeptEvent, KeptHistory
from orchd.settings.files import resolve_state_dir
from orchd.settings.tree import Settings
from orchd.status_view import find_model
from orchd.text import DIM, GREEN, RED, YELLOW, TextStyle, printable, style_of

TAIL = 50
"""Events that are shown if nothing is said of how many."""
FOLLOW_S = 0.5
"""Between two looks at the file; the daemon writes about as often."""

_ALL = sys.maxsize - 1

Wanted = Callable[[ModelKey | None], bool]
Show = Callable[[KeptEvent], object]

_COLOURS: dict[str, str] = {
    Kind.READY: GREEN,
    Kind.REGISTERED: GREEN,
    Kind.NODE_UP: GREEN,
    Kind.RUNTIME_UP: GREEN,
    **dict.fromkeys((Kind.UNHEALTHY, Kind.HELD_OVER, Kind.NOT_REGISTERED, Kind.NODE_DOWN), YELLOW),
    **dict.fromkeys((Kind.FAILED, Kind.GIVEN_UP, Kind.FILE_REFUSED, Kind.EDIT_REFUSED, Kind.RUNTIME_DOWN), RED),
    Kind.EVENTS_LOST: RED,
}
_WIDEST = max(map(len, Kind))


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
    add_settings_flags(parser, only=("state_dir",))


def run(args: argparse.Namespace, settings: Settings) -> int:
    state_dir = resolve_state_dir(settings.state_dir, os.environ)
    kept = KeptHistory(state_dir)
    since = since_of(args.since, time.time()) if args.since is not None else 0.0
    most = args.tail if args.tail is not None else _ALL if args.since else TAIL
    wanted = _wanted(args.model)
    if args.model and not args.follow and not any(map(wanted, models := kept.models())):
        find_model(args.model, models)
    show = _shower(as_json=args.json)
    found = kept.newest(most, wanted, since)
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


def lines(event: KeptEvent, style: TextStyle) -> list[str]:
    """Return an event for a person; on a terminal, what does not fit goes on in the next line."""
    kind = f"{event.kind:{_WIDEST}}"
    about = "" if event.key is None else str(event.key) if event.replica is None else f"{event.key} #{event.replica}"
    by = f"by {event.by}" if event.by else ""
    why = event.why if event.why != event.kind else ""
    evidence = event.evidence if event.evidence not in why else ""
    said = "; ".join(filter(None, (why, evidence, by)))
    when = datetime.fromtimestamp(event.at).isoformat(sep=" ", timespec="seconds")  # noqa: DTZ006 - local time
    text = printable(": ".join(filter(None, (about, said))))
    start = f"{style.paint(when, DIM)}  {style.paint(kind, _COLOURS.get(event.kind))}"
    room = f"{when}  {kind}  {text}"
    if style.width is None or len(room) <= style.width:
        return [f"{start}  {text}".rstrip()]
    return [f"{start}  {printable(about)}".rstrip(), *style.wrap(printable(said), "    ")]


def _count(text: str) -> int:
    if text.isascii() and text.isdecimal():
        return int(text[:9])
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")


def json_of(event: KeptEvent) -> str:
    """Return an event as one line of JSON."""
    pipeline, model_id = event.key or (None, None)
    return json.dumps(
        {
            "id": event.id,
            "at": event.at,
            "kind": event.kind,
            "pipeline": pipeline,
            "model_id": model_id,
            "replica": event.replica,
            "generation": event.generation or None,
            "by": event.by or None,
            "why": event.why,
            "evidence": event.evidence,
        },
        ensure_ascii=False,
    )

"""`orchd logs MODEL`: what a model's runners write and wrote, also those that have crashed or were replaced."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchd.cli.client import is_running, order
from orchd.cli.flags import add_client_flags
from orchd.cli.since import SINCE_HELP, since_of
from orchd.errors import Code, DaemonUnreachable, OrchdError
from orchd.settings.basic import INSTANCE, STATE_DIR
from orchd.settings.client import ClientSettings
from orchd.settings.files import resolve_state_dir

Json = dict[str, Any]

_DATABASE = "orchd.db"
"""As `database.database` names it, which takes long to import."""


ABOUT = """\
What containers and processes write is printed as they wrote it; of a model that is down, its last run. What orchd
itself has to say goes to stderr: where a run ends, and how it ended. With several replicas each line begins with its
replica, such as #0. Without a daemon it prints what was kept, and containers that run on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="pipeline/model_id, or a model_id that only one pipeline has")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on with what comes, over restarts and replacements"
    )
    parser.add_argument(
        "-p", "--previous", action="store_true", help="the run before: of one that crashed or was replaced"
    )
    parser.add_argument("--replica", metavar="N", help="one replica: 0, 1, ... (default: all)")
    parser.add_argument("--since", metavar="TIME", help=SINCE_HELP)
    parser.add_argument(
        "--tail", metavar="N", default="all", help="only the last N lines of each run (default: all, as docker logs)"
    )
    add_client_flags(parser, STATE_DIR, INSTANCE)


def run(args: argparse.Namespace, settings: ClientSettings) -> int:
    asked = asked_for(args, time.time())
    state_dir = resolve_state_dir(settings.state_dir, os.environ)
    from orchd.cli.log_text import LogPrinter  # Only now: a daemon that is away needs none of it.

    printer = LogPrinter()
    try:
        for news in _news(state_dir, settings.instance, asked, printer):
            printer.take(news)
    finally:
        printer.end()
    return 0


def _news(state_dir: Path, instance: str, asked: Json, printer: Any) -> Iterator[Json]:
    """Yield what the daemon says; without one, what can be known."""
    came = False
    try:
        for news in order(state_dir, "logs", asked):
            came = True
            yield news
    except DaemonUnreachable as exc:
        if came:
            raise DaemonUnreachable(
                "cannot go on: orchd has ended; containers may run on, and running this again shows them"
            ) from exc
        if not (state_dir / _DATABASE).exists():
            raise  # None has ever run there.
        away = f"{exc.message}; " if is_running(state_dir) else f"no daemon answers on {state_dir}, so "
        printer.note(f"{away}this is what is known without one")
        from orchd.cli.logs_offline import logs_without_daemon

        yield from logs_without_daemon(state_dir, instance, asked)


def asked_for(args: argparse.Namespace, now: float) -> Json:
    """Return the order that the arguments mean.

    Args:
        now: Unix time.

    Raises:
        OrchdError: one of them can't be used.
    """
    if args.follow and args.previous:
        raise _unusable("cannot use --follow with --previous: that run has ended")
    tail = None if args.tail == "all" else _number("--tail", args.tail, "a number of lines, or all")
    replica = None if args.replica is None else _number("--replica", args.replica, "the number of a replica: 0, 1, ...")
    since = None if args.since is None else since_of(args.since, now)
    return {
        "model": args.model,
        "follow": args.follow,
        "previous": args.previous,
        "replica": replica,
        "since": since,
        "tail": tail,
    }


def _number(flag: str, text: str, wanted: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise _unusable(f"cannot use {flag} {text!r}: it should be {wanted}")
    return int(text)


def _unusable(message: str) -> OrchdError:
    return OrchdError(message, code=Code.SETTING_INVALID)

"""`orchd down`: stop and remove all runners, then end the daemon. Without a daemon: what one has left behind."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from orchd.cli.client import order
from orchd.cli.flags import add_settings_flags
from orchd.cli.leftovers import end_leftovers
from orchd.errors import DaemonUnreachable
from orchd.logs import configure_logs
from orchd.settings.files import resolve_state_dir
from orchd.settings.tree import Settings
from orchd.text import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shown = ("state_dir", "instance", "docker.enabled", "orchestrator.service_url", "orchestrator.secret_file")
    add_settings_flags(parser, shown=shown)
    parser.epilog = (
        "The settings above say which daemon is meant, and what it may have left behind, here and at the node. Every "
        "other flag of `orchd run` can be given, too, so that those of the daemon need not be sorted."
    )


def run(_args: argparse.Namespace, settings: Settings) -> int:
    state_dir = resolve_state_dir(settings.state_dir, os.environ)
    try:
        for news in order(state_dir, "down", {}):
            _say(printable(news["line"]))
    except DaemonUnreachable:
        _say(f"no daemon runs on the state directory {state_dir}; looking for what it left behind")
        configure_logs(settings.log.format, "warning", sys.stderr)
        asyncio.run(end_leftovers(settings, os.environ, _say))
    except KeyboardInterrupt:
        _say("no longer waiting; orchd goes on taking everything down")
        raise
    _say("all runners are gone")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)

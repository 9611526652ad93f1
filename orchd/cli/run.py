"""`orchd run`: the daemon."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys

from orchd.app import App, Edges
from orchd.cli.flags import add_settings_flags
from orchd.limits import raise_open_files
from orchd.logs import Lines, configure_logs, is_journal
from orchd.loops import fast_loop
from orchd.settings import Settings


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("run", help="run the daemon", allow_abbrev=False)
    add_settings_flags(parser)
    parser.set_defaults(run=run)


def run(_args: argparse.Namespace, settings: Settings) -> int:
    run_daemon(settings)
    return 0


def run_daemon(settings: Settings, edges: Edges | None = None) -> None:
    """Live until SIGTERM, SIGINT or `orchd down`.

    Raises:
        OrchdError: it could not start, or a part of it failed for good.
    """
    journal = is_journal(sys.stderr, os.environ)
    lines = configure_logs(settings.log.format, settings.log.level, sys.stderr, journal=journal)
    raise_open_files()
    with asyncio.Runner(loop_factory=fast_loop()) as runner:
        runner.run(_live(settings, edges, lines))


async def _live(settings: Settings, edges: Edges | None, lines: Lines | None) -> None:
    app = App(settings, os.environ, edges, lines)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.stop)
    await app.run()

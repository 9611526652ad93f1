"""The daemon as a process: log, limits, event loop, signals. Apart from `run`, so that `orchd run --help` is quick."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable

import structlog

from orchd.app import App, Instead
from orchd.cli.signals import Signals, end_at_once
from orchd.domain.redact import scrub
from orchd.errors import OrchdError
from orchd.journal import is_journal
from orchd.limits import raise_open_files
from orchd.logs import LineBuffer, configure_logs, priority
from orchd.loops import fast_loop
from orchd.settings.advice import advice
from orchd.settings.tree import Settings

log = structlog.get_logger("orchd.run")


def run_daemon(
    settings: Settings,
    instead: Instead | None = None,
    again: Callable[[], Settings] | None = None,
) -> None:
    """Run the daemon until SIGTERM, SIGINT, SIGQUIT or `orchd down`.

    Args:
        instead: as that of `App`.
        again: reads the settings again, on SIGHUP.

    Raises:
        OrchdError: it could not start, or one of its tasks has failed.
    """
    journal = is_journal(sys.stderr, os.environ)
    lines = configure_logs(settings.log.format, settings.log.level, sys.stderr, journal=journal)
    raise_open_files()
    for setting, why in advice(settings):
        log.warning("setting_doubtful", setting=setting, reason=why)
    try:
        with asyncio.Runner(loop_factory=fast_loop()) as runner:
            runner.run(_live(settings, instead, lines, again, journal))
    except OrchdError:
        raise
    except (Exception, asyncio.CancelledError) as exc:
        log.critical("orchd_failed", error=repr(exc), exc_info=exc)
        raise OrchdError(f"cannot go on: {scrub(repr(exc))}; this is a bug of orchd, the log has more") from exc


async def _live(
    settings: Settings,
    instead: Instead | None,
    lines: LineBuffer | None,
    again: Callable[[], Settings] | None,
    journal: bool,
) -> None:
    app = App(settings, os.environ, instead, lines, again)
    prefix = priority(logging.WARNING) if journal else ""
    Signals(app, asyncio.get_running_loop(), lambda: end_at_once(prefix)).install()
    await app.run()

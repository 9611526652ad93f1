"""`orchd run`: the daemon."""

from __future__ import annotations

import argparse
import os

from orchd.cli.complaints import warn
from orchd.cli.flags import add_settings_flags, settings_of
from orchd.settings.tree import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings_flags(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    from orchd.cli import daemon

    daemon.run_daemon(settings, again=lambda: settings_of(args, os.environ, warn))
    return 0

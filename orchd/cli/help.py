"""`orchd help [COMMAND]`: the same as `orchd COMMAND --help`."""

from __future__ import annotations

import argparse

from orchd.cli import COMMANDS, build_parser
from orchd.settings.client import ClientSettings
from orchd.streams import write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("of", nargs="?", metavar="COMMAND", choices=COMMANDS, help="the command; default: orchd itself")


def run(args: argparse.Namespace, _settings: ClientSettings) -> int:
    parser = build_parser()
    write((parser.commands[args.of].filled() if args.of else parser).format_help().rstrip("\n"))
    return 0

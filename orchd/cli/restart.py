"""`orchd restart MODEL`: drain its runners and start them again; one that was given up is tried again."""

from __future__ import annotations

import argparse
import os

from orchd.cli.client import order
from orchd.cli.flags import add_settings_flags
from orchd.settings.files import resolve_state_dir
from orchd.settings.tree import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="pipeline/model_id, or a model_id that only one pipeline has")
    add_settings_flags(parser, only=("state_dir",))


def run(args: argparse.Namespace, settings: Settings) -> int:
    state_dir = resolve_state_dir(settings.state_dir, os.environ)
    for news in order(state_dir, "restart", {"model": args.model}):
        model = news["model"]
        print(f"{model}: restart begun; follow it with `orchd status {model} --watch`")
    return 0

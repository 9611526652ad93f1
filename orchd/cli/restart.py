"""`orchd restart MODEL`: drain its runners and start them again; one that was given up is tried again."""

from __future__ import annotations

import argparse
import os

from orchd.cli.client import order
from orchd.cli.flags import add_client_flags
from orchd.settings.basic import STATE_DIR
from orchd.settings.client import ClientSettings
from orchd.settings.files import resolve_state_dir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="pipeline/model_id, or a model_id that only one pipeline has")
    add_client_flags(parser, STATE_DIR)


def run(args: argparse.Namespace, settings: ClientSettings) -> int:
    state_dir = resolve_state_dir(settings.state_dir, os.environ)
    for news in order(state_dir, "restart", {"model": args.model}):
        model = news["model"]
        print(f"{model}: restart begun; follow it with `orchd status {model} --watch`")
    return 0

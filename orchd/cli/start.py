"""`orchd start MODEL...`: let models run again that `orchd stop` has stopped."""

from __future__ import annotations

import argparse

from orchd.cli.model_orders import add_order_arguments, give_order
from orchd.settings.client import ClientSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_order_arguments(parser, every="start every model that is stopped", wait="return when they are ready")


def run(args: argparse.Namespace, settings: ClientSettings) -> int:
    return give_order(args, settings, "start", "no longer waiting; the models are started all the same")

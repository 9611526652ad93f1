"""`orchd stop MODEL...`: drain models and stop them; they stay so until `orchd start`."""

from __future__ import annotations

import argparse

from orchd.cli.model_orders import add_order_arguments, give_order
from orchd.settings.client import ClientSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_order_arguments(parser, every="stop every model", wait="return when they have stopped")


def run(args: argparse.Namespace, settings: ClientSettings) -> int:
    return give_order(args, settings, "stop", "no longer waiting; the models are stopped all the same")

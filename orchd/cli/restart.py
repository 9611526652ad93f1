"""`orchd restart MODEL...`: drain runners and start them again; one that was given up is tried again."""

from __future__ import annotations

import argparse

from orchd.cli.model_orders import add_order_arguments, give_order
from orchd.settings.client import ClientSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_order_arguments(
        parser,
        every="restart every model that runs",
        wait="restart one after another, each when the one before is ready again",
    )


def run(args: argparse.Namespace, settings: ClientSettings) -> int:
    left = "no longer waiting; a restart that was begun goes on, and models that were not named here yet are left alone"
    return give_order(args, settings, "restart", left)

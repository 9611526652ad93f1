"""What `orchd stop`, `orchd start` and `orchd restart` share: orders to the daemon about some models, or all."""

from __future__ import annotations

import argparse
import os

from orchd.cli.client import order
from orchd.cli.flags import add_client_flags
from orchd.errors import Code, OrchdError
from orchd.settings.basic import STATE_DIR
from orchd.settings.client import ClientSettings
from orchd.settings.files import resolve_state_dir
from orchd.text import printable

DONE = {"stop": "stopped", "start": "started", "restart": "restarted"}
"""What became of a model, by the order."""


def add_order_arguments(parser: argparse.ArgumentParser, every: str, wait: str) -> None:
    """Add the arguments; `every` and `wait` are the help of `--all` and `--wait`."""
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="pipeline/model_id, a model_id that only one pipeline has, or a pattern such as 'llm/*'",
    )
    parser.add_argument("--all", action="store_true", help=every)
    parser.add_argument("--wait", action="store_true", help=wait)
    add_client_flags(parser, STATE_DIR)
    parser.epilog = (
        "Exit codes: 0 = done, or begun without --wait; 1 = it could not be done, or not be kept, for one of the "
        "models; 2 = the command is wrong, and nothing was done; 3 = the daemon can't be reached; 130 = interrupted: "
        "the order stands."
    )


def give_order(args: argparse.Namespace, settings: ClientSettings, name: str, left: str) -> int:
    """Give the order, and print what becomes of it; return 1 if it could not be carried out for a model.

    Args:
        left: what to say if the wait is interrupted.

    Raises:
        OrchdError: no model is named; a name means no model; the daemon can't be reached.
    """
    if args.all == bool(args.models):
        wrong = "models and --all can't go together" if args.all else "no model is named"
        raise OrchdError(
            f"cannot {name}: {wrong}; name models (`orchd {name} MODEL`, `orchd {name} 'llm/*'`), or write "
            f"`orchd {name} --all`",
            code=Code.BAD_REQUEST,
        )
    body = {"models": args.models, "all": args.all, "wait": args.wait}
    left_alone, failed, every = set[str](), set[str](), dict[str, None]()
    try:
        for news in order(resolve_state_dir(settings.state_dir, os.environ), name, body):
            print(printable(f"{news['model']}: {news['line']}"), flush=True)
            every[news["model"]] = None
            if news["failed"]:
                failed.add(news["model"])
            if news.get("left_alone", False):  # A daemon of an older version does not say so.
                left_alone.add(news["model"])
    except KeyboardInterrupt:
        print(left, flush=True)
        raise
    if not every:
        print(f"there is no model to {name}")
    elif args.wait and len(every) > 1:
        print(_summary(DONE[name], len(every), len(failed), len(left_alone - failed)))
    return 1 if failed else 0


def _summary(done: str, every: int, failed: int, left_alone: int) -> str:
    count = every - failed - left_alone
    said = f"{count} model{'s'[: count != 1]} {done}"
    said += f", {failed} could not be" if failed else ""
    return said + (f", {left_alone} left alone" if left_alone else "")

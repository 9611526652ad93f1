"""`orchd tickets`: what tickets came to, who has paid what, winners for redemption, new secrets."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from orchd.cli.client import is_running, order
from orchd.cli.flags import add_client_flags, settings_of
from orchd.cli.since import SINCE_HELP, since_of
from orchd.errors import Code, DaemonUnreachable, OrchdError
from orchd.settings.basic import STATE_DIR
from orchd.settings.client import ClientSettings
from orchd.settings.files import resolve_state_dir

if TYPE_CHECKING:
    from orchd.settings.tree import Settings
    from orchd.tickets.ledger.read import KeptLedger

TAIL = 20
"""Payers of each model, winners, and credits and charges of a payer that are shown if nothing is said of how many."""
DAY_S = 86_400
TOGETHER = 500
"""Winners that are marked with one order."""
ABOUT = """\
Without a word it shows what tickets came to, in all, by model and by payer: what they should have won (which is what
was earned), what they have won, what is still owed, and how likely chance alone is to make the difference; what is left
on sessions of Live Runner's clients, which is good for a later session of the same name; and the newest winners. It
needs no daemon.

show PAYER: what a payer, named by its address, has in hand, and each credit and charge of the last day.

export: each winner that may still be redeemed, with all that a redemption needs, as one JSON object per line. Keep it
as you keep keys: until terms have expired, the random number in it lets their payer make tickets that win. Terms of
winners that are marked are void.

reconcile: computes each balance again from what is kept of it, and says where it differs; exit code 1 if it does.

rotate: makes new secrets, so that all terms and tokens that payers hold are void. Balances stay, and payers get new
terms by themselves. Needed if a secret may be known, or if the whole state directory was put back from a backup."""
Change = Callable[[Path, "Settings"], None]

WORDS = ("show", "export", "reconcile", "rotate")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("word", metavar="WORD", nargs="?", choices=WORDS, help=f"{', '.join(WORDS)}; see above")
    parser.add_argument("payer", metavar="PAYER", nargs="?", help="with show: an address, or how it begins: 0x12ab")
    parser.add_argument("--since", metavar="TIME", help=f"with show: {SINCE_HELP} (default: 1d)")
    parser.add_argument(
        "--tail", metavar="N", type=_count, help=f"at most N payers of each model, winners, or rows (default: {TAIL})"
    )
    parser.add_argument("--new", action="store_true", help="with export: only what was not marked before")
    parser.add_argument("--mark", action="store_true", help="with export: mark what was printed as exported")
    parser.add_argument("--json", action="store_true", help="print JSON: one object, or with show one per line")
    add_client_flags(parser, STATE_DIR)


def run(args: argparse.Namespace, settings: ClientSettings) -> int:
    _check(args)
    state_dir = resolve_state_dir(settings.state_dir, os.environ)
    return _DO[args.word](args, state_dir)


def _check(args: argparse.Namespace) -> None:
    """Refuse what does not go together.

    Raises:
        OrchdError: `bad_request`.
    """
    goes_with: dict[str, tuple[str | None, ...]] = {
        "payer": ("show",),
        "since": ("show",),
        "new": ("export",),
        "mark": ("export",),
    }
    goes_with |= {"tail": (None, "show"), "json": (None, "show", "reconcile")}
    for name, words in goes_with.items():
        if getattr(args, name) not in (None, False) and args.word not in words:
            flag = "PAYER" if name == "payer" else f"--{name}"
            better = " or ".join(f"`orchd tickets{f' {word}' if word else ''}`" for word in words)
            raise OrchdError(f"cannot use {flag} here: it belongs to {better}", code=Code.BAD_REQUEST)


def _show_all(args: argparse.Namespace, state_dir: Path) -> int:
    from orchd.cli import tickets_view as view
    from orchd.text import style_of
    from orchd.tickets.ledger.read import KeptLedger
    from orchd.tickets.standing import by_model

    kept = KeptLedger(state_dir)
    most = TAIL if args.tail is None else args.tail
    models, left, found = by_model(kept.standings()), kept.leftovers(), kept.newest_winners(most)
    if args.json:
        print(json.dumps(view.overview_json(models, left, found.winners, most)))
        return 0
    print(*view.overview(models, left, found.winners, most, style_of(sys.stdout)), sep="\n")
    if found.more and most:
        _say(f"older winners are left out; `--tail {2 * most}` shows more, `orchd tickets export` all that are owed")
    return 0


def _show_payer(args: argparse.Namespace, state_dir: Path) -> int:
    from orchd.cli import tickets_view as view
    from orchd.text import style_of
    from orchd.tickets.ledger.read import KeptLedger

    now = time.time()
    since = now - DAY_S if args.since is None else since_of(args.since, now)
    kept, most = KeptLedger(state_dir), TAIL if args.tail is None else args.tail
    history = kept.history(_payer(args.payer, kept), since, most)
    if history.more and most:
        _say(f"older rows are left out; `--tail {2 * most}` shows more")
    if args.json:
        for line in view.history_json(history):
            print(json.dumps(line))
    else:
        print(*view.history_lines(history, style_of(sys.stdout)), sep="\n")
    return 0


def _export(args: argparse.Namespace, state_dir: Path) -> int:
    from orchd.cli import tickets_view as view
    from orchd.tickets.ledger.read import KeptLedger

    wanted = (each for each in KeptLedger(state_dir).owed_winners() if not args.new or each.state == "won")
    while page := [*islice(wanted, TOGETHER)]:
        for winner in page:
            print(json.dumps(view.export_json(winner)))
        sys.stdout.flush()  # First of all: what could not be written is not marked.
        unmarked = [winner.hash for winner in page if winner.state == "won"]
        if args.mark and unmarked:
            _mark(args, state_dir, unmarked)
    return 0


def _mark(args: argparse.Namespace, state_dir: Path, hashes: list[bytes]) -> None:
    def here(state_dir: Path, settings: Settings) -> None:
        from orchd.cli.tickets_offline import mark

        mark(state_dir, settings, hashes)

    _change(args, state_dir, "tickets_mark", {"hashes": [each.hex() for each in hashes]}, here)


def _reconcile(args: argparse.Namespace, state_dir: Path) -> int:
    from orchd.cli import tickets_view as view
    from orchd.tickets.ledger.read import KeptLedger
    from orchd.tickets.ledger.reconcile import reconcile

    found = KeptLedger(state_dir).read(reconcile)
    if args.json:
        print(json.dumps(view.reconcile_json(found)))
    else:
        print(*view.reconcile_lines(found), sep="\n")
    return 1 if found.differences else 0


def _rotate(args: argparse.Namespace, state_dir: Path) -> int:

    def here(state_dir: Path, settings: Settings) -> None:
        from orchd.cli.tickets_offline import rotate

        rotate(state_dir, settings)

    _change(args, state_dir, "tickets_rotate", {}, here)
    print("all terms and tokens that are out there are void; payers get new ones by themselves. Balances stay")
    return 0


def _change(args: argparse.Namespace, state_dir: Path, name: str, body: dict[str, object], here: Change) -> None:
    """Have the ledger changed: by the daemon that runs, else `here`.

    Raises:
        OrchdError: it could not be done.
    """
    try:
        for _ in order(state_dir, name, body):
            pass
    except DaemonUnreachable:
        if is_running(state_dir) is not False:
            raise
        here(state_dir, settings_of(args, os.environ))


def _payer(text: str | None, kept: KeptLedger) -> bytes:
    """Return the payer whose address is this, or begins so.

    Raises:
        OrchdError: `bad_request`, `unknown_target`.
    """
    if text is None:
        raise OrchdError("cannot show a payer: name one (`orchd tickets show 0x12...ef`)", code=Code.BAD_REQUEST)
    digits = text.lower().removeprefix("0x")
    if not re.fullmatch(r"[0-9a-f]{3,40}", digits):
        raise OrchdError(
            f"cannot read {text[:100]!r} as an address: 40 hexadecimal digits after 0x are expected, or the first few",
            code=Code.BAD_REQUEST,
        )
    found = [payer for payer in kept.payers() if payer.hex().startswith(digits)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"0x{payer.hex()}" for payer in found[:5])
    why = f"several payers begin so: {names}" if found else "no such payer has paid here"
    raise OrchdError(f"cannot show payer {text!r}: {why}", code=Code.UNKNOWN_TARGET)


def _say(text: str) -> None:
    print(f"orchd: {text}", file=sys.stderr)


def _count(text: str) -> int:
    if text.isascii() and text.isdecimal():
        return int(text[:9])
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")


_DO: dict[str | None, Callable[[argparse.Namespace, Path], int]] = {
    None: _show_all,
    "show": _show_payer,
    "export": _export,
    "reconcile": _reconcile,
    "rotate": _rotate,
}

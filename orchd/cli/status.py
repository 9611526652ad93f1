"""`orchd status [MODEL]`: what runs, since when, and why not."""

from __future__ import annotations

import argparse
import json
import os

from orchd import __version__
from orchd.cli.client import get_status, is_running
from orchd.cli.complaints import complain, warn
from orchd.cli.flags import add_client_flags
from orchd.errors import DaemonUnreachable, StoreError
from orchd.settings.basic import ADMIN_LISTEN, STATE_DIR
from orchd.settings.client import ClientSettings
from orchd.settings.files import resolve_state_dir
from orchd.streams import write

UNABLE, UNREACHABLE = 1, 3
ABOUT = """\
On a terminal, the list of models begins with those that need somebody, and is cut to the height of the window:
`orchd status | less` shows all. Elsewhere nothing is cut. Without a daemon it shows what the last one knew."""
EPILOG = """\
Exit codes: 0 = every model that is wanted can serve a job, or MODEL can; 1 = one of them can't, also while it is
starting; 2 = the command is wrong; 3 = the daemon can't be reached; 130 = interrupted. Cold models can serve, since
their first job starts them; stopped models and those that have left the file are not wanted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="one model: its runners, last failure, latest events")
    parser.add_argument("--json", action="store_true", help="print what /status says")
    parser.add_argument("--watch", action="store_true", help="go on: redraw on a terminal, else print what changes")
    add_client_flags(parser, ADMIN_LISTEN, STATE_DIR)
    parser.epilog = EPILOG


def run(args: argparse.Namespace, settings: ClientSettings) -> int:
    if args.watch:
        from orchd.cli.status_watch import watch

        watch(settings.admin.listen, args.model, as_json=args.json)
    try:
        status = get_status(settings.admin.listen, args.model)
    except DaemonUnreachable as exc:
        if args.json:
            raise
        complain(exc.message)
        return _without_daemon(settings, args.model)
    # What shows it is imported when the daemon has answered: that takes longer than to ask.
    from orchd.cli.status_pages import any_unable, of_this_version, printed

    write(json.dumps(status, indent=2) if args.json else printed(status, args.model))
    version = (status.get("daemon") or {}).get("version", __version__)
    if not args.json and version != __version__:
        warn(f"the daemon that runs is {version}, this command {__version__}: restart it (systemctl restart orchd)")
    with of_this_version():
        return UNABLE if any_unable(status) else 0


def _without_daemon(settings: ClientSettings, model: str | None) -> int:
    """Show what the last daemon knew, and return the exit code."""
    from orchd.history.read import KeptHistory

    state_dir = resolve_state_dir(settings.state_dir, os.environ)
    try:
        known = KeptHistory(state_dir).last_known()
    except StoreError as exc:
        complain(exc.message)
        return UNREACHABLE
    if known is None:
        complain(f"cannot tell what the last daemon knew: nothing is kept of one in {state_dir}")
        return UNREACHABLE
    from orchd.cli.status_kept import printed

    write(printed(known, model, runs=is_running(state_dir)))
    return UNREACHABLE

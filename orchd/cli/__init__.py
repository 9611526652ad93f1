"""The commands. Each is a module of the same name with `add_arguments(parser)` and `run(args, settings) -> exit code`.

Where its line in `COMMANDS` does not say enough, its `ABOUT` says more in its help.

A module is imported when its command is used: `orchd status` needs neither the job path nor Docker's client.

Exit codes: 0 done; 1 the models file has errors (`check`, `price`, `export`), a model could not be stopped, started
or restarted, or the ledger differs from its journal (`tickets reconcile`); 2 the command or its settings are wrong,
or it failed; 3 the daemon can't be reached; 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module

from orchd import __version__
from orchd.cli.complaints import complain, warn
from orchd.cli.parser import Parser, parse
from orchd.errors import DaemonUnreachable, OrchdError, reason_of
from orchd.streams import drop_unread, take_any_text

GROUPS: Mapping[str, Mapping[str, str]] = {
    "from day to day": {
        "status": "show what runs, since when, and why not",
        "events": "show what orchd did and why, also before its last start and when it does not run",
        "logs": "print what a model's runners write and wrote, crashed ones too",
        "stop": "drain models and stop them, until they are started again",
        "start": "let models run again that were stopped",
        "restart": "drain the runners of models and start them again; try failed ones again",
        "check": "say what is wrong with aiModels.json, here and for the node",
        "tickets": "show what payers' tickets came to; export winners; make new secrets",
        "price": "show prices in every unit, what each registry gets of them and what the node will report",
    },
    "now and then": {
        "export": "print a file for a node that models are not to be registered with",
        "demo": "see it work on a sample model: a job, an edit while it runs, a removal",
        "version": "show the versions of orchd, its libraries, the engine, the node and the daemon that runs",
        "schema": "print the JSON Schema of aiModels.json",
        "completion": "print the script that lets bash, zsh or fish complete commands, flags and models",
        "help": "show the help of a command",
    },
    "the service": {
        "run": "run the daemon",
        "down": "drain, stop and remove every runner of ours, and end the daemon",
    },
}
"""The commands in the order of need, each with its line in `orchd --help`, by the title that they stand under there."""
COMMANDS: Mapping[str, str] = {name: line for group in GROUPS.values() for name, line in group.items()}

FAILED, UNREACHABLE, INTERRUPTED = 2, 3, 130
_NOT_OURS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS)
"""A full disk, missing rights and the like: a traceback would help nobody."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; what goes wrong is said on stderr."""
    sys.stdout, sys.stderr = (take_any_text(stream) for stream in (sys.stdout, sys.stderr))
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
    except BrokenPipeError:  # `orchd status | head`: nobody reads on, which is fine
        code = 0
    except OSError as exc:
        if exc.errno not in _NOT_OURS:
            raise
        complain(f"cannot go on: {exc.filename or 'what it writes to'}: {reason_of(exc)}")
        code = FAILED
    for stream in (sys.stdout, sys.stderr):
        drop_unread(stream)
    return code


def _run(argv: Sequence[str] | None) -> int:
    args = parse(build_parser(), argv)
    try:
        code: int = args.run(args, args.settings_of(args, os.environ, warn))
    except OrchdError as exc:
        complain(exc.message)
        return UNREACHABLE if isinstance(exc, DaemonUnreachable) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def build_parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="orchd",
        description="Keeps the AI models of aiModels.json running, and serves their jobs.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"orchd {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    for name, line in COMMANDS.items():
        commands.add_parser(name, help=line, allow_abbrev=False).fill = partial(_fill, name)
    parser.commands, parser.groups = commands.choices, GROUPS
    return parser


def _fill(name: str, parser: Parser) -> None:
    from orchd.cli.flags import client_settings_of

    module = import_module(f"orchd.cli.{name}")
    parser.set_defaults(run=module.run, settings_of=client_settings_of)
    about = (sentence(COMMANDS[name]), getattr(module, "ABOUT", ""))
    parser.description = "\n\n".join(filter(None, about))
    module.add_arguments(parser)


def sentence(line: str) -> str:
    """Return a command's line of help as a sentence."""
    return f"{line[0].upper()}{line[1:]}."

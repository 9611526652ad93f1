"""The commands. Each module has `add_parser` and `run(args, settings)`, which returns the exit code.

Exit codes: 0 done; 1 the models file has errors (`check`, `price`); 2 the command or its settings are wrong, or it
failed; 3 the daemon can't be reached; 130 interrupted.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Sequence

from orchd import __version__
from orchd.cli import check, demo, down, price, restart, run, schema, status
from orchd.cli.flags import settings_of
from orchd.cli.parser import Parser, parse
from orchd.cli.text import drop_unread, take_any_text
from orchd.errors import DaemonUnreachable, OrchdError, reason_of
from orchd.logs import is_journal, priority

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
        _complain(f"cannot go on: {exc.filename or 'what it writes to'}: {reason_of(exc)}")
        code = FAILED
    for stream in (sys.stdout, sys.stderr):
        drop_unread(stream)
    return code


def _run(argv: Sequence[str] | None) -> int:
    args = parse(build_parser(), argv)
    try:
        code: int = args.run(args, settings_of(args, os.environ))
    except OrchdError as exc:
        _complain(exc.message)
        return UNREACHABLE if isinstance(exc, DaemonUnreachable) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _complain(message: str) -> None:
    """Say on stderr what is wrong; in the journal as an error, each line of it."""
    prefix = priority(logging.ERROR) if is_journal(sys.stderr, os.environ) else ""
    for line in f"orchd: {message}".splitlines():
        print(prefix + line, file=sys.stderr)


def build_parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(prog="orchd", description="Keeps model containers true to aiModels.json.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"orchd {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    for command in (run, check, price, status, restart, down, schema, demo):
        command.add_parser(commands)
    parser.commands = commands.choices
    return parser

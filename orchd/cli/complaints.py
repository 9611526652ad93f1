"""What commands say on stderr: one line at a time, each with its priority where the journal reads it."""

from __future__ import annotations

import os
import sys

from orchd.journal import ERROR, WARNING, is_journal


def complain(message: str) -> None:
    """Say what is wrong, as an error."""
    _say(ERROR, f"orchd: {message}")


def warn(message: str) -> None:
    """Say what should be changed, as a warning."""
    _say(WARNING, f"orchd: warning: {message}")


def _say(priority: str, message: str) -> None:
    from orchd.text import printable  # Only now: most commands have nothing to say.

    prefix = priority if is_journal(sys.stderr, os.environ) else ""
    for line in message.splitlines():
        print(prefix + printable(line), file=sys.stderr)

"""What commands say on stderr: one line at a time, each with its priority where the journal reads it."""

from __future__ import annotations

import logging
import os
import sys


def complain(message: str) -> None:
    """Say what is wrong, as an error."""
    _say(logging.ERROR, f"orchd: {message}")


def warn(message: str) -> None:
    """Say what should be changed, as a warning."""
    _say(logging.WARNING, f"orchd: warning: {message}")


def _say(level: int, message: str) -> None:
    from orchd.logs import is_journal, priority  # Most commands say nothing, and it takes long to import.

    prefix = priority(level) if is_journal(sys.stderr, os.environ) else ""
    for line in message.splitlines():
        print(prefix + line, file=sys.stderr)

"""What systemd's journal reads of a line: its priority, such as `<4>` (sd-daemon(3))."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TextIO

ERROR, WARNING = "<3>", "<4>"
"""Priorities of what commands say, as a line begins with them."""


def is_journal(stream: TextIO, env: Mapping[str, str]) -> bool:
    """Return whether `stream` is the one that systemd connected to the journal (systemd.exec(5), $JOURNAL_STREAM).

    Device and inode are compared: a child may have inherited the variable, but write to a file or a terminal.
    """
    try:
        about = os.fstat(stream.fileno())
    except (OSError, ValueError):  # It is closed, or not a file.
        return False
    return env.get("JOURNAL_STREAM") == f"{about.st_dev}:{about.st_ino}"

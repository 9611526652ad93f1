"""Standard output and error that take every character, and readers who leave.

Apart from `text`: all commands need this, few lay out text.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import TextIO

_PLAIN = {"—": "-", "…": "...", "✓": "+", "✗": "x", "·": ".", "→": "->"}


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    """Replace what an encoding does not have: what we draw with by something like it, all else by its escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    plain = (_PLAIN.get(char) or char.encode("ascii", "backslashreplace").decode() for char in missing)
    return "".join(plain), error.end


codecs.register_error("orchd-plain", _in_plain_characters)


def take_any_text(stream: TextIO | None) -> TextIO:
    """Let a stream take all characters, whatever its encoding has (PYTHONIOENCODING=ascii, LANG=C).

    One that is closed (`>&-`), which Python calls None, is replaced by one that goes nowhere.
    """
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - as long as the program
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="orchd-plain")
    return stream


def write(text: str) -> None:
    """Print to standard output; a reader who has left (`| head`) is fine, and the exit code stays the command's own."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        drop_unread(sys.stdout)


def drop_unread(stream: TextIO) -> None:
    """Let what is still to be written to a stream go nowhere, if its reader has left or its disk is full."""
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)

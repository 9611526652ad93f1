"""Plain text for people: aligned tables, durations, colour only on a terminal."""

from __future__ import annotations

import os
import re
import shutil
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TextIO

from orchd.domain.money import PriceUnit

GREEN, YELLOW, RED, DIM, BOLD = "32", "33", "31", "2", "1"
GAP = "  "
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True, slots=True)
class TextStyle:
    """How text is laid out for a stream.

    Attributes:
        width: columns of the terminal; None = no terminal: lines are as long as they are.
        colour: escape sequences are welcome.
    """

    width: int | None = None
    colour: bool = False

    def paint(self, text: str, code: str | None) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code and text else text

    def wrap(self, text: str, indent: str) -> list[str]:
        """Return `text` in lines that fit, each behind `indent`."""
        if self.width is None:
            return [indent + text]
        return textwrap.wrap(
            text, max(self.width, 40), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
        )


def style_of(stream: TextIO) -> TextStyle:
    """Return the style for `stream`: colours only on a terminal, and not where $NO_COLOR is set (no-color.org)."""
    if not stream.isatty():
        return TextStyle()
    return TextStyle(width=shutil.get_terminal_size().columns, colour=not os.environ.get("NO_COLOR"))


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    code: str | None = None


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]], style: TextStyle) -> list[str]:
    """Return aligned lines. A last cell that does not fit stands, wrapped, below its row."""
    rows = list(rows)
    widths = [max(map(cells, column)) for column in zip(head, *([c.text for c in row] for row in rows), strict=True)]
    before_last = sum(widths[:-1]) + len(GAP) * (len(head) - 1)
    lines = [style.paint(GAP.join(map(pad, head, widths)).rstrip(), BOLD)]
    for row in rows:
        *front, last = row
        start = GAP.join(
            style.paint(cell.text, cell.code) + " " * (width - cells(cell.text))
            for cell, width in zip(front, widths, strict=False)
        )
        if style.width is None or before_last + cells(last.text) <= style.width:
            lines.append(f"{start}{GAP}{style.paint(last.text, last.code)}".rstrip())
        else:
            lines.append(start.rstrip())
            lines += [style.paint(line, last.code) for line in style.wrap(last.text, "    ")]
    return lines


def cells(text: str) -> int:
    """Return how many columns `text` takes on a terminal."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def pad(text: str, width: int) -> str:
    return text + " " * (width - cells(text))


def printable(text: str) -> str:
    """Return `text`, which others may have written, without what could steer the terminal."""
    return "".join(char if char.isprintable() else " " for char in ESCAPE.sub("", text))


def ago(seconds: float) -> str:
    """Return a duration in its largest unit: `12s`, `3m`, `7h`, `4d`."""
    left = max(0, int(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if left >= size:
            return f"{left // size}{unit}"
    return f"{left}s"


UNITS: dict[str, tuple[str, str]] = {
    PriceUnit.SECOND: ("second", "seconds"),
    PriceUnit.HOUR: ("hour", "hours"),
    PriceUnit.VIDEO_720P: ("hour of 720p video", "hours of 720p video"),
    PriceUnit.FIXED: ("job or session", "jobs or sessions"),
}


def units(count: int, unit: str) -> str:
    """Return so many of a `PriceUnit` in words: "second", "1000 seconds"."""
    one, several = UNITS[unit]
    return one if count == 1 else f"{count} {several}"

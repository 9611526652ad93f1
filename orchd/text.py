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
        width: columns of the terminal; None = no terminal: lines are as long as they are, and nothing is cut.
        colour: escape sequences are welcome.
        height: lines that there is room for; None = as many as there are.
    """

    width: int | None = None
    colour: bool = False
    height: int | None = None

    def paint(self, text: str, code: str | None) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code and text else text

    def wrap(self, text: str, indent: str) -> list[str]:
        """Return `text` in lines that fit, each behind `indent`."""
        if self.width is None:
            return [indent + text]
        return textwrap.wrap(
            text, max(self.width, 40), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
        )

    def hang(self, text: str, indent: str = "    ") -> list[str]:
        """Return `text` in lines that fit, all but the first behind `indent`."""
        first, *more = self.wrap(text, indent)
        return [first.strip(), *more]


def style_of(stream: TextIO) -> TextStyle:
    """Return the style for `stream`: colours only on a terminal, and not where $NO_COLOR is set (no-color.org)."""
    colour = not os.environ.get("NO_COLOR") and not is_dumb()
    if not stream.isatty():
        return TextStyle()
    size = shutil.get_terminal_size()
    return TextStyle(width=size.columns, colour=colour, height=size.lines)


def is_dumb() -> bool:
    """Return whether the terminal shows escape sequences instead of following them, such as the shell of an editor."""
    return os.environ.get("TERM") == "dumb"


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    code: str | None = None


LEAST_NAME = 16
"""Columns that a first cell keeps, however narrow the terminal is."""


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]], style: TextStyle) -> list[str]:
    """Return aligned lines. A last cell that does not fit stands, wrapped, below its row."""
    return [line for lines in table_rows(head, rows, style) for line in lines]


def table_rows(
    head: Sequence[str], rows: Iterable[Sequence[Cell]], style: TextStyle, most_below: int | None = None
) -> list[list[str]]:
    """Return the lines of the head and of each row, aligned; none is wider than the terminal.

    A first cell that is too long, which is a name, is cut in the middle. A last cell that does not fit stands, wrapped,
    below its row.

    Args:
        most_below: lines at most that stand below a row; what is longer is cut. None = all.
    """
    rows = list(rows)
    widths = [max(map(cells, column)) for column in zip(head, *([c.text for c in row] for row in rows), strict=True)]
    if style.width is not None:
        others = sum(widths[1:-1]) + len(GAP) * (len(head) - 2)
        widths[0] = min(widths[0], max(style.width - others, LEAST_NAME))
    before_last = sum(widths[:-1]) + len(GAP) * (len(head) - 1)
    if style.width is not None and all(not row[-1].text for row in rows):
        head = (*head[:-1], "")
    fits = style.width is None or before_last + cells(head[-1]) <= style.width
    shown = GAP.join(map(pad, head if fits else head[:-1], widths)).rstrip()
    laid_out = [[style.paint(shown, BOLD)]]
    for row in rows:
        name, *front, last = row
        start = GAP.join(
            style.paint(cell.text, cell.code) + " " * (width - cells(cell.text))
            for cell, width in zip([Cell(cut_middle(name.text, widths[0]), name.code), *front], widths, strict=False)
        )
        if style.width is None or before_last + cells(last.text) <= style.width:
            laid_out.append([f"{start}{GAP}{style.paint(last.text, last.code)}".rstrip()])
        else:
            below = cut_lines(style.wrap(last.text, "    "), most_below)
            laid_out.append([start.rstrip(), *(style.paint(line, last.code) for line in below)])
    return laid_out


def cut_lines(lines: list[str], most: int | None) -> list[str]:
    """Return the first lines of a text that is wrapped, with "..." where more would have come."""
    if most is None or len(lines) <= most:
        return lines
    return [*lines[:most][:-1], f"{lines[most - 1][:-3].rstrip()}..."] if most else []


def cut_middle(text: str, width: int) -> str:
    """Return `text` in at most so many columns; what is too long loses its middle."""
    if cells(text) <= width:
        return text
    tail = _last(text, (width - 3) // 2)
    return f"{_first(text, width - 3 - cells(tail))}...{tail}"


def _first(text: str, width: int) -> str:
    """Return as much of the beginning as fits in so many columns."""
    end = taken = 0
    for char in text:
        if (taken := taken + cells(char)) > width:
            break
        end += 1
    return text[:end]


def _last(text: str, width: int) -> str:
    return _first(text[::-1], width)[::-1]


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

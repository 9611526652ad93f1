"""The figures, as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """Attributes:
    about: one line: what is measured.
    left_out: why it could not be; empty = it was.
    """

    title: str
    about: str
    head: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    left_out: str = ""


def markdown(section: Section) -> str:
    """Return the section as Markdown."""
    lines = [f"## {section.title}", "", section.about, ""]
    if section.left_out:
        return "\n".join([*lines, f"Left out: {section.left_out}.", ""])
    table = [section.head, *(row.cells for row in section.rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    ruled = [table[0], tuple("-" * width for width in widths), *table[1:]]
    lines += [f"| {' | '.join(map(str.ljust, cells, widths))} |" for cells in ruled]
    return "\n".join([*lines, ""])


def spread(name: str, values: Sequence[float], unit: str, digits: int) -> Row:
    """Return name, median and range."""
    low, high = min(values), max(values)
    return Row((name, f"{statistics.median(values):.{digits}f} {unit}", f"{low:.{digits}f} to {high:.{digits}f}"))

"""Plain text for people."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.text import GREEN, Cell, TextStyle, ago, cells, printable, style_of, table


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-1, "0s"), (0.9, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (7200, "2h"), (200_000, "2d")],
)
def test_durations_are_told_in_their_largest_unit(seconds: float, expected: str) -> None:
    assert ago(seconds) == expected


@given(st.text())
def test_nothing_printable_steers_the_terminal(text: str) -> None:
    assert printable(text).isprintable()


def test_colour_sequences_of_others_vanish_as_a_whole() -> None:
    assert printable("\x1b[1;31mred\x1b[0m\tx") == "red x"


def test_columns_are_aligned_whatever_the_script_and_colour() -> None:
    rows = [[Cell("図書館"), Cell("ready", GREEN), Cell("x")], [Cell("a"), Cell("b"), Cell("y")]]
    lines = [
        re.sub(r"\x1b\[\d+m", "", line) for line in table(("MODEL", "STATE", "D"), rows, TextStyle(80, colour=True))
    ]
    assert [cells(line[: re.search(r"[Dxy]$", line).start()]) for line in lines] == [15, 15, 15]  # type: ignore[union-attr]


def test_a_last_cell_that_does_not_fit_stands_wrapped_below_its_row() -> None:
    detail = "exited with code 137, out of memory, for the sixth time within ten minutes"
    lines = table(("MODEL", "DETAIL"), [[Cell("m" * 30), Cell(detail)]], TextStyle(60))
    assert lines[1] == "m" * 30
    assert " ".join(line.strip() for line in lines[2:]) == detail
    assert all(len(line) <= 60 and line.startswith("    ") for line in lines[2:])


def test_without_a_terminal_a_row_is_one_line() -> None:
    assert len(table(("MODEL", "DETAIL"), [[Cell("m"), Cell("x " * 200)]], TextStyle())) == 2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_and_width_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setenv("LINES", "30")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert style_of(io.StringIO()) == TextStyle(None, colour=False)
    assert style_of(Terminal()) == TextStyle(90, colour=True, height=30)
    monkeypatch.setenv("NO_COLOR", "1")
    assert style_of(Terminal()) == TextStyle(90, colour=False, height=30)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert style_of(Terminal()) == TextStyle(90, colour=False, height=30)

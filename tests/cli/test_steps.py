"""Steps of a longer command, as they are printed."""

from __future__ import annotations

import io
import re

import pytest

from orchd.cli.steps import Steps


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_step_is_one_line_when_it_is_done_and_progress_is_not_told_at_once() -> None:
    stream = io.StringIO()
    with Steps(stream).step("build") as step:
        step.progress("half")
        step.result = "it stands"
    assert re.fullmatch(r"  ✓ +\d+\.\d{3} s  build +it stands\n", stream.getvalue())


def test_a_step_that_fails_gets_a_cross() -> None:
    stream = io.StringIO()
    with pytest.raises(RuntimeError), Steps(stream).step("build"):
        raise RuntimeError
    assert re.fullmatch(r"  ✗ +\d+\.\d{3} s  build\n", stream.getvalue())


def test_a_terminal_shows_the_step_under_way_and_how_far_it_is_and_then_the_result_in_its_place() -> None:
    stream = Terminal()
    with Steps(stream).step("build") as step:
        assert "build" in stream.getvalue()
        step.progress("half")
        assert stream.getvalue().count("\n") == 0
        assert "build: half" in stream.getvalue()
    assert stream.getvalue().count("\n") == 1
    assert "✓" in stream.getvalue().rpartition("\r")[2]

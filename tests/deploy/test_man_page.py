"""The man page says what the help says, and is one that man and mandoc take without a complaint."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from orchd.cli import COMMANDS
from orchd.settings.tree import SETTINGS
from tests.man_page import MAN_PAGE, man_page


def test_it_is_made_from_the_help_of_now() -> None:
    assert MAN_PAGE.read_text() == man_page(), "run: python -m tests.reference_pages"


def test_mandoc_has_no_complaint() -> None:
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is not here")
    ran = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", MAN_PAGE], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "")


def test_a_reader_finds_every_command_and_setting_in_it() -> None:
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is not here")
    shown = ["mandoc", "-T", "ascii", "-O", "width=200", str(MAN_PAGE)]
    ran = subprocess.run(shown, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"})
    lines = [undouble(line) for line in ran.stdout.splitlines()]
    for name in COMMANDS:
        assert any(line.split()[:1] == [name] for line in lines), name
    for setting in SETTINGS.values():
        assert any(f"{setting.name}, {setting.flag}, {setting.env}" in line for line in lines), setting.name
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "SETTINGS", "ENVIRONMENT", "FILES", "EXIT STATUS"):
        assert section in lines


def undouble(line: str) -> str:
    """Return a line without its bold letters, each of which is the letter, a backspace and the letter again."""
    while (at := line.find("\b")) > 0:
        line = line[: at - 1] + line[at + 1 :]
    return line

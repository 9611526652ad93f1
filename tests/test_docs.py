"""The README can't rot: its tables come from the code, and what it names exists."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from orchd.cli import build_parser
from orchd.errors import JOB_ANSWERS
from orchd.settings.reference import settings_table

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TABLE = re.compile(r"(<!-- settings -->\n).*?(<!-- /settings -->)", re.DOTALL)


def with_settings(text: str) -> str:
    return TABLE.sub(lambda m: m[1] + settings_table() + m[2], text)


def test_the_settings_table_is_that_of_the_code() -> None:
    assert README.read_text() == with_settings(README.read_text()), "run: python -m tests.test_docs"


def test_every_linked_file_exists() -> None:
    for doc in [README, *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", doc.read_text()):
            assert (doc.parent / target).exists(), f"{doc.name} links {target}"


def test_every_code_a_job_can_get_is_explained_with_its_status() -> None:
    rows = re.findall(r"^\| (`[^|]+) \| (\d{3}) \|", README.read_text(), re.MULTILINE)
    told = {code: int(status) for codes, status in rows for code in re.findall(r"`(\w+)`", codes)}
    assert told == {code.value: answer.status for code, answer in JOB_ANSWERS.items()}


def test_every_make_target_and_command_that_is_named_exists() -> None:
    text = README.read_text()
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([\w-]+)", text)) <= targets
    commands = next(
        action.choices
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction) and action.choices
    )
    assert set(re.findall(r"`orchd (\w+)", text)) <= set(commands)


def test_every_folder_of_the_package_is_in_the_layout() -> None:
    layout = README.read_text().partition("```\norchd/")[2].partition("```")[0]
    for folder in (ROOT / "orchd").iterdir():
        if folder.is_dir() and any(folder.glob("*.py")) and folder.name != "demo":
            assert f"{folder.name}/" in layout, folder


if __name__ == "__main__":
    README.write_text(with_settings(README.read_text()))
    sys.exit(0)

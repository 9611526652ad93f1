"""The page about the architecture can't rot: its list of parts is the one that runs, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

from orchd.parts import PARTS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "explanation" / "architecture.md"
FACES = {"part.py", "ports.py", "settings.py", "metrics.py", "status.py", "tables.py", "design.md"}
PLACEHOLDERS = {"orchd/cli/NAME.py", "registry.py", "prices.py"}
"""Names that stand for files of an addition."""


def test_the_parts_are_listed_in_start_order_with_their_folders() -> None:
    table = PAGE.read_text().partition("<!-- parts -->")[2].partition("<!-- /parts -->")[0]
    rows = re.findall(r"^\| ([\w ]+) \| `([\w/.]+)` \|", table, re.MULTILINE)
    assert rows == [(entry.name, place_of(entry.package)) for entry in PARTS]


def place_of(package: str) -> str:
    path = package.replace(".", "/")
    return path if (ROOT / path).is_dir() else f"{path}.py"


def test_a_part_that_can_be_off_says_by_which_setting() -> None:
    text = PAGE.read_text()
    for entry in PARTS:
        if entry.switch:
            [row] = re.findall(rf"^\| {entry.name} \|.*$", text, re.MULTILINE)
            assert f"`{entry.switch}`" in row


def test_every_file_that_is_named_exists() -> None:
    text = PAGE.read_text()
    quoted = set(re.findall(r"`([\w./-]+(?:/|\.py|\.md))`", text)) | set(
        re.findall(r"`((?:orchd|tests)/[\w/]+)`", text)
    )
    traced = set(re.findall(r"^  ([a-z_0-9]+/[\w/]*(?:\.py)?)", text, re.MULTILINE))
    assert len(quoted) > 30
    assert len(traced) > 15
    for name in (quoted | traced) - FACES - PLACEHOLDERS - {"migrations/"}:
        assert (ROOT / name).exists() or (ROOT / "orchd" / name).exists(), name


def test_every_folder_of_the_package_is_named() -> None:
    text = PAGE.read_text()
    for folder in (ROOT / "orchd").iterdir():
        if folder.is_dir() and any(folder.glob("*.py")):
            assert f"orchd/{folder.name}" in text, folder

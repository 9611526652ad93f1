"""The pages and files about the repository itself name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchd.settings.load import TEST_ENV_PREFIX
from orchd.settings.tree import SETTINGS
from tests import lanes

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text()
PAGES = ("CONTRIBUTING.md", "SECURITY.md")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_files_and_targets_that_exist(page: str) -> None:
    quoted = re.findall(r"`([^`]+)`", (ROOT / page).read_text())
    paths = [text for text in quoted if re.fullmatch(r"[\w./-]*/[\w./-]*|[\w-]+\.(md|toml|yaml)", text)]
    missing = [path for path in paths if not (ROOT / path).exists() and "NAME" not in path and path not in ELSEWHERE]
    assert not missing
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert {name for text in quoted for name in re.findall(r"^make ([\w-]+)", text)} <= targets


ELSEWHERE = {"/status", "/metrics"}
"""What looks like a file, and is a page of the daemon's."""


def test_the_hooks_before_a_commit_are_local_and_are_those_of_make() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"repo: (.+)", text) == ["local"]
    programs = set(re.findall(r"entry: \.venv/bin/([\w-]+)", text))
    assert programs == {"ruff", "lint-imports", "mypy"}
    assert all(f"$(BIN)/{program}" in MAKEFILE for program in programs)


def test_the_workflow_calls_ci_and_nothing_else() -> None:
    for file in (ROOT / ".github" / "workflows").iterdir():
        assert re.findall(r"\brun: (.+)", file.read_text()) == ["sudo bash .ci/run"]


SETTERS = (ROOT / "Makefile", ROOT / ".ci" / "run", *sorted((ROOT / ".github" / "workflows").iterdir()))
"""What runs the tests, and so each daemon and command of theirs inherits what it sets."""


@pytest.mark.parametrize("file", SETTERS, ids=lambda file: file.name)
def test_what_runs_the_tests_sets_no_variable_that_orchd_refuses(file: Path) -> None:
    named = set(re.findall(r"\bORCHD_\w+", file.read_text()))
    taken = {setting.env for setting in SETTINGS.values()}
    assert [name for name in sorted(named - taken) if not name.startswith(TEST_ENV_PREFIX)] == []


def test_the_folders_that_lanes_names_exist() -> None:
    for path in {*lanes.TOGETHER, *lanes.APART, *lanes.SLOW, *lanes.FIRST}:
        assert (ROOT / path).exists(), path


def test_what_shares_a_server_stays_together_and_what_takes_long_begins_first() -> None:
    assert lanes.scope("tests/wire/test_a.py::x") == lanes.scope("tests/wire/test_b.py::y")
    assert lanes.scope("tests/e2e/test_a.py::x") != lanes.scope("tests/e2e/test_a.py::y")
    assert lanes.scope("tests/new/test_a.py::x") == lanes.scope("tests/new/test_a.py::y[::]")
    assert lanes.scope("tests/new/test_a.py::x") != lanes.scope("tests/new/test_b.py::x")
    assert (
        lanes.rank("tests/e2e/test_kill.py::x") < lanes.rank("tests/e2e/test_a.py::x") < lanes.rank("tests/new/a.py::x")
    )

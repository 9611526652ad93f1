"""Runners that would register themselves with the node, past orchd, are named."""

from __future__ import annotations

from typing import Any

import pytest

from orchd.domain.state import Severity
from tests.catalog.helpers import KEY, entry, read


def told(*entries: dict[str, Any]) -> list[str]:
    return [str(problem) for problem in read(*entries).problems if "registers itself" in problem.message]


@pytest.mark.parametrize("how", [{}, {"image": ..., "command": ["serve"]}], ids=["container", "process"])
def test_the_entry_and_its_line_are_named(how: dict[str, Any]) -> None:
    env = {"ORCH_URL": "https://127.0.0.1:8935", "ORCH_SECRET": "hunter2", "PIPELINE": "llm"}
    [said] = told(entry(model_id="other"), entry(**how, env=env))
    assert said.startswith(f"aiModels.json:3: entry 2 ({KEY}) field env: ORCH_URL and ORCH_SECRET: ")
    assert "hunter2" not in said


def test_it_is_a_warning_and_the_model_is_used() -> None:
    reading = read(entry(env={"ORCH_SECRET": "s"}))
    assert reading.count(Severity.ERROR) == 0
    assert KEY in reading.models
    assert len(told(entry(env={"ORCH_SECRET": "s"}))) == 1


def test_variables_without_a_value_register_nothing() -> None:
    assert told(entry(env={"ORCH_URL": "", "ORCH_SECRET": "", "CAPABILITY_NAME": "x"})) == []

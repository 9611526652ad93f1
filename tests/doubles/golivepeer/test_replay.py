"""The double answers as the recorded nodes did: every recorded step, picked by rule, file by file."""

from __future__ import annotations

import asyncio
import copy
from functools import cache
from typing import Any

import pytest

from tests.doubles.golivepeer import stages, stages_onchain
from tests.doubles.golivepeer.replay import Replay, Stage, picked
from tests.doubles.golivepeer.steps_left_out import LEFT_OUT, reason
from tests.doubles.shared.recordings import TRANSCRIPTS, load, played_steps, watched

OTHERS = ("node-", "gateway-", "onchain-gateway-")
"""Recordings of other programs."""
FILES = sorted(path.name for path in TRANSCRIPTS.glob("*.json") if not path.name.startswith(OTHERS))
STAGES = stages.STAGES | stages_onchain.STAGES


def stage_of(file: str) -> Stage:
    return STAGES.get(file, Stage())


def replayed(file: str, steps: list[dict[str, Any]]) -> list[str | None]:
    replay = Replay(file, stage_of(file))
    return asyncio.run(replay.run(steps, lambda step: reason(file, step) is not None))


@cache
def outcomes(file: str) -> list[str | None]:
    return replayed(file, load(file))


@pytest.mark.parametrize(("file", "index"), played_steps(FILES, reason))
def test_the_double_does_as_the_recorded_node_did(file: str, index: int) -> None:
    assert outcomes(file)[index] is None


@pytest.mark.parametrize("file", FILES)
def test_every_step_is_replayed_or_left_out_for_a_stated_reason(file: str) -> None:
    stage = stage_of(file)
    labels = [step["step"] for step in load(file)]
    for step in load(file):
        ways = [picked(file, step) or watched(step) or "listed" in step, step["step"] in stage.instead]
        assert any(ways) != (reason(file, step) is not None), step["step"]
    named = [*stage.before, *stage.instead, *(label for name, label in LEFT_OUT if name == file)]
    assert not [label for label in named if label not in labels], "no step of that name"


def test_nothing_is_left_out_or_staged_of_files_that_are_not_there() -> None:
    assert {file for file, _ in LEFT_OUT} | set(STAGES) <= set(FILES)


@pytest.mark.parametrize(
    ("step", "change"),
    [
        ("token", {"status": 201}),
        ("token", {"body": "{}"}),
        ("token", {"headers": [["Content-Type", "text/plain"], ["Content-Length", "319"]]}),
        ("token: POST", {"error": "RemoteDisconnected"}),
    ],
)
def test_a_recording_that_says_otherwise_is_noticed(step: str, change: dict[str, Any]) -> None:
    recording = copy.deepcopy(load("byoc-token.json"))
    index = [s["step"] for s in recording].index(step)
    recording[index]["response"] |= change
    assert [i for i, found in enumerate(replayed("byoc-token.json", recording)) if found is not None] == [index]


def test_a_worker_that_saw_otherwise_is_noticed() -> None:
    recording = load("byoc-job.json")
    index = next(i for i, step in enumerate(recording) if watched(step))
    recording[index]["worker_requests"][0]["headers"][1][1] = "another agent"
    assert replayed("byoc-job.json", recording)[index] is not None

"""The double answers as the recorded node did: every recorded step of the off-chain files, file by file."""

from __future__ import annotations

import asyncio
import copy
from functools import cache
from typing import Any

import pytest

from tests.doubles.livepeer_node.replay import Replay, Stage
from tests.doubles.livepeer_node.stages import STAGES
from tests.doubles.livepeer_node.steps_left_out import LEFT_OUT, reason
from tests.doubles.shared.recordings import TRANSCRIPTS, load, played_steps

FILES = sorted(path.name for path in TRANSCRIPTS.glob("node-*.json"))


def replayed(file: str, steps: list[dict[str, Any]]) -> list[str | None]:
    replay = Replay(file, STAGES.get(file, Stage()))
    return asyncio.run(replay.run(steps, lambda step: reason(file, step) is not None))


@cache
def outcomes(file: str) -> list[str | None]:
    return replayed(file, load(file))


@pytest.mark.parametrize(("file", "index"), played_steps(FILES, reason))
def test_the_double_does_as_the_recorded_node_did(file: str, index: int) -> None:
    assert outcomes(file)[index] is None


@pytest.mark.parametrize("file", FILES)
def test_what_is_staged_or_left_out_is_a_step_of_its_file(file: str) -> None:
    stage = STAGES.get(file, Stage())
    labels = {step["step"] for step in load(file)}
    named = {*stage.before, *stage.instead, *(label for name, label in LEFT_OUT if name == file)}
    assert named <= labels


def test_nothing_is_left_out_or_staged_of_files_that_are_not_there() -> None:
    assert {file for file, _ in LEFT_OUT} | set(STAGES) <= set(FILES)


def differing(file: str, steps: list[dict[str, Any]]) -> list[str]:
    return [step["step"] for step, found in zip(steps, replayed(file, steps), strict=True) if found is not None]


@pytest.mark.parametrize(
    ("file", "label", "path", "said"),
    [
        ("node-session.json", "reserve: full", ("response", "status"), 503),
        ("node-session.json", "reserve: full", ("response", "body"), '{"error":"runner at capacity"}'),
        ("node-session.json", "unregister", ("response", "headers", 0, 1), "text/plain"),
        ("node-session.json", "the worker saw", ("worker_requests", 0, "path"), "/infer"),
        ("node-session.json", "the worker saw", ("worker_requests", 0, "headers", 2, 1), "gzip"),
        ("node-single-shot.json", "arrives as", ("worker_path", 0), "/price%25"),
        ("node-single-shot.json", "worker breaks off in the body", ("response", "broken_off"), None),
        ("node-single-shot.json", "HTTP/1.0", ("answer",), "HTTP/1.1 200 OK\r\n\r\n"),
        ("node-single-shot.json", "3 jobs at once against capacity 2", ("answers", 0, "status"), 503),
        ("node-expiry.json", "discovery polled every 0.2 s", ("listed",), False),
        ("node-expiry.json", "session released", ("seconds_after_heartbeat",), 33.0),
        ("node-o2r.json", "o2r read from segment 0 on, one request a segment", ("segments", 1, "segment"), 0),
        ("node-o2r.json", "what the reader got", ("segments", 1, "response", "body"), '{"keep":"alive"}'),
        ("node-grants.json", 'start with RunnerGrants = ["127.0.0.1:0"] (port 0)', ("stderr",), "no"),
        ("node-restart.json", "start: ServiceURL ftp", ("stderr",), "no"),
        ("node-restart.json", "SIGTERM with a job under way", ("job", "status"), 200),
        ("node-static.json", "no id", ("stderr",), "no"),
        ("node-static.json", "lower case, same words", ("exit_code",), 2),
        ("node-static.json", "health takes 6 s", ("hidden_after_seconds",), 5.0),
        ("node-streams.json", "the request", ("answer",), "HTTP/1.1 404 Not Found\r\n\r\n"),
    ],
)
def test_a_recording_that_says_otherwise_is_noticed(file: str, label: str, path: tuple[Any, ...], said: Any) -> None:
    recording = copy.deepcopy(load(file))
    index = next(index for index, step in enumerate(recording) if step["step"] == label)
    step = recording[index]
    *parents, last = path
    inner: Any = step
    for name in parents:
        inner = inner[name]
    if said is None:
        del inner[last]
    elif last == "exit_code":
        step |= {"exit_code": said, "stderr": "no"}
    else:
        inner[last] = said
    assert differing(file, recording[: index + 1]) == [label]


@pytest.mark.parametrize(
    ("file", "name", "value", "noticed"),
    [
        ("session", "registry.UNAVAILABLE", "no runner", ["reserve: unknown runner", "reserve while not ready"]),
        ("session", "sessions.TOKEN", "Livepeer-Token", ["the worker saw", "the worker saw", "runner: stop"]),
        ("secrets", "registry.BAD_CREDENTIAL", "no", ["the secret without the newline"]),
        ("discovery", "manners._UNCHUNKED_BYTES", 400, ["two listed; off-chain there is no price_info"]),
        ("callbacks", "trickle.MAX_SEGMENT_BYTES", 10_000_001, ["trickle: segment of 10,000,001 bytes"]),
        ("callbacks", "registry.MAX_PROXIES", 26, ["proxies made until refused: number 26 is refused"]),
    ],
)
def test_a_double_that_does_otherwise_is_noticed(
    monkeypatch: pytest.MonkeyPatch, file: str, name: str, value: object, noticed: list[str]
) -> None:
    monkeypatch.setattr(f"tests.doubles.livepeer_node.{name}", value)
    found = differing(f"node-{file}.json", load(f"node-{file}.json"))
    assert found[: len(noticed)] == noticed

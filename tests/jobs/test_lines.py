"""The fast line of a job says what the general way would."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.ids import ModelKey, SessionId
from orchd.domain.outcomes import Outcome
from orchd.doors.listed import DOORS
from orchd.errors import Code, JobRefused
from orchd.http1.parser import RequestParser
from orchd.jobs.lines import JobLines
from orchd.jobs.run import Run
from orchd.logs import configure_logs, set_level
from orchd.relay.ports import Caller, Transfer
from orchd.sessions.session import Session, SessionKind
from tests.jobs.messages import request
from tests.jobs.model import ADDRESS, runner_of


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("orchd")
    before = root.handlers, root.level, ours.level
    yield
    structlog.reset_defaults()
    root.handlers, level, our_level = before
    root.setLevel(level)
    ours.setLevel(our_level)


class Parts:
    """What a run is made of, as far as a line shows it."""

    def __init__(self, bytes_in: int = 0, bytes_out: int = 0) -> None:
        parser = RequestParser(65536)
        parser.feed(request())
        self.message = parser.messages[0]
        self.peer, self.deadline = "", 0.0
        self.up, self.down = SimpleNamespace(moved=bytes_in), SimpleNamespace(moved=bytes_out)


def a_run(request_id: str = "r1", key: ModelKey | None = None, **knobs: Any) -> Run:
    run = Run(cast(Caller, Parts()), request_id, lambda: 0.0, DOORS[-1])
    run.key = key
    for name, value in knobs.items():
        setattr(run, name, value)
    return run


ODD = st.one_of(
    st.text(max_size=30),
    st.sampled_from(['"', "\\", "\x7f\x00\n", "é模\U0001f600", "\ud800", "Bearer s3cret", "Authorization: Basic abc"]),
)
SECONDS = st.floats(0, 1e6)


@given(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64),
    st.one_of(st.none(), st.tuples(ODD, ODD)),
    st.one_of(st.none(), st.tuples(st.sampled_from(sorted(Code)), ODD)),
    st.sampled_from(Outcome),
    st.tuples(SECONDS, SECONDS, st.one_of(st.none(), SECONDS)),
    st.one_of(st.none(), st.tuples(st.integers(0, 2**50), st.integers(0, 2**50))),
    st.tuples(st.sampled_from((0, 200, 500)), st.booleans()),
)
def test_the_fast_line_says_what_the_general_way_says(
    request_id: str,
    named: tuple[str, str] | None,
    refused: tuple[Code, str] | None,
    outcome: Outcome,
    seconds: tuple[float, float, float | None],
    moved: tuple[int, int] | None,
    more: tuple[int, bool],
) -> None:
    total_s, held_s, first_byte_s = seconds
    status, seated = more
    key = ModelKey(*named) if named is not None else None
    runner = runner_of(key or ModelKey("a", "b"), 3)
    session = Session(SessionId(1), runner.key, runner, ADDRESS, SessionKind.JOB, 0.0, 0.0) if seated else None
    refusal = JobRefused(refused[0], refused[1]) if refused is not None and refused[0] in answers() else None
    run = a_run(request_id, key, held_s=held_s, first_byte_s=first_byte_s, status=status, session=session)
    run.transfer = cast(Transfer, Parts(*moved)) if moved is not None else None
    written: list[dict[str, Any]] = []
    for fast in (True, False):
        stream = io.StringIO()

        async def write(stream: io.StringIO = stream, fast: bool = fast) -> None:
            lines = configure_logs("json", "info", stream)
            assert lines is not None
            JobLines(lines if fast else None).done(run, outcome, refusal, total_s)
            lines.flush()

        asyncio.run(write())
        text = stream.getvalue()
        assert text.count("\n") == 1
        assert text.endswith("\n")
        written.append(json.loads(text))
    stamps = [line.pop("timestamp") for line in written]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", stamp) for stamp in stamps)
    fast_line, slow_line = written
    for name in ("held_s", "first_byte_s", "total_s"):
        got, expected = fast_line.pop(name), slow_line.pop(name)
        assert got == (None if expected is None else pytest.approx(expected, abs=2e-4))
    assert fast_line == slow_line


def answers() -> set[Code]:
    from orchd.errors import JOB_ANSWERS

    return set(JOB_ANSWERS)


async def test_lines_of_jobs_and_others_keep_their_order_and_come_out_by_the_next_turn() -> None:
    stream = io.StringIO()
    fast = configure_logs("json", "info", stream)
    lines = JobLines(fast)
    log = structlog.get_logger("orchd.test")
    lines.done(a_run("1"), Outcome.OK, None, 0.1)
    lines.done(a_run("2"), Outcome.OK, None, 0.1)
    log.info("between")
    lines.done(a_run("3"), Outcome.OK, None, 0.1)
    assert told(stream) == ["1", "2", "between"]
    await asyncio.sleep(0)
    assert told(stream) == ["1", "2", "between", "3"]
    lines.done(a_run("4"), Outcome.OK, None, 0.1)
    assert fast is not None
    fast.flush()
    fast.flush()
    assert told(stream) == ["1", "2", "between", "3", "4"]


async def test_a_line_comes_out_though_another_thread_is_just_taking_what_waits() -> None:
    stream = io.StringIO()
    fast = configure_logs("json", "info", stream)
    assert fast is not None
    lines = JobLines(fast)
    fast.waiting.append("a thread has copied this, and will remove it\n")
    lines.done(a_run("1"), Outcome.OK, None, 0.1)
    del fast.waiting[:1]
    await asyncio.sleep(0)
    assert told(stream) == ["1"]


async def test_lines_of_one_turn_have_one_time_and_those_of_the_next_a_later_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.StringIO()
    lines = JobLines(configure_logs("json", "info", stream))
    for now in (1e9 + 0.25, 1e9 + 0.75, 1e9 + 1.25):
        for later in (0, 0.125):
            monkeypatch.setattr("time.time", lambda at=now + later: at)
            lines.done(a_run("r"), Outcome.OK, None, 0.1)
        await asyncio.sleep(0)
    stamps = [json.loads(line)["timestamp"] for line in stream.getvalue().splitlines()]
    assert [stamp[-10:] for stamp in stamps] == [*["40.250000Z"] * 2, *["40.750000Z"] * 2, *["41.250000Z"] * 2]


def told(stream: io.StringIO) -> list[str]:
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [line.get("request_id", line["event"]) for line in lines]


async def test_where_people_read_there_is_no_fast_way() -> None:
    stream = io.StringIO()
    assert configure_logs("text", "info", stream) is None
    JobLines(None).done(a_run("r1"), Outcome.OK, None, 0.1)
    assert "job_done" in stream.getvalue()


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("journal", [True, False])
async def test_jobs_that_failed_are_written_at_warning_and_the_level_in_force_decides(
    fast: bool, journal: bool
) -> None:
    """Level, priority and threshold of every outcome, the general way and the fast one."""
    stream = io.StringIO()
    lines = configure_logs("json", "info", stream, journal=journal)
    job_lines = JobLines(lines if fast else None)
    for level in ("info", "warning"):
        set_level(level, lines)
        for outcome in Outcome:
            job_lines.done(a_run(level), outcome, None, 0.1)
    assert lines is not None
    lines.flush()
    written = [line.partition("{") for line in stream.getvalue().splitlines()]
    said = [(start, json.loads(brace + rest)) for start, brace, rest in written]
    expected = {Outcome.OK: "info", Outcome.REFUSED: "info", Outcome.CLIENT_GONE: "info"}
    levels = [(outcome, expected.get(outcome, "warning")) for outcome in Outcome]
    assert [(line["outcome"], line["level"]) for _, line in said] == levels + [
        (outcome, level) for outcome, level in levels if level == "warning"
    ]
    assert {line["level"]: start for start, line in said} == (
        {"info": "<6>", "warning": "<4>"} if journal else {"info": "", "warning": ""}
    )
    assert all(list(line)[:2] == ["event", "level"] for _, line in said)


async def test_a_log_that_nobody_takes_stops_no_job() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "broken")

    fast = configure_logs("json", "info", Broken())
    JobLines(fast).done(a_run("r1"), Outcome.OK, None, 0.1)
    assert fast is not None
    fast.flush()

"""Logs: one line per event, everything from every library in one form, and no secret in any of it."""

from __future__ import annotations

import io
import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import structlog

from orchd.domain.model import ContainerLaunch, Secret
from orchd.journal import is_journal
from orchd.logs import configure_logs, set_level
from tests.fakes.snapshots import SECRET, model

log = structlog.get_logger("orchd.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("orchd")
    before = root.handlers, root.level, ours.level
    yield
    structlog.reset_defaults()
    root.handlers, level, our_level = before
    root.setLevel(level)
    ours.setLevel(our_level)


def test_json_lines_carry_time_level_logger_event_and_fields() -> None:
    stream = io.StringIO()
    configure_logs("json", "info", stream)
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        log.info("model_ready", pipeline="p", model_id="m/ü\n", load_s=41.2)
    [line] = stream.getvalue().splitlines()
    fields = json.loads(line)
    assert list(fields)[:2] == ["event", "level"]
    assert fields.pop("timestamp").endswith("Z")
    assert fields == {
        "event": "model_ready",
        "level": "info",
        "logger": "orchd.test",
        "pipeline": "p",
        "model_id": "m/ü\n",
        "load_s": 41.2,
        "request_id": "r1",
    }


def test_text_stays_one_line_and_cannot_steer_the_terminal() -> None:
    stream = io.StringIO()
    configure_logs("text", "info", stream)
    log.info("pull_progress", detail="one\ntwo\x1b[2J")
    assert stream.getvalue().count("\n") == 1
    assert r"one\x0atwo\x1b[2J" in stream.getvalue()


@pytest.mark.parametrize(
    ("stream", "first"), [(Terminal(), ""), (io.StringIO(), "{")], ids=["terminal", "not a terminal"]
)
def test_auto_is_text_on_a_terminal_and_json_elsewhere(stream: io.StringIO, first: str) -> None:
    configure_logs("auto", "info", stream)
    log.info("started")
    assert stream.getvalue().startswith("{") is (first == "{")


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_only_on_a_terminal_that_wants_them(
    no_color: str, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    stream = Terminal()
    configure_logs("text", "info", stream)
    log.info("started")
    assert ("\x1b[" in stream.getvalue()) is coloured


def test_level_applies_to_ours_and_libraries_speak_from_warning_up() -> None:
    stream = io.StringIO()
    configure_logs("json", "error", stream)
    log.warning("ours_hidden")
    log.error("ours_shown")
    for name in ("aiohttp.server", "docker.utils", "urllib3", "asyncio"):
        logging.getLogger(name).info("library hidden")
        logging.getLogger(name).warning("library %s", "shown")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["ours_shown"] + 4 * ["library shown"]
    assert lines[1]["logger"] == "aiohttp.server"


@pytest.mark.parametrize("form", ["json", "text"])
def test_in_the_journal_each_line_begins_with_its_priority(form: Literal["json", "text"]) -> None:
    stream = io.StringIO()
    configure_logs(form, "debug", stream, journal=True)
    for level in ("debug", "info", "warning", "error", "critical"):
        log.log(logging.getLevelNamesMapping()[level.upper()], "said")
    logging.getLogger("aiohttp.server").error("library")
    assert [line[:3] for line in stream.getvalue().splitlines()] == ["<7>", "<6>", "<4>", "<3>", "<2>", "<3>"]
    stream.truncate(0)
    stream.seek(0)
    try:
        raise ValueError("bad")
    except ValueError:
        log.exception("failed")
    lines = stream.getvalue().splitlines()
    assert len(lines) > 1 or form == "json"
    assert {line[:3] for line in lines} == {"<3>"}, "a traceback's lines are entries of their own"


def test_the_journal_is_known_by_its_device_and_inode(tmp_path: Path) -> None:
    """Who inherits $JOURNAL_STREAM, and writes to a file or a terminal, is not in the journal."""
    with (tmp_path / "journal").open("w") as journal, (tmp_path / "other").open("w") as other:
        about = os.fstat(journal.fileno())
        env = {"JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}"}
        assert is_journal(journal, env)
        assert not is_journal(other, env)
        assert not is_journal(journal, {})
    assert not is_journal(journal, env), "it is closed"
    assert not is_journal(io.StringIO(), env)


@pytest.mark.parametrize("form", ["json", "text"])
def test_the_level_can_change_while_it_runs(form: Literal["json", "text"]) -> None:
    stream = io.StringIO()
    lines = configure_logs(form, "info", stream)
    for level in ("info", "debug", "error", "info"):
        set_level(level, lines)
        log.debug("one")
        log.warning("two")
    assert [word for word in stream.getvalue().replace('"', " ").split() if word in ("one", "two")] == [
        *("two", "one", "two", "two")
    ]


def test_configured_twice_it_writes_once() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logs("json", "info", first)
    configure_logs("json", "debug", second)
    log.debug("once")
    assert (first.getvalue(), second.getvalue().count("\n")) == ("", 1)


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_secret_is_written_however_it_gets_there(form: Literal["json", "text"]) -> None:
    stream = io.StringIO()
    configure_logs(form, "debug", stream)
    secretive = model("p", "m", ContainerLaunch("image", env=(("HF_TOKEN", SECRET),)))
    log.info("a", token=SECRET, api_key=SECRET, Authorization=SECRET, db_password=SECRET)
    log.info("b", headers={"Authorization": f"Bearer {SECRET}", "nested": [{"hf_token": SECRET}]})
    log.info("c", value=Secret(SECRET), values=(Secret(SECRET), {"x": Secret(SECRET)}))
    log.info("d", model=secretive)
    log.info("e", line=f"sent authorization: Bearer {SECRET} to it")
    logging.getLogger("aiohttp.client").warning("headers: Authorization: Bearer %s", SECRET)
    try:
        local = SECRET
        raise ValueError(f"cannot serve {secretive!r} as Bearer {SECRET}, {len(local)}")
    except ValueError as exc:
        log.exception("f", error=repr(exc))
        logging.getLogger("asyncio").exception("failed")
    written = stream.getvalue()
    assert SECRET not in written
    assert "***" in written
    assert written.count("ValueError") >= 2


def test_lines_of_several_threads_are_whole_and_none_is_lost() -> None:
    stream = io.StringIO()
    lines = configure_logs("json", "info", stream)
    assert lines is not None
    log = structlog.get_logger("orchd.test")

    def write(name: str) -> None:
        for number in range(300):
            log.info("told", by=name, number=number)
            lines.waiting.append(json.dumps({"event": "kept", "by": name, "number": number}) + "\n")

    names = [f"thread {n}" for n in range(4)]
    threads = [threading.Thread(target=write, args=(name,)) for name in names]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    lines.flush()
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    for name in names:
        for event in ("told", "kept"):
            assert [one["number"] for one in told if (one["event"], one["by"]) == (event, name)] == [*range(300)]

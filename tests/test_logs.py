"""Logs: one line per event, everything from every library in one form, and no secret in any of it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from orchd.domain.model import ContainerLaunch, Secret
from orchd.logs import configure_logs
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

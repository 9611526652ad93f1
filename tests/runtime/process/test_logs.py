"""Log files of process runners stay readable and bounded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from orchd.runtime.process.logs import KEPT, LINE_CHARS, TAIL_BYTES, Logs

NOBODY: frozenset[str] = frozenset()


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path, max_bytes=1000)


def test_the_last_lines_are_shown_oldest_first_and_cut(logs: Logs) -> None:
    logs.path("a").write_bytes(b"one\ntwo \xff\n" + b"x" * 2000 + b"\n")
    assert logs.tail("a", 2, 0) == ("two \ufffd", "x" * LINE_CHARS)


def test_only_lines_after_the_start_are_shown(logs: Logs) -> None:
    logs.path("a").write_bytes(b"former run\nthis run\n")
    assert logs.tail("a", 10, len(b"former run\n")) == ("this run",)


def test_a_file_that_was_cut_since_the_start_is_shown_as_it_is(logs: Logs) -> None:
    logs.path("a").write_bytes(b"line\n")
    assert logs.tail("a", 10, 5000) == ("line",)


def test_the_end_of_a_huge_file_is_found(logs: Logs) -> None:
    logs.path("a").write_bytes(b"x\n" * TAIL_BYTES + b"last\n")
    assert logs.tail("a", 1, 0) == ("last",)


def test_without_a_file_there_are_no_lines(logs: Logs) -> None:
    assert logs.tail("gone", 10, 0) == ()


def test_a_file_over_the_bound_keeps_its_last_half_and_its_writer(logs: Logs) -> None:
    fd, size = logs.open_for("a")
    assert size == 0
    os.write(fd, b"".join(b"line %03d\n" % n for n in range(200)))
    logs.bound(NOBODY)
    os.write(fd, b"after\n")
    os.close(fd)
    lines = logs.path("a").read_text().splitlines()
    assert lines[-2:] == ["line 199", "after"]
    assert lines[0].startswith("line ")
    assert 400 < logs.path("a").stat().st_size <= 520


@pytest.mark.parametrize("end", [b"", b"\n", b"\nlast words"])
def test_a_log_without_line_ends_is_bounded_and_not_emptied(logs: Logs, end: bytes) -> None:
    """As a progress bar writes it: one line that goes on and on."""
    fd, _ = logs.open_for("a")
    os.write(fd, b"".join(b"%05d%%\r" % n for n in range(20_000)) + end)
    for _ in range(2):
        logs.bound(NOBODY)
    os.close(fd)
    kept = logs.path("a").read_bytes()
    assert len(kept) == 500
    assert kept.endswith(b"19999%\r" + end)


def test_one_huge_line_does_not_take_the_rest_with_it(logs: Logs) -> None:
    logs.max_bytes = 100_000
    logs.path("a").write_bytes(b"x" * 99_000 + b"\n" + b"y" * 10_000)
    logs.bound(NOBODY)
    assert 45_000 < logs.path("a").stat().st_size <= 50_000


def test_a_file_within_the_bound_is_left_alone(logs: Logs) -> None:
    logs.path("a").write_bytes(b"x" * 1000)
    logs.bound(NOBODY)
    assert logs.path("a").stat().st_size == 1000


def test_a_log_is_for_its_owner_only(logs: Logs) -> None:
    fd, _ = logs.open_for("a")
    os.close(fd)
    assert logs.path("a").stat().st_mode & 0o777 == 0o600


def test_logs_of_runners_that_are_gone_are_kept_up_to_a_number(logs: Logs) -> None:
    for n in range(KEPT + 5):
        path = logs.path(f"r{n}")
        path.write_text("x")
        os.utime(path, (n, n))
    logs.bound(frozenset({"r0"}))
    left = {path.stem for path in logs.folder.glob("*.log")}
    assert left == {"r0", *(f"r{n}" for n in range(5, KEPT + 5))}


def test_a_log_that_cannot_be_bounded_is_named_and_the_others_are(logs: Logs) -> None:
    logs.path("bad").symlink_to("nowhere")
    logs.path("good").write_bytes(b"line\n" * 1000)
    with capture_logs() as said:
        logs.bound(NOBODY)
    assert [(entry["event"], entry["path"]) for entry in said] == [("runner_log_not_bounded", str(logs.path("bad")))]
    assert logs.path("good").stat().st_size <= 500

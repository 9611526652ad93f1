"""`orchd events`: what is printed, on which stream, with which exit code."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchd.cli import main
from orchd.cli.events_view import lines
from orchd.domain.ids import ModelKey
from orchd.history.ports import Kind
from orchd.history.read import KeptEvent
from orchd.text import TextStyle
from tests.database.parts import opened_own
from tests.history.kept import KEY, OTHER, RUNNER, history, kept_in

PATIENCE_S = 60


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHD_CONFIG", os.devnull)


async def fill(folder: Path) -> None:
    async with kept_in(folder) as part:
        part.note(Kind.START, "it is to run", about=RUNNER)
        part.note(Kind.FAILED, "it exited with code 3; started again in 0.9 s", about=RUNNER, evidence="CUDA error")
        part.note(Kind.RESTART_ASKED, "", about=OTHER, by="alice")


@pytest.fixture
def filled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    asyncio.run(fill(tmp_path))
    capsys.readouterr()  # What the database logged.
    return tmp_path


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what was printed, without the times and with one space between columns."""
    return [words(line) for line in capsys.readouterr().out.splitlines()]


def words(line: str) -> str:
    return " ".join(line[21:].split())


def test_the_latest_stands_last_one_line_each(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "--state-dir", str(filled)]) == 0
    started, *rest = told(capsys)
    assert started.startswith("daemon_started orchd ")
    assert rest == [
        "start llm/org/a #0: it is to run",
        "failed llm/org/a #0: it exited with code 3; started again in 0.9 s; CUDA error",
        "restart_asked image/b: by alice",
    ]


@pytest.mark.parametrize(
    ("name", "count"), [("llm/org/a", 2), ("org/a", 2), ("llm/*", 2), ("*", 3), ("image/b", 1), ("[bc]", 1)]
)
def test_a_model_is_named_as_elsewhere_or_by_a_pattern(
    name: str, count: int, filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["events", name, "--state-dir", str(filled)]) == 0
    assert len(told(capsys)) == count


def test_a_model_that_nothing_is_kept_of_is_refused_with_the_nearest(
    filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["events", "llm/org/aa", "--state-dir", str(filled)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("orchd: cannot find model 'llm/org/aa': did you mean llm/org/a?")


def test_fewer_are_shown_by_number_and_by_time(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "--tail", "1", "--state-dir", str(filled)]) == 0
    out, err = capsys.readouterr()
    assert [words(line) for line in out.splitlines()] == ["restart_asked image/b: by alice"]
    assert err == "orchd: older events are left out; `--tail 2` or `--since 1d` shows more\n"
    with closing(sqlite3.connect(filled / "orchd.db")) as db, db:
        db.execute("UPDATE history_events SET at = at - 7200 WHERE kind != 'failed'")
    assert main(["events", "--since", "1h", "--state-dir", str(filled)]) == 0
    assert [line.split()[0] for line in told(capsys)] == ["failed"]
    with closing(sqlite3.connect(filled / "orchd.db")) as db, db:
        db.execute("UPDATE history_events SET at = at - 7200")
    assert main(["events", "--since", "1h", "--state-dir", str(filled)]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"orchd: nothing that this asks for is kept in {filled}\n")


def test_json_is_one_object_per_line(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "--json", "--state-dir", str(filled)]) == 0
    started, _, failed, asked = map(json.loads, capsys.readouterr().out.splitlines())
    assert (started["pipeline"], started["replica"], started["by"]) == (None, None, None)
    assert (failed["kind"], failed["pipeline"], failed["model_id"], failed["replica"]) == ("failed", "llm", "org/a", 0)
    assert (failed["evidence"], failed["generation"]) == ("CUDA error", RUNNER.generation)
    assert (asked["by"], asked["generation"]) == ("alice", None)
    assert abs(failed["at"] - time.time()) < 3600


def test_without_a_state_directory_the_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "--state-dir", str(tmp_path / "none")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"orchd: cannot find out what happened: there is no orchd.db in {tmp_path / 'none'}, so no")
    assert "--state-dir" in err


@pytest.mark.parametrize("argv", [["--since", "5x"], ["--since", ""], ["--tail", "-1"], ["--tail", "x"]])
def test_what_can_not_be_understood_is_refused_in_words(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.suppress(SystemExit):
        assert main(["events", *argv, "--state-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("orchd: cannot use ")


def event(**changes: object) -> KeptEvent:
    values = {"id": 1, "at": 0.0, "kind": "failed", "key": KEY, "replica": 0, "generation": "", "by": ""}
    return KeptEvent(**{**values, "why": "", "evidence": "", **changes})  # type: ignore[arg-type]


def test_what_others_wrote_can_not_steer_the_terminal() -> None:
    bad = "\x1b[2J\x07\r\nbad"
    odd = event(why=bad, evidence=f"{bad}!", by=bad, key=ModelKey("llm", "a\x1b[31m"))
    for style in (TextStyle(), TextStyle(width=80), TextStyle(width=300)):
        assert all(line.isprintable() for line in lines(odd, style))


def test_a_line_that_does_not_fit_goes_on_below() -> None:
    whole = event(key=ModelKey("text-to-image", "x" * 200), why="why " * 50)
    below = lines(whole, TextStyle(width=80))
    assert below[0].endswith("x #0")
    assert len(below) > 2
    assert all(len(line) <= 80 and line.startswith("    ") for line in below[1:])
    assert len(lines(whole, TextStyle())) == 1, "a pipe gets it in one line"


@contextlib.contextmanager
def following(*argv: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "orchd", "events", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_it_follows_what_a_daemon_writes(tmp_path: Path) -> None:
    """Each event once, from the first, also if the daemon is another one meanwhile."""
    async with opened_own(tmp_path) as database, history(database) as part:
        part.note(Kind.READY, "0", about=RUNNER)
    with following("-f", "llm/*", "--state-dir", str(tmp_path)) as process:
        assert process.stdout is not None
        assert words(process.stdout.readline()) == "ready llm/org/a #0: 0"
        async with kept_in(tmp_path) as part:
            for number in range(1, 4):
                part.note(Kind.READY, str(number), about=RUNNER)
                part.note(Kind.READY, "", about=OTHER)
        shown = [process.stdout.readline().rpartition(" ")[2].strip() for _ in range(3)]
        assert shown == ["1", "2", "3"]
        process.send_signal(2)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, out, err) == (130, "", "")


async def test_a_reader_that_leaves_ends_it_quietly(tmp_path: Path) -> None:
    await fill(tmp_path)
    with following("-f", "--state-dir", str(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        async with kept_in(tmp_path) as part:
            part.note(Kind.READY, "", about=RUNNER)
        assert process.wait(PATIENCE_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""

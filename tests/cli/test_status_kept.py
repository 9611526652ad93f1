"""`orchd status` while no daemon answers: what the last one knew."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from orchd.cli import main
from orchd.cli.client import is_running
from orchd.cli.status_kept import page
from orchd.control.socket_path import SOCKET_NAME
from orchd.domain.ids import ModelKey
from orchd.history.read import KeptDaemon, KeptRunner
from orchd.text import TextStyle, cells

NOW = 1_700_000_000.0
DAEMON = KeptDaemon("0.2.0", "default", NOW - 90_000, NOW - 3_700, NOW - 3_700, "SIGTERM")
KILLED = DAEMON._replace(ended_at=None, why_ended="")
LLM = KeptRunner(ModelKey("llm", "org/a"), 0, "g", "ready", NOW - 80_000, "health is ready")
SDXL = KeptRunner(
    ModelKey("text-to-image", "org/b"), 0, "g", "failed", NOW - 7_300, "it exited with code 1: CUDA\x1b[2J"
)
ALL = (LLM, SDXL)


def shown(
    daemon: KeptDaemon,
    *runners: KeptRunner,
    model: str | None = None,
    runs: bool | None = False,
    style: TextStyle | None = None,
) -> str:
    return "\n".join(page(daemon, runners, model, (NOW, runs), style or TextStyle()))


def test_it_says_who_ran_how_that_ended_what_it_knew_worst_first_and_what_to_do() -> None:
    assert (
        shown(DAEMON, *ALL)
        == """\
The last daemon was orchd 0.2.0 (default), started 1d ago.
It ended properly 1h ago: SIGTERM

What it knew last
MODEL                REPLICA  STATE   SINCE  WHY
text-to-image/org/b  0        failed  2h     it exited with code 1: CUDA
llm/org/a            0        ready   22h    health is ready

Start it with `systemctl start orchd`, or `orchd run`; `orchd events` shows what happened, \
`orchd logs MODEL` what a model said."""
    )


def test_one_that_was_killed_is_told_from_one_that_runs_and_from_one_that_may() -> None:
    killed = shown(KILLED)
    assert (
        "It did not end properly (killed, crashed, or the machine went down); it was last seen alive 1h ago." in killed
    )
    assert "systemctl start orchd" in killed
    running, unknown = shown(KILLED, runs=True), shown(KILLED, runs=None)
    assert "It runs: its control socket answers. Its admin pages are at another address, or it hangs." in running
    assert "This user can't tell whether it runs still." in unknown
    for page_of_one_that_may_run in (running, unknown):
        assert "systemctl status orchd" in page_of_one_that_may_run
        assert "systemctl start" not in page_of_one_that_may_run


def test_whether_a_daemon_runs_is_told_by_its_socket(tmp_path: Path) -> None:
    assert is_running(tmp_path) is False
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / SOCKET_NAME))
        listener.listen()
        assert is_running(tmp_path) is True
    assert is_running(tmp_path) is False, "the file is there still, as after a kill"
    (tmp_path / "file").touch()
    assert is_running(tmp_path / "file") is None


def test_one_model_is_shown_alone_and_one_of_which_nothing_is_kept_is_named() -> None:
    assert "`orchd events llm/org/a` shows" in shown(DAEMON, LLM, model="llm/org/a")
    assert "\nNothing is kept of org/x.\n" in shown(DAEMON, model="org/x")
    assert "\nIt had no models that ran.\n" in shown(DAEMON)


@pytest.mark.parametrize("count", [1, 30, 1000])
def test_any_number_of_models_fits_the_window(count: int) -> None:
    runners = [LLM._replace(key=ModelKey("llm", f"{'long-' * 20}{n}")) for n in range(count)] + [SDXL]
    lines = shown(DAEMON, *runners, style=TextStyle(80, height=24)).split("\n")
    assert len(lines) <= 24
    assert max(map(cells, lines)) <= 80
    assert any(line.startswith("text-to-image/org/b") for line in lines)
    assert any("more; see `orchd status | less`" in line for line in lines) is (count > 10)


def test_without_anything_kept_it_says_where_it_looked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--admin-listen", "127.0.0.1:1", "--state-dir", str(tmp_path)]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    first, second = said.err.splitlines()
    assert first.startswith("orchd: cannot reach orchd at http://127.0.0.1:1/status: ")
    assert str(tmp_path) in second

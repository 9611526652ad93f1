"""What commands say when a program answers that is not this version's daemon: a foreign one, or an older orchd."""

from __future__ import annotations

import http.server
import json
import socketserver
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchd.cli import client, main
from orchd.status_view import status
from tests.cli.answering import answering, serving
from tests.fakes.snapshots import snapshot

PATIENCE_S = 60.0


@contextmanager
def admin(code: int, body: bytes, claims: int | None = None) -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), answering(code, body, claims))
    with serving(server):
        yield f"--admin-listen=127.0.0.1:{server.server_port}"


@contextmanager
def socket_in(state_dir: Path, code: int, body: bytes) -> Iterator[str]:
    server = socketserver.UnixStreamServer(str(state_dir / "control.sock"), answering(code, body))
    with serving(server):
        yield f"--state-dir={state_dir}"


def as_older() -> bytes:
    """`/status` of an orchd that knew no stops."""
    shown: dict[str, Any] = status(snapshot())
    for model in shown["models"]:
        del model["stopped"]
    return json.dumps(shown).encode()


@pytest.mark.parametrize(
    "body", [b'{"status": "ok"}', b'{"models": 5}', b'{"models": ["x"]}', b"[" * 100_000, b"[]", b"<html>", b"\xff"]
)
@pytest.mark.parametrize("words", [["status"], ["status", "m"], ["status", "--json"], ["status", "--watch", "m"]])
def test_what_is_not_orchd_is_told_in_words(
    body: bytes,
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.sleep", _interrupt)  # The watch would go on.
    with admin(200, body) as at:
        assert main([*words, at, f"--state-dir={tmp_path}"]) == (130 if "--watch" in words else 3)
    assert "what answers there is not orchd" in capsys.readouterr().err


def test_version_takes_nothing_else_for_orchd(capsys: pytest.CaptureFixture[str]) -> None:
    with admin(200, b'{"status": "ok", "node": [1]}') as at:
        assert main(["version", at]) == 0
    assert "what answers there is not orchd" in capsys.readouterr().out


def test_an_answer_that_claims_to_be_endless_takes_no_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ANSWER_BYTES", 1000)
    with admin(200, b" " * 5000, claims=10**14) as at:
        assert main(["status", at, f"--state-dir={tmp_path}"]) == 3
    assert "what answers there is not orchd" in capsys.readouterr().err


def test_status_as_json_shows_what_an_older_daemon_says(capsys: pytest.CaptureFixture[str]) -> None:
    with admin(200, as_older()) as at:
        assert main(["status", "--json", at]) == 3
    said = capsys.readouterr()
    assert json.loads(said.out)["models"]
    assert "its /status has no field 'stopped'" in said.err


def test_a_watch_says_once_that_the_daemon_is_older(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = iter([None, None, None])

    def turn(_s: float) -> None:
        if next(turns, 0) is not None:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", turn)
    with admin(200, as_older()) as at:
        assert main(["status", "--watch", at]) == 130
    said = capsys.readouterr()
    assert said.out == ""
    [line] = said.err.splitlines()
    assert "its /status has no field" in line


@pytest.mark.parametrize("name", ["stop", "start"])
def test_an_order_that_an_older_daemon_does_not_know_is_told_in_words(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket_in(tmp_path, 404, b"404: Not Found") as state_dir:
        assert main([name, "m", state_dir]) == 3
    said = capsys.readouterr().err
    assert f"cannot do that: it does not know `orchd {name}`, so the daemon that runs is of another version" in said
    assert "systemctl restart orchd" in said


def test_an_order_that_an_older_daemon_reads_otherwise_is_told_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = {"error": "bad_request", "message": 'cannot read the order: {"model": NAME} is expected'}
    with socket_in(tmp_path, 400, json.dumps(refused).encode()) as state_dir:
        assert main(["restart", "m", state_dir]) == 3
    said = capsys.readouterr().err
    assert "it expects `orchd restart` to ask in another way, so the daemon that runs is of another version" in said


def test_logs_beside_an_older_daemon_do_not_say_that_none_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "orchd.db").touch()
    with socket_in(tmp_path, 404, b"404: Not Found") as state_dir:
        main(["logs", "m", state_dir])
    said = capsys.readouterr().err
    assert "no daemon answers" not in said
    assert "it does not know `orchd logs`" in said


STEERS = "\x1b]0;title\x07\x1b[2J"


def test_what_a_daemon_says_does_not_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A reason may hold what an engine, a registry or a runner wrote."""
    refused = json.dumps({"error": "unknown_target", "message": f"cannot {STEERS} it"}).encode()
    with admin(404, refused) as at:
        assert main(["status", "m", at]) == 2
    news = [{"model": "a/m", "line": f"could not be started: {STEERS}", "failed": True}, {"done": True}]
    with socket_in(tmp_path, 200, b"\n".join(json.dumps(one).encode() for one in news)) as state_dir:
        assert main(["start", "m", "--wait", state_dir]) == 1
    noted = [{"note": f"does not run now ({STEERS})"}, {"done": True}]
    (tmp_path / "control.sock").unlink()
    with socket_in(tmp_path, 200, b"\n".join(json.dumps(one).encode() for one in noted)) as state_dir:
        assert main(["logs", "m", state_dir]) == 0
    said = capsys.readouterr()
    assert not {"\x1b", "\x07"} & {*said.out, *said.err}
    assert "could not be started" in said.out
    assert "does not run now" in said.err


def test_a_name_that_is_no_utf8_is_no_traceback(tmp_path: Path) -> None:
    where = ["--admin-listen", "127.0.0.1:1", "--state-dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "orchd", "status", b"\xff", *where], capture_output=True, timeout=PATIENCE_S
    )
    assert done.returncode == 3
    assert b"Traceback" not in done.stderr
    assert done.stderr.startswith(b"orchd: cannot reach orchd at ")


def _interrupt(_s: float) -> None:
    raise KeyboardInterrupt


def test_of_an_order_that_orchd_took_before_it_ended_it_is_not_said_that_nothing_was_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Dies(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while not self.request.recv(65536).endswith(b"}"):  # Head and body come apart.
                pass

    with serving(socketserver.UnixStreamServer(str(tmp_path / "control.sock"), Dies)):
        assert main(["stop", "m", f"--state-dir={tmp_path}"]) == 3
    assert capsys.readouterr().err == "orchd: cannot tell what became of it: orchd ended before it said so\n"

"""The command line as a whole: exit codes, and what is said on which stream."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import runpy
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import orchd
from orchd import __version__
from orchd.admin.server import AdminServer
from orchd.admin.settings import AdminSettings
from orchd.cli import main
from orchd.control.orders import Asker, Json, Order
from orchd.control.server import ControlServer
from orchd.domain.ids import ModelKey
from orchd.exposition import MetricsRegistry
from orchd.model_names import find_models
from orchd.status_view import status
from tests.collectors import Metrics
from tests.fakes.snapshots import NOW, SECRET, fresh, snapshot

MODEL = "text-to-image/stabilityai/sdxl-turbo"
PATIENCE_S = 60.0


class Daemon:
    """Admin pages and socket over the sample snapshot, on a thread with a loop of its own."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.snapshot = snapshot()
        self.restarted: list[ModelKey] = []
        self.of_restart: dict[str, Json] = {}
        self.asked: Json = {}
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> Daemon:
        self._thread.start()
        assert self._started.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        metrics = Metrics(MetricsRegistry(), "1")
        admin = AdminServer(
            AdminSettings(listen="127.0.0.1:0"),
            snapshot=fresh(lambda: self.snapshot),
            metrics=metrics.registry,
            accepting=lambda: True,
        )
        control = ControlServer(
            self.state_dir,
            {
                "restart": Order(self._restart),
                "stop": Order(self._stop_models),
                "start": Order(self._start_models),
                "down": Order(self._down, goes_on=True),
            },
        )
        await admin.start()
        await control.start()
        self.listen = f"127.0.0.1:{admin.port}"
        self._started.set()
        await self._stop.wait()
        await control.close()
        await admin.close()

    async def _restart(self, order: Json, _by: Asker) -> AsyncGenerator[Json, None]:
        for key in find_models(order["models"], self.snapshot.models.keys()):
            self.restarted.append(key)
            yield {"model": str(key), "line": "restart begun", "failed": False, **self.of_restart.get(str(key), {})}

    async def _stop_models(self, order: Json, _by: Asker) -> AsyncGenerator[Json, None]:
        self.asked = order
        yield {"model": MODEL, "line": "stopping", "failed": False}
        if order["wait"]:
            yield {"model": MODEL, "line": "was started again before it had stopped", "failed": True}

    async def _start_models(self, order: Json, _by: Asker) -> AsyncGenerator[Json, None]:
        self.asked = order
        return
        yield {}

    async def _down(self, _order: Json, _by: Asker) -> AsyncGenerator[Json, None]:
        yield {"line": "2 runners drain"}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        yield daemon


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    empty = tmp_path / "empty.toml"
    empty.touch()
    monkeypatch.setenv("ORCHD_CONFIG", str(empty))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"orchd {__version__}\n")


def test_python_m_orchd_is_the_same(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "orchd", "--version"], capture_output=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout.decode()) == (0, f"orchd {__version__}\n")


def test_status_prints_the_overview_one_model_or_json(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--admin-listen", daemon.listen]
    assert main(["status", *at]) == 1, "one of its models can't serve"
    assert capsys.readouterr().out.startswith("orchd 0.9.0 (default), up 1d; jobs at ")
    assert main(["status", "sdxl-turbo", *at]) == 2
    assert "cannot find model 'sdxl-turbo'" in capsys.readouterr().err
    assert main(["status", "stabilityai/sdxl-turbo", *at]) == 0
    assert capsys.readouterr().out.startswith(f"{MODEL}\n")
    assert main(["status", "--json", *at]) == 1
    out = capsys.readouterr().out
    assert len(json.loads(out)["models"]) == 5
    assert SECRET not in out


def test_the_exit_code_of_status_is_1_when_a_wanted_model_cannot_serve(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["--admin-listen", daemon.listen]
    assert [main(["status", str(key), *at]) for key in daemon.snapshot.models] == [0, 0, 1, 0, 1]
    models = {key: one for key, one in daemon.snapshot.models.items() if one.ready or one.startable}
    daemon.snapshot = replace(daemon.snapshot, models=models)
    assert main(["status", *at]) == 0
    daemon.snapshot = replace(daemon.snapshot, models={})
    assert main(["status", *at]) == 0
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["status", "--help"])
    assert "Exit codes: 0 = every model that is wanted can serve a job" in capsys.readouterr().out


def test_restart_and_down_use_the_socket(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--state-dir", str(daemon.state_dir)]
    assert main(["restart", MODEL, *at]) == 0
    assert [str(key) for key in daemon.restarted] == [MODEL]
    assert capsys.readouterr().out.startswith(f"{MODEL}: restart begun")
    assert main(["down", *at]) == 0
    assert capsys.readouterr().out == "2 runners drain\nall runners are gone\n"


def test_stop_names_models_or_all_waits_if_asked_and_fails_if_one_could_not(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["--state-dir", str(daemon.state_dir)]
    assert main(["stop", "llm/*", MODEL, *at]) == 0
    assert daemon.asked["models"] == ["llm/*", MODEL]
    assert (daemon.asked["all"], daemon.asked["wait"]) == (False, False)
    assert capsys.readouterr().out == f"{MODEL}: stopping\n"
    assert main(["stop", "--all", "--wait", *at]) == 1
    assert (daemon.asked["models"], daemon.asked["all"], daemon.asked["wait"]) == ([], True, True)
    assert capsys.readouterr().out.endswith("was started again before it had stopped\n")


def test_start_of_nothing_says_so(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["start", "--all", "--state-dir", str(daemon.state_dir)]) == 0
    assert capsys.readouterr().out == "there is no model to start\n"


def test_a_wait_for_several_models_ends_with_what_became_of_them(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--state-dir", str(daemon.state_dir))
    every = [f"{key.pipeline}/{key.model_id}" for key in daemon.snapshot.models]
    daemon.of_restart = {every[0]: {"failed": True}, every[1]: {"left_alone": True}}
    assert main(["restart", *every, *at, "--wait"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"{len(every) - 2} models restarted, 1 could not be, 1 left alone"
    daemon.of_restart = {}
    assert main(["restart", *every, *at, "--wait"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{len(every)} models restarted"
    assert main(["restart", MODEL, *at, "--wait"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{MODEL}: restart begun", "of one, its line says it"


@pytest.mark.parametrize("command", ["stop", "start", "restart"])
@pytest.mark.parametrize(("models", "wrong"), [([], "no model is named"), (["m", "--all"], "can't go together")])
def test_an_order_about_no_model_or_about_two_things_is_refused(
    command: str, models: list[str], wrong: str, daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, *models, "--state-dir", str(daemon.state_dir)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"orchd: cannot {command}: ")
    assert wrong in said
    assert f"`orchd {command} --all`" in said
    assert not daemon.asked
    assert not daemon.restarted


@pytest.mark.parametrize(
    ("argv", "advice"),
    [
        (["status", "--admin-listen", "127.0.0.1:1"], "--admin-listen"),
        (["restart", "m", "--state-dir", "/nowhere"], "--state-dir"),
    ],
)
def test_no_daemon_is_exit_code_3_with_the_way_out(
    argv: list[str], advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("orchd: cannot reach orchd at ")
    assert advice in said.err


def test_something_else_at_the_admin_address_is_not_taken_for_orchd(capsys: pytest.CaptureFixture[str]) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async def ask() -> int:
        async with await asyncio.start_server(other, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await asyncio.to_thread(main, ["status", "--admin-listen", f"127.0.0.1:{port}"])

    assert asyncio.run(ask()) == 3
    assert "what answers there is not orchd" in capsys.readouterr().err


class _OlderDaemon(BaseHTTPRequestHandler):
    """`/status` as 0.1.0 had it: no slots that are letting go."""

    def do_GET(self) -> None:
        (model, *_) = status(snapshot())["models"]
        del model["sessions"]["letting_go"]
        body = json.dumps({**status(snapshot()), "models": [model]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("words", [["status"], ["status", MODEL]])
def test_a_daemon_of_an_older_version_is_named_in_words(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with HTTPServer(("127.0.0.1", 0), _OlderDaemon) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            at = f"--admin-listen=127.0.0.1:{server.server_port}"
            assert main([*words, at]) == 3
            err = capsys.readouterr().err
            assert "its /status has no field 'letting_go'" in err
            assert "restart it" in err
            assert main([*words, at, "--json"]) == 0
        finally:
            server.shutdown()
            thread.join()


def test_a_wrong_setting_is_exit_code_2(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHD_ADMIN_LISTEN", "nowhere")
    assert main(["status"]) == 2
    assert "environment variable ORCHD_ADMIN_LISTEN" in capsys.readouterr().err


def test_in_the_journal_what_ends_it_is_an_error(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w") as journal:
        about = os.fstat(journal.fileno())
        done = subprocess.run(
            [sys.executable, "-m", "orchd", "status", "--config", "/nowhere"],
            stderr=journal,
            env={**os.environ, "JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}"},
            timeout=PATIENCE_S,
        )
    assert done.returncode == 2
    assert (tmp_path / "journal").read_text().startswith("<3>orchd: cannot read settings file /nowhere: ")


def test_an_older_python_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything else is imported, which it could not read."""
    monkeypatch.setattr("sys.version_info", (3, 10, 12, "final", 0))
    with pytest.raises(SystemExit, match=r"^orchd: cannot run on Python 3\.10: it needs 3\.11 or newer\. On Ubuntu 22"):
        runpy.run_path(str(Path(orchd.__file__)))
    source = Path(orchd.__file__).read_text()
    ast.parse(source, feature_version=(3, 7))
    imported = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imported] == ["import sys"]


def test_flags_are_not_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["status", "--admin", "127.0.0.1:1"])
    assert ended.value.code == 2


def started(*argv: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "orchd", *argv]
    return subprocess.Popen(command, stdout=stdout, env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "80"})


def said_by(command: subprocess.Popen[bytes]) -> str:
    """Return its next line; fail if it has ended, since then there is none."""
    assert command.stdout
    line = command.stdout.readline().decode()
    assert line, f"it has ended with exit code {command.wait()}"
    return line


def test_watch_prints_what_changes(daemon: Daemon) -> None:
    with started("status", "--watch", "--admin-listen", daemon.listen) as command:
        first = [said_by(command) for _ in range(9)]
        assert first[0] == "live/video-to-video/green-tint-cpu: ready, sessions 1/4, replicas 1/1\n"
        daemon.snapshot = snapshot(green_sessions=2)
        changed = said_by(command)
        daemon.snapshot = replace(daemon.snapshot, problems=())
        mended = [said_by(command) for _ in range(2)]
        command.kill()
    assert changed == "live/video-to-video/green-tint-cpu: ready, sessions 2/4, replicas 1/1\n"
    assert [line.partition(":")[0] for line in mended] == ["mended", "mended"]


def test_watch_of_one_model_goes_on_when_it_is_gone(daemon: Daemon) -> None:
    name = "live/video-to-video/green-tint-cpu"
    with started("status", name, "--watch", "--admin-listen", daemon.listen) as command:
        first = [said_by(command) for _ in range(3)]
        before = daemon.snapshot
        daemon.snapshot = replace(before, models={key: one for key, one in before.models.items() if str(key) != name})
        said = [said_by(command)]
        while "gone" not in said[-1]:
            said.append(said_by(command))
        daemon.snapshot = before
        while not said[-1].startswith(f"{name}: ready"):
            said.append(said_by(command))
        command.kill()
    assert first[0].startswith(f"{name}: ready")


def test_watch_as_json_prints_only_what_changes_and_when(daemon: Daemon) -> None:
    with started("status", "--watch", "--json", "--admin-listen", daemon.listen) as command:
        assert command.stdout
        first = json.loads(said_by(command))
        assert (len(first["models"]), first["at"]) == (5, NOW)
        later = {key: replace(one, reason="") for key, one in snapshot(green_sessions=2).models.items()}
        daemon.snapshot = replace(daemon.snapshot, at=NOW + 5, models=dict(list(later.items())[:1]), problems=())
        changed = json.loads(said_by(command))
        command.kill()
    assert changed["at"] == NOW + 5
    assert [model["sessions"]["active"] for model in changed["models"]] == [2]
    assert len(changed["gone"]) == 4
    assert changed.keys() == {"at", "models", "gone", "problems"}


def test_an_interrupt_ends_it_quietly(daemon: Daemon) -> None:
    with started("status", "--watch", "--admin-listen", daemon.listen) as command:
        assert command.stdout
        command.stdout.readline()
        command.send_signal(2)
        assert command.wait(PATIENCE_S) == 130


def test_a_reader_that_leaves_is_no_error(daemon: Daemon) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with started("status", "--admin-listen", daemon.listen, stdout=theirs) as command:
        os.close(theirs)
        assert command.wait(PATIENCE_S) == 1

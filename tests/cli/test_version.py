"""`orchd version` tells what it can, whatever runs and whatever hangs."""

from __future__ import annotations

import json
import platform
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import HTTPServer
from importlib import metadata
from pathlib import Path
from socketserver import UnixStreamServer
from typing import Any

import pytest

from orchd import __version__
from orchd.cli import main, version
from orchd.status_view import status
from orchd.text import TextStyle
from tests.cli.answering import answering, serving
from tests.fakes.snapshots import snapshot

NOBODY = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def _nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    empty = tmp_path / "empty.toml"
    empty.touch()
    monkeypatch.setenv("ORCHD_CONFIG", str(empty))
    monkeypatch.setenv("ORCHD_ADMIN_LISTEN", NOBODY)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.delenv("DOCKER_TLS_VERIFY", raising=False)


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["version", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def lines(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    assert main(["version"]) == 0
    out = capsys.readouterr().out.splitlines()
    return {title: text for line in out if (title := line[:11].strip()) and (text := line[11:])}


@contextmanager
def daemon(monkeypatch: pytest.MonkeyPatch, status: Mapping[str, object]) -> Iterator[None]:
    server = HTTPServer(("127.0.0.1", 0), answering(200, json.dumps({"models": [], **status}).encode()))
    monkeypatch.setenv("ORCHD_ADMIN_LISTEN", f"127.0.0.1:{server.server_port}")
    with serving(server):
        yield


def test_with_nothing_running_it_says_so_and_is_content(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = lines(capsys)
    assert said["orchd"] == __version__
    assert said["Python"].startswith(f"{platform.python_version()} (")
    assert said["engine"] == f"cannot reach unix://{tmp_path}/none.sock: No such file or directory"
    assert said["daemon"].startswith(f"cannot reach orchd at http://{NOBODY}/status: Connection refused")
    assert said["node"] == "not known without the daemon"


def test_on_a_terminal_no_line_is_wider_than_the_window(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "style_of", lambda _: TextStyle(80))
    assert max(map(len, lines(capsys).values())) + 11 <= 80
    main(["version"])
    assert "--admin-listen" in capsys.readouterr().out


@pytest.mark.parametrize("other", [True, False])
def test_status_warns_of_a_daemon_of_another_version(
    other: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = status(snapshot())
    shown["daemon"]["version"] = "0.0.9" if other else __version__
    with daemon(monkeypatch, shown):
        main(["status"])
        said = capsys.readouterr().err
        main(["status", "--json"])
    warning = f"orchd: warning: the daemon that runs is 0.0.9, this command {__version__}: restart it"
    assert said.startswith(warning) if other else said == ""
    assert capsys.readouterr().err == ""


def test_the_libraries_are_those_that_the_package_asks_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = told(capsys)["libraries"]
    assert found["pydantic"] == metadata.version("pydantic")
    assert {"aiohttp", "docker", "structlog"} <= found.keys()
    assert "pytest" not in found

    def not_installed(_: str) -> list[str]:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "requires", not_installed)
    assert told(capsys)["libraries"] == {}


def test_an_engine_is_asked_over_its_socket_however_deep_that_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/docker.sock")
    monkeypatch.chdir(folder)
    with serving(UnixStreamServer("docker.sock", answering(200, b'{"Version": "99.1"}'))):
        assert lines(capsys)["engine"] == f"Docker 99.1 at unix://{folder}/docker.sock"


@pytest.mark.parametrize("body", [b"{}", b"[]", b"hello", b'"99"'])
def test_what_is_no_engine_is_not_taken_for_one(
    body: bytes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = HTTPServer(("127.0.0.1", 0), answering(200, body))
    where = f"tcp://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("DOCKER_HOST", where)
    with serving(server):
        assert told(capsys)["engine"] == {"error": f"cannot reach {where}: what answers there is no Docker Engine"}


@pytest.mark.parametrize(
    ("host", "tls", "said"),
    [("ssh://me:secret@there", "", "does not speak ssh"), ("tcp://there:2376", "1", "does not speak TLS")],
)
def test_an_engine_that_is_spoken_to_otherwise_is_left_to_docker(
    host: str, tls: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    monkeypatch.setenv("DOCKER_TLS_VERIFY", tls)
    error = told(capsys)["engine"]["error"]
    assert said in error
    assert "secret" not in error


def test_who_hangs_is_not_waited_for(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's own timeout or the common one, whichever is first."""
    monkeypatch.setattr(version, "TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{at}")
        monkeypatch.setenv("ORCHD_ADMIN_LISTEN", at)
        said = lines(capsys)
    assert said["engine"].endswith("no answer within 0.05 s")
    assert said["daemon"].endswith("no answer within 0.05 s")


def test_a_daemon_of_this_version_is_just_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = {"program": "go-livepeer", "version": "0.9.0", "up": True}
    with daemon(monkeypatch, {"daemon": {"version": __version__}, "node": node}):
        said, whole = lines(capsys), told(capsys)
    assert said["daemon"].startswith(f"{__version__} at http://127.0.0.1:")
    assert said["node"] == "go-livepeer 0.9.0, up"
    assert whole["node"] == node


@pytest.mark.parametrize(
    ("node", "shown"),
    [
        ({"program": "livepeer-node", "version": "", "up": True}, "Livepeer Node (version not known), up"),
        ({"program": None, "version": "", "up": False}, "(version not known), down"),
        ({"version": "0.9.0", "up": True}, "0.9.0, up"),
    ],
)
def test_the_node_is_named_as_far_as_it_is_known(
    node: Mapping[str, object], shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with daemon(monkeypatch, {"daemon": {"version": __version__}, "node": node}):
        assert lines(capsys)["node"] == shown


@pytest.mark.parametrize(
    ("status", "runs"), [({"daemon": {"version": "0.0.1"}}, "0.0.1 runs"), ({}, "an older version")]
)
def test_a_daemon_of_another_version_is_to_be_restarted(
    status: Mapping[str, object], runs: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with daemon(monkeypatch, status):
        said = lines(capsys)
    assert said["daemon"].startswith(runs)
    assert said["daemon"].endswith(f"not {__version__}: restart it (systemctl restart orchd)")
    assert said["node"] == "none is set"


def test_what_others_wrote_cannot_steer_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with daemon(monkeypatch, {"daemon": {"version": "1\x1b[31m\n2"}}):
        assert main(["version"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "1 2 runs" in out


@pytest.mark.docker
def test_a_real_engine_tells_its_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST")
    asked = ["docker", "version", "--format", "{{.Server.Version}}"]
    real = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    assert told(capsys)["engine"] == {"version": real, "at": "unix:///var/run/docker.sock"}

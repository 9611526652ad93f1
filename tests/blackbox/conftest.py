"""The server under test and its runner, each a process of its own, for the whole session."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from tests.blackbox import serve
from tests.blackbox.wire import BOUND_S, Reply, Wire
from tests.ports import free_port

ROOT = Path(__file__).parents[2]


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for something that another process brings about."""
    end = time.monotonic() + BOUND_S
    while not true():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.01)


def line_of(stream: IO[str] | None, start: str) -> str:
    assert stream is not None
    for line in stream:
        if line.startswith(start):
            return line.removeprefix(start)
    raise AssertionError(f"the process ended without a line that starts with {start!r}")


@dataclass(frozen=True)
class Runner:
    """The scripted runner, asked past the server under test."""

    port: int

    def ask(self, target: str, method: str = "GET") -> Any:
        with Wire(self.port) as wire:
            wire.request(method, target, body=b"" if method == "POST" else None)
            return wire.reply().json()

    def open_gate(self, name: str, n: int | None = None) -> None:
        self.ask(f"/_open/{name}" + (f"?n={n}" if n else ""), "POST")

    def script(self, **changes: object) -> None:
        with Wire(self.port) as wire:
            wire.request("POST", "/_script", body=json.dumps(changes).encode())
            assert wire.reply().status == 200

    def seen(self, query: str = "") -> Any:
        return self.ask(f"/_seen{query}")

    def newest(self) -> Any:
        return self.seen()["last"][-1]


@dataclass(frozen=True)
class Server:
    port: int
    admin: int
    pid: int

    def wire(self, **options: Any) -> Wire:
        return Wire(self.port, **options)

    def ask(self, method: str, target: str, *headers: tuple[str, str], body: bytes | None = None) -> Reply:
        with self.wire() as wire:
            wire.request(method, target, *headers, body=body)
            return wire.reply(method)

    def state(self) -> dict[str, dict[str, int]]:
        """Return the sessions and waiting jobs of each model, by pipeline and model id."""
        return {f"{m['pipeline']}/{m['model_id']}": m["sessions"] for m in serve.status(self.admin)["models"]}

    def sessions(self) -> int:
        return sum(each["active"] for each in self.state().values())

    def waiting(self) -> int:
        return sum(each["waiting"] for each in self.state().values())

    def let_cold_start(self) -> None:
        """Let the runner of `cold` finish loading."""

        def address() -> str | None:
            models = serve.status(self.admin)["models"]
            runners: list[dict[str, Any]] = next(m["runners"] for m in models if m["pipeline"] == "cold")
            return next((r["address"] for r in runners if r["state"] == "loading"), None)

        def told() -> bool:
            """It has an address before it listens there."""
            try:
                Runner(int(str(address()).rsplit(":", 1)[1])).script(health_word="ok")
            except ConnectionRefusedError:
                return False
            return True

        until(lambda: address() is not None, "it loads")
        until(told, "it listens")

    def peak_kb(self) -> int:
        """Most memory that the process ever had, KiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def start_server(runner_port: int, folder: Path) -> tuple[Server, subprocess.Popen[str]]:
    jobs_port, admin_port = free_port(), free_port()
    process, gone = serve.launch(folder, runner_port, jobs_port, admin_port)
    until(lambda: process.poll() is not None or serve.settled(admin_port), "it is up")
    assert process.poll() is None, (folder / "log").read_text()
    gone.leave()
    return Server(jobs_port, admin_port, process.pid), process


def stop(process: subprocess.Popen[str]) -> int:
    process.terminate()
    try:
        return process.wait(BOUND_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
    finally:
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="session")
def runner() -> Iterator[Runner]:
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tests/runners/scripted.py"), "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        yield Runner(int(line_of(process.stdout, "scripted: listening on ")))
    finally:
        stop(process)


@pytest.fixture(scope="session")
def shared_server(runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server, process = start_server(runner.port, tmp_path_factory.mktemp("blackbox"))
    try:
        yield server
    finally:
        assert stop(process) == 0


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """The server; after each test all slots must have come back."""
    yield shared_server
    until(lambda: shared_server.sessions() == 0, "all slots back")
    assert shared_server.waiting() == 0

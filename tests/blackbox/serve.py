"""Start the server under test: the one place of this suite that knows how. It is `orchd run`, as it is shipped."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCRIPTED = ROOT / "tests" / "runners" / "scripted.py"

FLAGS = {
    "instance": f"t-blackbox-{secrets.token_hex(4)}",
    "docker-enabled": "false",
    "jobs-hold-timeout-s": "20",
    "jobs-between-bytes-timeout-s": "2",
    "jobs-connect-timeout-s": "2",
    "jobs-refused-body-s": "2",
    "shutdown-drain-s": "1",
    "log-format": "json",
}


def entries(runner: str, gone: str) -> list[dict[str, Any]]:
    """Return the models file: what the suite asks of, on the runner at the base URL `runner`.

    `gone` answers its health once and is then no more. Other than that, health is told nothing in this suite.
    """

    def entry(pipeline: str, model_id: str, path: str = "/echo", **more: Any) -> dict[str, Any]:
        inference = {"path": path, "timeout_s": 10, "max_body_mb": 0} | more.pop("inference", {})
        calm = {"interval_s": 3600, "failures": 1000}
        known = {"url": runner, "maxSessions": 8, "price_per_unit": 0, "health": calm}
        return {"pipeline": pipeline, "model_id": model_id, "inference": inference} | known | more

    cold = ["python3", str(SCRIPTED), "--port", "{port}", '{"health_word": "loading"}']
    return [
        entry("image", "org/one"),
        entry("image", "org/two", "/raw"),
        entry("solo", "org/only", "/raw"),
        entry("live-video-to-video", "tint"),
        entry("single", "one", maxSessions=1),
        entry("secret", "one", token="s3cret"),
        entry("small", "one", "/raw", inference={"max_body_mb": 1}),
        entry("impatient", "one", inference={"timeout_s": 0.5}),
        entry("patient", "one", inference={"timeout_s": 4}),
        entry("brief", "one", maxSessions=1, inference={"timeout_s": 2}),
        entry("gone", "one", url=gone),
        entry("unready", "one", url="http://127.0.0.1:9"),
        entry("cold", "one", url=None, command=cold, warm=False, idle_timeout_s=0.2, health={"interval_s": 0.1}),
    ]


class Gone:
    """A runner that says that it is well until `leave`, and is then no more.

    It answers more than once: a probe during which orchd stood still counts for nothing, and is made again.
    """

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with self._socket, contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection:
                    connection.recv(65536)
                    head = b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\n"
                    connection.sendall(head + b'{"status":"ok"}')

    def leave(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # It ends the wait for the next connection.
        self._thread.join()


def status(admin_port: int) -> dict[str, Any]:
    """Return `/status`; empty while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/status", timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except (urllib.error.URLError, ConnectionError):
        return {}


def launch(folder: Path, runner_port: int, jobs_port: int, admin_port: int) -> tuple[subprocess.Popen[str], Gone]:
    """Start it; it is up when `settled`."""
    gone = Gone()
    given = [
        {k: v for k, v in e.items() if v is not None} for e in entries(f"http://127.0.0.1:{runner_port}", gone.url)
    ]
    return run(folder, given, FLAGS, jobs_port, admin_port), gone


def run(
    folder: Path, models: list[dict[str, Any]], flags: dict[str, str], jobs_port: int, admin_port: int
) -> subprocess.Popen[str]:
    """Start `orchd run` with this models file; its log is `folder/log`."""
    (folder / "aiModels.json").write_text(json.dumps(models, indent=1))
    flags = flags | {
        "models-file": str(folder / "aiModels.json"),
        "state-dir": str(folder / "state"),
        "jobs-listen": f"127.0.0.1:{jobs_port}",
        "admin-listen": f"127.0.0.1:{admin_port}",
    }
    with (folder / "log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "orchd", "run", *(part for k, v in flags.items() for part in (f"--{k}", v))],
            stderr=log,
            text=True,
            cwd=ROOT,
        )


def settled(admin_port: int) -> bool:
    """Whether every model is what this suite takes it for."""
    found = {m["pipeline"]: m for m in status(admin_port).get("models", [])}
    return bool(found) and all(
        model["ready"] is (pipeline not in ("unready", "cold")) for pipeline, model in found.items()
    )

"""`orchd run` as a child of the demo: a folder, an instance and ports of its own, none of the user's settings."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from orchd.database.beside import DATABASE
from orchd.errors import OrchdError

T = TypeVar("T")
Json = dict[str, Any]

PATIENCE_S = 90.0
"""Longest wait for anything; it takes a second or two, except on a machine that is very busy."""

END_TIMEOUT_S = 60.0
LOG_LINES = 20
_POLL_S = 0.02
_FOREIGN = ("ORCHD_", "NOTIFY_SOCKET", "WATCHDOG_", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY")
"""Variables of the environment that would make the child another one than the demo wants."""


def held_port() -> socket.socket:
    """Return a socket that holds a loopback port for a server to come: nobody else gets it from the system meanwhile.

    The socket does not listen, so the kernel lets a server listen there that sets SO_REUSEADDR, as ours do.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


class Child:
    """The daemon of the demo, and its files.

    Attributes:
        instance: `demo-` and 8 hex digits; everything that the child makes bears it.
        folder: holds all of its files; `close` removes it.
    """

    def __init__(self, *, docker: bool) -> None:
        self.instance = f"demo-{secrets.token_hex(4)}"
        self.folder = Path(tempfile.mkdtemp(prefix=f"orchd-{self.instance}-"))
        self.models_file = self.folder / "aiModels.json"
        self._held = [held_port(), held_port()]
        self.jobs_port, self._admin_port = (each.getsockname()[1] for each in self._held)
        self._log = self.folder / "orchd.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._env = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        settings: Json = {
            "models_file": str(self.models_file),
            "state_dir": str(self.folder / "state"),
            "instance": self.instance,
            "on_stop": "stop",
            "jobs.listen": f"127.0.0.1:{self.jobs_port}",
            "admin.listen": f"127.0.0.1:{self._admin_port}",
            "admin.ready_when": "listening",
            "docker.enabled": docker,
            "docker.network": f"orchd-{self.instance}",
            "log.format": "text",
        }
        self._config = self.folder / "orchd.toml"
        # A JSON string or bool is one of TOML as well.
        self._config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))

    def write_models(self, entries: Iterable[Json]) -> None:
        """Replace aiModels.json as an editor does, in one step."""
        draft = self.models_file.with_suffix(".new")
        draft.write_text(json.dumps(list(entries), indent=2))
        draft.rename(self.models_file)

    def start(self) -> None:
        """Start it. It leads a session of its own: Ctrl-C reaches the demo alone, which ends it in an orderly way."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - ourselves
                self._argv("run"),
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """None = it runs, or was not started."""
        return self._process.poll() if self._process is not None else None

    def is_up(self) -> bool:
        """It takes jobs; its model may still start."""
        return self._get("/readyz")[0] == http.client.OK

    def model(self, model_id: str) -> Json | None:
        """Return what /status says of the model; None = it is not known."""
        _, body = self._get("/status")
        return next((model for model in json.loads(body)["models"] if model["model_id"] == model_id), None)

    def until(self, what: str, holds: Callable[[], T | None]) -> T:
        """Wait until `holds()` is true, and return it.

        Raises:
            OrchdError: the child ended, or it takes longer than `PATIENCE_S`.
        """
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):  # It does not listen yet, or any more.
                if result := holds():
                    return result
            if self.exit_code is not None:
                raise OrchdError(f"cannot {what}: `orchd run` ended with exit code {self.exit_code}")
            if time.monotonic() > deadline:
                raise OrchdError(f"cannot {what}: it takes longer than {PATIENCE_S:g} s")
            time.sleep(_POLL_S)

    def last_log(self) -> list[str]:
        """Return the last lines of its log."""
        return self._log.read_text(errors="replace").splitlines()[-LOG_LINES:] if self._log.exists() else []

    def close(self) -> None:
        """End it with all of its runners, whatever state it is in, and remove its folder.

        Raises:
            OrchdError: some may be left; the folder is then too, to look into.
        """
        if self._process is not None and self._end(self._process) != 0 and (self.folder / "state" / DATABASE).exists():
            self._take_down()  # Without a store it ended before it could start a runner.
        for each in self._held:
            each.close()
        shutil.rmtree(self.folder)

    def _end(self, process: subprocess.Popen[bytes]) -> int:
        process.terminate()
        try:
            return process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _take_down(self) -> None:
        """It failed, or was killed before it could take a signal: look for what it left."""
        down = subprocess.run(  # noqa: S603 - ourselves
            self._argv("down"),
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if down.returncode != 0:
            raise OrchdError(f"cannot take down what the demo started; its files are in {self.folder}: {down.stderr}")

    def _argv(self, command: str) -> list[str]:
        return [sys.executable, "-m", "orchd", command, "--config", str(self._config)]

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._admin_port, timeout=PATIENCE_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

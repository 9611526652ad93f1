"""The loads, and what one turn of one load on one program gives."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.bench.proxy_programs import BOUND_S, Program, Stand, on_core

SMALL = '{"prompt": "a small red house by the sea", "steps": 4}'
FRAME = 921_600
MIB = 1024 * 1024
BASE = "/models/bench/echo"


@dataclass(frozen=True, slots=True)
class Load:
    """One load. Attributes:
    mode: as the tool has it: jobs, ws, sse.
    path: for the backend, its last segment says what it answers.
    body: the start of the request's body; `fill` bytes follow.
    warm: jobs on each connection before it counts.
    seconds: None = as long as is asked for; 0 = one job on each connection.
    """

    name: str
    title: str
    about: str
    connections: int
    path: str
    mode: str = "jobs"
    body: str = ""
    fill: int = 0
    warm: int = 3
    seconds: float | None = None

    def request(self, token: str) -> str:
        """Return head and `body`, with the headers that go-livepeer's gateway sends."""
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        headers = {
            "Host": "orchestrator.example:8935",
            "User-Agent": "Go-http-client/1.1",
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json" if self.body else "application/octet-stream",
            "X-Model-Id": "echo",
            "Accept-Encoding": "gzip",
            **(upgrade if self.mode == "ws" else {"Content-Length": str(len(self.body) + self.fill)}),
        }
        method = "GET" if self.mode == "ws" else "POST"
        lines = [f"{method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", self.body])


def _small(connections: int) -> Load:
    about = f"POST of {len(SMALL)} bytes of JSON, answered by 60; one job at a time on each connection."
    title = f"Small JSON, {connections} connection{'s' * (connections > 1)}"
    return Load(f"small{connections}", title, about, connections, "/bench", body=SMALL, warm=10)


def _frames(connections: int) -> Load:
    about = f"POST of {FRAME:,} bytes, answered by as many."
    title = f"Frames, {connections} connection{'s' * (connections > 1)}"
    return Load(f"frame{connections}", title, about, connections, f"{BASE}/frame", fill=FRAME)


def upload(name: str, size: int, **more: Any) -> Load:
    about = f"POST of {size // MIB} MiB, answered by 60 bytes; 1 connection."
    return Load(name, f"Upload of {size // MIB} MiB", about, 1, f"{BASE}/up", fill=size, **more)


def download(name: str, size: int, **more: Any) -> Load:
    about = f"POST without a body, answered by {size // MIB} MiB; 1 connection."
    return Load(name, f"Download of {size // MIB} MiB", about, 1, f"{BASE}/down?{size}", **more)


SSE = Load(
    "sse",
    "1,000 event streams",
    "Opened one after the other on new connections, held open, an event a second on each. Memory: resident, of a "
    "fresh program, with all open less that before, by stream. First byte: from the connect to the first event.",
    1000,
    f"{BASE}/sse",
    mode="sse",
    warm=0,
)
WS = Load(
    "ws",
    "200 WebSockets",
    "Messages of 100 bytes, echoed; one at a time on each.",
    200,
    f"{BASE}/ws",
    mode="ws",
)
LOADS = {
    load.name: load
    for load in (
        *(_small(1), _small(16), _small(256), _frames(1), _frames(4)),
        *(upload("up", 64 * MIB, warm=1), download("down", 64 * MIB, warm=1), SSE, WS),
    )
}
MEMORY = "memory"
"""The name, among those of the loads, of what `memory` measures."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One turn. Attributes:
    per_s: jobs, messages or events a second.
    cpu_us: of the program for each of these.
    p50_us, p99_us: of a job; of the first byte of a stream.
    memory: bytes a connection, more than before the load.
    """

    per_s: float
    p50_us: float
    p99_us: float
    cpu_us: float
    memory: float


@dataclass(frozen=True, slots=True)
class Runner:
    """Loads programs. Attributes:
    seconds: of one turn.
    """

    stand: Stand
    folder: Path
    token: str
    seconds: float

    def measure(self, load: Load, program: Program) -> Sample:
        """Give a program one turn.

        Raises:
            RuntimeError: an answer was wrong, a connection was lost, or it took for ever.
        """
        before = program.usage()
        with self._connected(load, program) as go:
            warm = program.usage()
            found = go()
            after = program.usage()
        count = found["events" if load.mode == "sse" else "jobs"]
        return Sample(
            per_s=count / found["seconds"],
            p50_us=found["p50_us"],
            p99_us=found["p99_us"],
            cpu_us=(after.cpu_s - warm.cpu_s) / count * 1e6,
            memory=(after.rss - before.rss) / load.connections,
        )

    def peak(self, load: Load, program: Program) -> int:
        """Send one job on each connection; return how many bytes were resident at most meanwhile."""
        program.forget_peak()
        with self._connected(load, program) as go:
            go()
            return program.usage().peak

    def refuses_wrong_token(self, program: Program) -> bool:
        """Whether the check of the token is on."""
        wrong = Runner(self.stand, self.folder, "0" * len(self.token), 0.0)
        try:
            wrong.peak(LOADS["small1"], program)
        except RuntimeError as exc:
            return "HTTP/1.1 403 " in str(exc)
        return False

    def logs_each_job(self, program: Program) -> bool:
        """Whether the log has a line for each job."""
        load = replace(LOADS["small16"], seconds=0)
        program.empty_log()
        with self._connected(load, program) as go:
            go()
        end = time.monotonic() + BOUND_S
        while program.log.read_bytes().count(b"\n") < load.connections * (load.warm + 1):
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    @contextmanager
    def _connected(self, load: Load, program: Program) -> Iterator[Any]:
        """The load is connected and warm; it begins when what is given is called, which returns its figures."""
        request = self.folder / "request"
        request.write_text(load.request(self.token), newline="")
        seconds = self.seconds if load.seconds is None else load.seconds
        words = (load.mode, program.port, load.connections, seconds, load.warm, load.fill, request)
        with on_core(self.stand.load_core):
            tool = subprocess.Popen(
                [self.stand.tool, *map(str, words)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        assert tool.stdin
        assert tool.stdout
        assert tool.stderr
        said = tool.stdout

        def line() -> str:
            if not (text := said.readline()):
                assert tool.stderr
                why = tool.stderr.read() or "it took for ever"
                raise RuntimeError(f"{load.name} on {program.name}: {why}; its log ends: {program.log_tail()}")
            return text

        def go() -> dict[str, float]:
            assert tool.stdin
            print("go", file=tool.stdin, flush=True)
            found: dict[str, float] = json.loads(line())
            return found

        try:
            line()
            yield go
        finally:
            tool.kill()  # its figures are had, or it failed
            tool.communicate()


def memory(runner: Runner, program: Program) -> dict[str, tuple[int, int]]:
    """Return for `up` and `down` by how much memory rose at most with a body of 1 MiB, and with one of 1 GiB."""
    found = {}
    for name, make in (("up", upload), ("down", download)):
        before = program.usage().rss
        first, second = (runner.peak(make(name, size, warm=0, seconds=0), program) for size in (MIB, 1024 * MIB))
        found[name] = first - before, second - before
    return found

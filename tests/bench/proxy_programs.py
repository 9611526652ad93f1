"""The programs that are compared: their files, their start and end, and what the kernel says of them.

Each runs on the first core of this process; what loads them, and their backend, on the second. All log each request
to a file, keep connections to the backend, and have one worker.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench.proxy_configs import HAPROXY, NGINX, SPLICE
from tests.blackbox.serve import ROOT, status
from tests.ports import free_port

BOUND_S = 60.0
"""Upper bound of every wait."""

SESSIONS = 2000
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
PACKAGES = {"nginx": "nginx-light", "haproxy": "haproxy", "cc": "gcc libc6-dev"}
TOOLS = {"nginx": "nginx", "haproxy": "haproxy", "haproxy-splice": "haproxy"}
NAMES = ("direct", "nginx", "haproxy", "haproxy-splice", "orchd")
"""`direct`: the load goes to the backend itself; what it reaches, no proxy can be measured to exceed by much."""


class Missing(Exception):
    """A program is not on this machine."""


def find(program: str) -> str:
    """Return its path.

    Raises:
        Missing: and says which package has it.
    """
    path = shutil.which(program, path=PATH)
    if path is None:
        raise Missing(f"cannot run {program}: not found (Debian: apt-get install {PACKAGES[program]})")
    return path


def cores() -> tuple[int, ...]:
    """Return the core for the proxies and the one for load and backend; fewer if there are not two."""
    return tuple(sorted(os.sched_getaffinity(0)))[:2]


def check(programs: Sequence[str]) -> None:
    """Look whether all that is needed is here.

    Raises:
        Missing: it is not; says all that is missing.
    """
    lacking = []
    for program in ["cc", *dict.fromkeys(TOOLS[name] for name in programs if name in TOOLS)]:
        try:
            find(program)
        except Missing as exc:
            lacking.append(str(exc))
    if len(cores()) < 2:
        lacking.append(
            "cannot compare: one core for the proxy and one for load and backend are needed; only one is here"
        )
    if lacking:
        raise Missing("\n".join(lacking))


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started meanwhile runs on this core only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a program and its children. Attributes:
    cpu_s: user and system time so far.
    rss, peak: bytes resident now, and at most since `Program.forget_peak`.
    """

    cpu_s: float
    rss: int
    peak: int


@dataclass(frozen=True, slots=True)
class Program:
    """One that runs, or `direct`, which is none (no `pid`)."""

    name: str
    port: int
    log: Path
    pid: int = 0

    def usage(self) -> Usage:
        """Return what the kernel counted."""
        ticks = rss = peak = 0
        for pid in _family(self.pid) if self.pid else ():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
            found = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            rss += int(found["VmRSS"].split()[0]) * 1024
            peak += int(found["VmHWM"].split()[0]) * 1024
        return Usage(ticks / os.sysconf("SC_CLK_TCK"), rss, peak)

    def forget_peak(self) -> None:
        """Let `Usage.peak` begin anew."""
        for pid in _family(self.pid):
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def log_tail(self) -> str:
        return self.log.read_text()[-1000:] if self.log.exists() else "(none)"

    def empty_log(self) -> None:
        """Free the disk; the program appends."""
        if self.log.exists():
            os.truncate(self.log, 0)


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


class Stand:
    """Backend and programs, as children. Args:
    folder: theirs; nothing is kept elsewhere.
    token: what the hook of orchd compares with.
    """

    def __init__(self, stack: ExitStack, folder: Path, token: str) -> None:
        self._stack = stack
        self._folder = folder
        self._token = token
        self.proxy_core, self.load_core = cores()
        self.tool = folder / "proxy_load"
        source = Path(__file__).with_name("proxy_load.c")
        subprocess.run([find("cc"), "-O2", "-std=gnu11", "-o", self.tool, source], check=True)
        with on_core(self.load_core):
            backend = self._child(self._stack, [str(self.tool), "backend"], stdout=subprocess.PIPE)
        assert backend.stdout
        self.backend_port = int(backend.stdout.readline())

    @contextlib.contextmanager
    def running(self, name: str) -> Iterator[Program]:
        """Run a program anew and for itself, until it answers; end it after."""
        with ExitStack() as stack:
            yield self.start(name, stack)

    def start(self, name: str, stack: ExitStack | None = None) -> Program:
        """Start a program that is ended with `stack`, or else with all."""
        port = free_port()
        log = self._folder / f"{name}-{port}.log"
        if name == "direct":
            return Program(name, self.backend_port, log)
        command, ready = {"nginx": self._nginx, "orchd": self._orchd}.get(name, self._haproxy)(name, port, log)
        with log.open("ab") as stream, on_core(self.proxy_core):
            # HAProxy logs on stdout, orchd on stderr.
            child = self._child(stack or self._stack, command, stdout=stream, stderr=stream)
        end = time.monotonic() + BOUND_S
        while not ready():
            if child.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"cannot start {name}: {log.read_text()[-2000:]}")
            time.sleep(0.02)
        return Program(name, port, log, child.pid)

    def _nginx(self, name: str, port: int, log: Path) -> tuple[list[str], Callable[[], bool]]:
        folder = self._folder / f"{name}-{port}"
        folder.mkdir()
        user = "user root;" if os.geteuid() == 0 else ""  # else the worker could not enter the folder
        config = folder / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, port=port, backend=self.backend_port, log=log, user=user))
        return [find("nginx"), "-c", str(config), "-e", str(folder / "nginx.error")], lambda: _listens(port)

    def _haproxy(self, name: str, port: int, _log: Path) -> tuple[list[str], Callable[[], bool]]:
        config = self._folder / f"{name}-{port}.cfg"
        splice = SPLICE if name == "haproxy-splice" else ""
        config.write_text(HAPROXY.format(port=port, backend=self.backend_port, splice=splice))
        return [find("haproxy"), "-db", "-f", str(config)], lambda: _listens(port)

    def _orchd(self, name: str, port: int, _log: Path) -> tuple[list[str], Callable[[], bool]]:
        folder = self._folder / f"{name}-{port}"
        folder.mkdir()
        entry = {
            "pipeline": "bench",
            "model_id": "echo",
            "url": f"http://127.0.0.1:{self.backend_port}",
            "maxSessions": SESSIONS,
            "price_per_unit": 0,
            "inference": {"path": "/small", "max_body_mb": 0},
            "health": {"interval_s": 3600},
        }
        (folder / "aiModels.json").write_text(json.dumps([entry]))
        admin = free_port()
        flags = {
            "instance": f"bench-{port}",
            "models-file": str(folder / "aiModels.json"),
            "state-dir": str(folder / "state"),
            "jobs-listen": f"127.0.0.1:{port}",
            "admin-listen": f"127.0.0.1:{admin}",
            "docker-enabled": "false",
            "log-format": "json",
            "shutdown-drain-s": "1",
        }
        command = [sys.executable, "-m", "tests.bench.proxy_orchd", self._token]
        return [*command, *(f"--{k}={v}" for k, v in flags.items())], lambda: any(
            model["ready"] for model in status(admin).get("models", [])
        )

    def _child(self, stack: ExitStack, command: list[str], **streams: object) -> subprocess.Popen[str]:
        # A session of its own: Ctrl-C is for us, and we end them in order.
        child = subprocess.Popen(command, text=True, cwd=ROOT, start_new_session=True, **streams)  # type: ignore[call-overload]
        stack.callback(_end, child)
        assert isinstance(child, subprocess.Popen)
        return child


def _end(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(BOUND_S / 4)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stdout:
        child.stdout.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

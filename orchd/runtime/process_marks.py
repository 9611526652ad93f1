"""How child processes are known again after a kill -9 of orchd: by markers in their environment.

Children inherit them, so whatever a runner starts belongs to it too. /proc/PID/environ shows what a process was given
at exec; between fork and exec a child shows ours, which bears no marker. That moment needs no care: Popen forks with
vfork, so start() returns only after the exec, and if orchd is killed meanwhile, the child still goes on to exec (and
is found) or ends. Only processes of our own user are believed: anybody could bear our markers.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchd.domain.ids import ModelKey, RunnerId

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a runner.

    Attributes:
        started: clock ticks since boot; with the pid it names a process for good.
        session: pid of its session's leader.
        paused: stopped by a signal.
        port: that the runner was told.
    """

    pid: int
    started: int
    session: int
    paused: bool
    runner: RunnerId
    port: int

    @property
    def leads(self) -> bool:
        return self.pid == self.session


@dataclass(frozen=True, slots=True)
class Marks:
    """The markers of one daemon: its instance and its state directory."""

    instance: str
    state_dir: Path

    def environment(self, runner: RunnerId, port: int) -> dict[str, str]:
        key = runner.key
        return {
            "ORCHD_INSTANCE": self.instance,
            "ORCHD_STATE": hashlib.sha256(os.fsencode(self.state_dir.resolve())).hexdigest()[:16],
            "ORCHD_RUNNER": json.dumps([key.pipeline, key.model_id, runner.replica, runner.generation]),
            "ORCHD_PORT": str(port),
            # setproctitle (vLLM, Ray) would otherwise overwrite what /proc/PID/environ shows.
            "SPT_NOENV": "1",
        }

    def scan(self) -> list[Process]:
        """Return every live process that bears our markers, oldest first. Reads all of /proc: not for the loop."""
        found = [process for folder in PROC.iterdir() if folder.name.isdigit() and (process := self._read(folder))]
        return sorted(found, key=lambda process: (process.started, process.pid))

    def _read(self, folder: Path) -> Process | None:
        try:
            if folder.stat().st_uid != os.getuid():
                return None
            # A zombie has no environment any more.
            borne = dict(
                item.partition("=")[::2] for item in os.fsdecode((folder / "environ").read_bytes()).split("\0")
            )
            pipeline, model_id, replica, generation = json.loads(borne["ORCHD_RUNNER"])
            runner = RunnerId(ModelKey(pipeline, model_id), replica, generation)
            port = int(borne["ORCHD_PORT"])
            if not self.environment(runner, port).items() <= borne.items():
                return None
            state, session, started = _stat(int(folder.name))
        except (OSError, KeyError, ValueError, TypeError):
            return None  # Gone, not readable, or not marked by us.
        return Process(int(folder.name), started, session, state == "T", runner, port)


def _stat(pid: int) -> tuple[str, int, int]:
    """Return state, session and start time. The name before them is in brackets and may hold anything."""
    fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    return fields[0], int(fields[3]), int(fields[19])


def open_pidfd(process: Process) -> int:
    """Return a descriptor of exactly this process, never of a later one with the same pid.

    Raises:
        ProcessLookupError: it is gone.
    """
    pidfd = os.pidfd_open(process.pid)
    try:
        # Read after the descriptor was opened: if this is still it, the descriptor is its own.
        same = _stat(process.pid)[2] == process.started
    except (FileNotFoundError, ProcessLookupError):
        same = False
    if not same:
        os.close(pidfd)
        raise ProcessLookupError(process.pid)
    return pidfd


@contextmanager
def pidfd_of(process: Process) -> Iterator[int]:
    """`open_pidfd` for the length of a block."""
    pidfd = open_pidfd(process)
    try:
        yield pidfd
    finally:
        os.close(pidfd)


def lives(process: Process) -> bool:
    try:
        with pidfd_of(process):
            return True
    except ProcessLookupError:
        return False


def send(process: Process, number: signal.Signals) -> None:
    try:
        with pidfd_of(process) as pidfd:
            signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        pass


async def end_of(process: Process) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    try:
        with pidfd_of(process) as pidfd:
            loop.add_reader(pidfd, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(pidfd)
    except ProcessLookupError:
        pass

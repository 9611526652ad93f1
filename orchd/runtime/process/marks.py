"""How child processes are known again after a kill -9 of orchd: by markers in their environment.

Those that hide or overwrite it are known by `records.py`, or by their session.

Children inherit them, so whatever a runner starts belongs to it too. /proc/PID/environ shows what a process was given
at exec; between fork and exec a child shows ours, which bears no marker. That moment needs no care: Popen forks with
vfork, so start() returns only after the exec, and if orchd is killed meanwhile, the child still goes on to exec (and
is found) or ends. Only processes of our own user are believed: anybody could bear our markers.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchd.domain.ids import ModelKey, RunnerId
from orchd.runtime.process.records import PROC, Leader, read_proc, stat_of

NOBODY: Mapping[int, Leader] = {}

_Seen = tuple[int, tuple[str, int, int], tuple[RunnerId, int] | None]
"""Pid, what `stat_of` tells, and runner and port if they can be told."""


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
class Elsewhere:
    """A process of our instance that belongs to another state directory. As text, words for a person."""

    pid: int
    model: str

    def __str__(self) -> str:
        return f"process {self.pid} of {self.model}, under another state directory"


@dataclass(frozen=True, slots=True)
class Marks:
    """The markers of one daemon: its instance and its state directory."""

    instance: str
    state_dir: Path

    @property
    def _state(self) -> str:
        return hashlib.sha256(os.fsencode(self.state_dir.resolve())).hexdigest()[:16]

    def environment(self, runner: RunnerId, port: int) -> dict[str, str]:
        key = runner.key
        return {
            "ORCHD_INSTANCE": self.instance,
            "ORCHD_STATE": self._state,
            "ORCHD_RUNNER": json.dumps([key.pipeline, key.model_id, runner.replica, runner.generation]),
            "ORCHD_PORT": str(port),
            # setproctitle (vLLM, Ray) would otherwise overwrite what /proc/PID/environ shows.
            "SPT_NOENV": "1",
        }

    def scan(self, known: Mapping[int, Leader] = NOBODY) -> list[Process]:
        """Return every live process of our runners, oldest first. Reads all of /proc: not for the loop.

        They bear our markers, or are `known`, or are of the session that one of these leads (which may have hidden or
        overwritten what it was given).
        """
        needle = os.fsencode(f"ORCHD_STATE={self._state}\0")
        seen = [
            found
            for name in os.listdir(PROC)  # noqa: PTH208 - a quarter of the time
            if name.isdigit() and (found := self._read(int(name), needle, known)) is not None
        ]
        leads = {pid: owner for pid, (_, session, _), owner in seen if owner is not None and pid == session}
        processes = [
            Process(pid, started, session, state == "T", *owner)
            for pid, (state, session, started), marked in seen
            if (owner := marked or leads.get(session)) is not None
        ]
        return sorted(processes, key=lambda process: (process.started, process.pid))

    def elsewhere(self) -> list[Elsewhere]:
        """Return the processes of our instance that belong to another state directory. As `scan`, not for the loop."""
        found = []
        for name in filter(str.isdigit, os.listdir(PROC)):  # noqa: PTH208 - as above
            with contextlib.suppress(OSError, KeyError, ValueError, TypeError, RecursionError):
                borne = _borne(read_proc(int(name), "environ"))
                if borne["ORCHD_INSTANCE"] == self.instance and borne["ORCHD_STATE"] != self._state:
                    pipeline, model_id, *_ = json.loads(borne["ORCHD_RUNNER"])
                    found.append(Elsewhere(int(name), f"{pipeline}/{model_id}"))
        return found

    def _read(self, pid: int, needle: bytes, known: Mapping[int, Leader]) -> _Seen | None:
        """Return a process of our user, with its runner if that can be told."""
        try:
            ours = os.stat(f"/proc/{pid}").st_uid == os.getuid()  # noqa: PTH116 - as above
            if not ours and pid not in known:
                return None
            stat = stat_of(pid)
        except (OSError, ValueError, IndexError):
            return None  # Gone, or not to be seen.
        if stat[0] in "ZX":
            return None
        leader = known.get(pid)
        if leader is not None and leader.started == stat[2]:
            return pid, stat, (leader.runner, leader.port)
        return (pid, stat, self._owner(pid, needle)) if ours else None

    def _owner(self, pid: int, needle: bytes) -> tuple[RunnerId, int] | None:
        """Return what the markers of a process tell, if it bears ours."""
        try:
            given = read_proc(pid, "environ")
            if needle not in given:
                return None  # Most are not ours: this must be quick.
            borne = _borne(given)
            pipeline, model_id, replica, generation = json.loads(borne["ORCHD_RUNNER"])
            runner = RunnerId(ModelKey(str(pipeline), str(model_id)), int(replica), str(generation))
            port = int(borne["ORCHD_PORT"])
            return (runner, port) if self.environment(runner, port).items() <= borne.items() else None
        except (OSError, KeyError, ValueError, TypeError, RecursionError):
            return None  # Gone, not readable, or not marked by us.


def _borne(environ: bytes) -> dict[str, str]:
    return dict(item.partition("=")[::2] for item in os.fsdecode(environ).split("\0"))


def open_pidfd(process: Process) -> int:
    """Return a descriptor of exactly this process, never of a later one with the same pid.

    Raises:
        ProcessLookupError: it is gone.
    """
    pidfd = os.pidfd_open(process.pid)
    try:
        # Read after the descriptor was opened: if this is still it, the descriptor is its own.
        same = stat_of(process.pid)[2] == process.started
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
    """Whether it runs; a zombie does not."""
    try:
        state, _, started = stat_of(process.pid)
    except (OSError, ValueError, IndexError):
        return False
    return started == process.started and state not in "ZX"


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

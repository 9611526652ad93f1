"""Which process leads which runner, kept in files beside the markers in the environment.

A program may write its title over the place where /proc shows the environment (nginx, PostgreSQL, Perl's $0), or hide
it (a program that must not be dumped): then the markers can't be read any more, and after a kill -9 of orchd nobody
would know whose process it is. Pid and start time name a process of one boot for good. Best effort: without these files
(a full disk) the markers still serve.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from orchd.domain.ids import ModelKey, RunnerId
from orchd.reasons import why

log = structlog.get_logger("orchd.runtime")

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Leader:
    """The first process of a runner, known otherwise than by its markers.

    Attributes:
        started: clock ticks since boot.
    """

    pid: int
    started: int
    port: int
    runner: RunnerId


def read_proc(pid: int, name: str) -> bytes:
    """Return what /proc tells of a process. Made for speed: a look reads two files of every process there is."""
    descriptor = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while piece := os.read(descriptor, 65536):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(descriptor)


def stat_of(pid: int) -> tuple[str, int, int]:
    """Return state, session and start time. The name before them is in brackets and may hold anything.

    Raises:
        OSError: there is no such process, or it can't be seen.
    """
    fields = read_proc(pid, "stat").rpartition(b")")[2].split()
    return fields[0].decode(), int(fields[3]), int(fields[19])


class Records:
    """Blocks on the disk, except `leaders`.

    Args:
        folder: holds `<runner name>.json`; made when needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._leaders: dict[str, Leader] = {}

    def leaders(self) -> Mapping[int, Leader]:
        """Return those that are known, by pid."""
        return {leader.pid: leader for leader in self._leaders.values()}

    def load(self) -> None:
        """Read what an earlier orchd has kept; what is not there any more is forgotten."""
        for path in self._folder.glob("*.json"):
            leader = _read(path)
            if leader is None or not _is_there(leader):
                _unlink(path)
            else:
                self._leaders.setdefault(leader.runner.name, leader)

    def keep(self, leader: Leader) -> None:
        self._leaders[leader.runner.name] = leader
        path = self._path(leader.runner.name)
        key = leader.runner.key
        draft = path.with_suffix(".new")
        try:
            self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # `parents` are made for everybody.
            self._folder.mkdir(mode=0o700, exist_ok=True)
            draft.touch(mode=0o600)
            draft.write_text(
                json.dumps(
                    {
                        "machine": _machine(),
                        "pid": leader.pid,
                        "started": leader.started,
                        "port": leader.port,
                        "runner": [key.pipeline, key.model_id, leader.runner.replica, leader.runner.generation],
                    }
                )
            )
            draft.rename(path)
        except OSError as exc:
            log.warning("runner_record_not_kept", path=str(path), error=why(exc))

    def forget(self, name: str) -> None:
        self._leaders.pop(name, None)
        _unlink(self._path(name))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"


def _machine() -> str:
    """Return what names this boot and this view of its processes; a part that can't be read is empty."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    try:
        return f"{boot} {(PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return boot


def _read(path: Path) -> Leader | None:
    try:
        kept = json.loads(path.read_text())
        if kept["machine"] != _machine():
            return None
        pipeline, model_id, replica, generation = kept["runner"]
        runner = RunnerId(ModelKey(str(pipeline), str(model_id)), int(replica), str(generation))
        leader = Leader(int(kept["pid"]), int(kept["started"]), int(kept["port"]), runner)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return leader if runner.name == path.stem else None


def _is_there(leader: Leader) -> bool:
    try:
        return stat_of(leader.pid)[2] == leader.started
    except (OSError, ValueError, IndexError):
        return False


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        log.warning("runner_record_not_removed", path=str(path), error=why(exc))

"""The last of what runners wrote that have ended, in files. The standard library alone: commands read them, too.

A file is one line of JSON, which says whose log it is and how that run ended, and then the log. A run's log is kept
before its container is removed, since Docker's own goes with it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.runs import EndedRun, KeptRun

FOLDER = "ended-logs"
LOG_BYTES = 1024 * 1024
"""Most bytes kept of one log: its last ones."""
PER_REPLICA = 2
"""Runs kept of each replica: the last one, and the one before it, which is asked for while the model is down."""
ALL_BYTES = 128 * 1024 * 1024
"""Bytes kept of all logs together: little beside the weights of one model, and full logs of 64 replicas."""
ALL_FILES = 4096
"""Files kept in all, so that looking through them takes milliseconds."""
ROOM_BYTES = 16 * 1024 * 1024
"""What a log must leave free on its disk: what else needs the disk comes first."""
_HEAD_BYTES = 65536
_NAME = re.compile(r"(?P<replica>.+-\d+)\.(?P<number>\d{15})\.log")


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    replica: str
    number: int
    size: int


class KeptLogs:
    """Blocks on the disk, and raises OSError. The folder is made when it is needed."""

    def __init__(
        self,
        folder: Path,
        *,
        per_replica: int = PER_REPLICA,
        all_bytes: int = ALL_BYTES,
        all_files: int = ALL_FILES,
    ) -> None:
        self.folder = folder
        self._per_replica = per_replica
        self._all_bytes = all_bytes
        self._all_files = all_files

    def keep(self, run: EndedRun, log: bytes) -> None:
        """Keep a run's log, and remove the oldest files beyond the bounds. It is there whole or not at all."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        disk = os.statvfs(self.folder)
        if disk.f_bavail * disk.f_frsize < ROOM_BYTES + len(log):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replica = _replica_name(run.runner)
        files = self._files()
        number = max([int(run.ended_at * 1000), *(file.number + 1 for file in files if file.replica == replica)])
        path = self.folder / f"{replica}.{number:015d}.log"
        draft = path.with_suffix(".new")
        content = _head_of(run) + log
        with open(draft, "wb", opener=_private) as file:
            file.write(content)
        draft.rename(path)
        self._bound([*files, _File(path, replica, number, len(content))], path)

    def runs(self, key: ModelKey) -> list[KeptRun]:
        """Return the kept runs of a model, the newest of each replica last; what can't be read is left out."""
        prefix = f"{key.slug}-"
        return [
            kept
            for kept in self._kept(file for file in self._files() if file.replica.startswith(prefix))
            if kept.run.runner.key == key
        ]

    def models(self) -> set[ModelKey]:
        """Return the models of which a log is kept."""
        return {kept.run.runner.key for kept in self._kept(self._files())}

    def newest(self, key: ModelKey, replica: int) -> int:
        """Return the number of a replica's newest kept run; 0 = there is none."""
        name = f"{key.slug}-{replica}"
        return max((file.number for file in self._files() if file.replica == name), default=0)

    def _kept(self, files: Iterable[_File]) -> list[KeptRun]:
        found = (_read(file) for file in sorted(files, key=lambda file: (file.replica, file.number)))
        return [kept for kept in found if kept is not None]

    def _files(self) -> list[_File]:
        found = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                if (name := _NAME.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError):
                        size = entry.stat().st_size
                        found.append(_File(Path(entry.path), name["replica"], int(name["number"]), size))
        return found

    def _bound(self, files: list[_File], newest: Path) -> None:
        """Remove the oldest of a replica, then the oldest of all, and what a kill has left half-written."""
        files.sort(key=lambda file: file.number, reverse=True)
        of: dict[str, int] = {}
        count = size = 0
        for file in files:
            of[file.replica] = of.get(file.replica, 0) + 1
            fits = (
                of[file.replica] <= self._per_replica
                and count < self._all_files
                and size + file.size <= self._all_bytes
            )
            if fits or file.path == newest:
                count, size = count + 1, size + file.size
            else:
                file.path.unlink(missing_ok=True)
        for draft in self.folder.glob("*.new"):
            draft.unlink(missing_ok=True)


def _replica_name(runner: RunnerId) -> str:
    return f"{runner.key.slug}-{runner.replica}"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _head_of(run: EndedRun) -> bytes:
    key, replica, generation = run.runner
    head = {"runner": [*key, replica, generation], "ended_at": run.ended_at, "how": run.how[:2000]}
    return json.dumps(head).encode() + b"\n"


def _read(file: _File) -> KeptRun | None:
    try:
        with file.path.open("rb") as opened:
            line = opened.readline(_HEAD_BYTES)
        head = json.loads(line)
        pipeline, model_id, replica, generation = head["runner"]
        runner = RunnerId(ModelKey(str(pipeline), str(model_id)), int(replica), str(generation))
        ended_at = float(head["ended_at"])
        time.localtime(ended_at)
        run = EndedRun(runner, ended_at, str(head["how"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):  # Not written by us.
        return None
    return KeptRun(run, file.number, str(file.path), len(line)) if _replica_name(runner) == file.replica else None

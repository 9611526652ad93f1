"""Log files of process runners: written by the children themselves, so they go on when orchd is gone.

A file over its bound is cut in place to its last half: the writers hold it open with O_APPEND and go on at its new
end. What they write in the very moment of the cut may be lost.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import structlog

from orchd.reasons import why
from orchd.runtime.log_files import PIECE, size_of, tail_from

log = structlog.get_logger("orchd.runtime")

TAIL_BYTES = 65536
LINE_CHARS = 500
LINE_SEARCH_BYTES = 4096
ROOM_BYTES = 65536
"""With less room on its disk no log is begun."""
KEPT = 50
"""Files of runners that are gone; the oldest beyond that are deleted."""


class Logs:
    """The log files of processes, each of bounded size.

    Attributes:
        folder: holds `<runner name>.log`.
        max_bytes: bound of one file.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._cut_off: dict[str, int] = {}  # Bytes that cuts have taken from the beginning of a file.

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def open_for(self, name: str) -> tuple[int, int]:
        """Return a descriptor for a child to append to, and the place in the log where its lines will begin.

        Places count from the first byte that the file had while orchd runs; a cut does not move them.

        The folder is made if it is missing, or was removed. Where there can be no file (a full disk), the runner runs
        without: what it serves matters more than what it says.
        """
        path = self.path(name)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            disk = os.statvfs(self.folder)
            if disk.f_bavail * disk.f_frsize < ROOM_BYTES:  # Most programs end when they can't print.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            log.warning("runner_log_not_kept", path=str(path), error=exc.strerror)
            return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 0
        return fd, self._cut_off.get(name, 0) + os.fstat(fd).st_size

    def tail(self, name: str, lines: int, since: int) -> tuple[str, ...]:
        """Return the last lines after the place `since`, oldest first, each at most 500 characters."""
        since -= self._cut_off.get(name, 0)
        try:
            with self.path(name).open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                # A file smaller than `since` was cut meanwhile.
                file.seek(max(size - TAIL_BYTES, since if since <= size else 0, 0))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return ()
        return tuple(line[:LINE_CHARS] for line in text.splitlines()[-lines:])

    def place_of_tail(self, name: str, since: int, lines: int | None, most: int | None = None) -> int:
        """Return the place where the last lines after the place `since` begin, of the last `most` bytes if given.

        Raises:
            FileNotFoundError: there is no such log.
        """
        cut_off = self._cut_off.get(name, 0)
        with self.path(name).open("rb") as file:
            size = size_of(file)
            since -= cut_off
            start = since if 0 <= since <= size else 0
            if most is not None:
                start = max(start, size - most)
            return cut_off + tail_from(file, start, size, lines)

    def read(self, name: str, place: int) -> tuple[bytes, int]:
        """Return the next piece from this place on, and the place behind it; no bytes if nothing has come yet."""
        cut_off = self._cut_off.get(name, 0)
        try:
            with self.path(name).open("rb") as file:
                place = max(place, cut_off)
                file.seek(place - cut_off)
                piece = file.read(PIECE)
        except FileNotFoundError:
            return b"", place
        return piece, place + len(piece)

    def size(self, name: str) -> int:
        """Return how many bytes there are; 0 without a file."""
        try:
            return self.path(name).stat().st_size
        except FileNotFoundError:
            return 0

    def remove(self, name: str) -> None:
        """Remove a log that is kept elsewhere."""
        self.path(name).unlink(missing_ok=True)
        self._cut_off.pop(name, None)

    def bound(self, alive: frozenset[str]) -> None:
        """Cut files that are too long, delete the oldest of those whose runners are not `alive`."""
        gone = []
        for path in self.folder.glob("*.log"):
            try:
                self._cut(path)
                if path.stem not in alive:
                    gone.append((path.stat().st_mtime, path))
            except OSError as exc:
                log.warning("runner_log_not_bounded", path=str(path), error=why(exc))
        for _, path in sorted(gone, reverse=True)[KEPT:]:
            try:
                path.unlink(missing_ok=True)
            except OSError as exc:
                log.warning("runner_log_not_removed", path=str(path), error=why(exc))

    def _cut(self, path: Path) -> None:
        size = path.stat().st_size
        if size <= self.max_bytes:
            return
        with path.open("rb") as file:
            file.seek(-(self.max_bytes // 2), os.SEEK_END)
            kept = file.read(self.max_bytes // 2)
        # Begin with a whole line, where there is one near: a progress bar may never end its line.
        kept = kept[kept.find(b"\n", 0, min(LINE_SEARCH_BYTES, self.max_bytes // 8)) + 1 :]
        with path.open("ab") as file:
            file.truncate(0)
            file.write(kept)
        self._cut_off[path.stem] = self._cut_off.get(path.stem, 0) + size - len(kept)

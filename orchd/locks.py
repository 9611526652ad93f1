"""The lock of a state directory: one daemon per directory. The system releases it when the process ends, however."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from orchd.errors import AlreadyRunning, SettingsError


class StateLock:
    """A lock on a file, held from `acquire` until `release` or until the process ends, by a kill -9 too."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "lock"
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock; make the state directory (0700) if missing.

        Raises:
            AlreadyRunning: another daemon has it.
            SettingsError: the directory can't be made or written.
        """
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise SettingsError(
                f"cannot use state directory {self._path.parent}: {exc.strerror}; name another one with --state-dir"
            ) from exc
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            holder = os.read(fd, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise AlreadyRunning(
                f"cannot use state directory {self._path.parent}: another orchd (pid {holder}) runs on it; "
                "stop that one, or give this one a --state-dir of its own"
            ) from exc
        self._fd = fd
        with contextlib.suppress(OSError):  # A full disk: the lock is held; only the holder's pid can't be read there.
            os.ftruncate(fd, 0)
            os.write(fd, f"{os.getpid()}\n".encode())

    def keep(self) -> bool:
        """Take the lock again if its file was removed, since that file would lock nobody out; return whether it was.

        Raises:
            AlreadyRunning: another daemon took it first.
            SettingsError: as `acquire`.
        """
        if self._fd is None:
            return False
        try:
            there = self._path.stat()
        except FileNotFoundError:
            pass
        else:
            ours = os.fstat(self._fd)
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return False
        former = self._fd
        self.acquire()
        os.close(former)
        return True

    def release(self) -> None:
        """Release the lock. The file stays: if it were removed, two daemons could lock two files of the same name."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

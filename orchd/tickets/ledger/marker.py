"""EDGE. A small file beside the database that knows how far the ledger has got.

The database may be put back from a backup, and then knows nothing of the nonces that were used since. The marker is not
part of it: if the marker is ahead, the ledger is old. It is written after each transaction, before anybody is told of
it, without waiting for the disk: so it outlives a kill -9, and a power cut costs at most what was not synced.
"""

from __future__ import annotations

import os
import struct
import threading
from contextlib import suppress
from pathlib import Path

import structlog

from orchd.errors import StoreError, reason_of

log = structlog.get_logger("orchd.ledger")

_FORM = struct.Struct("<8s16sQ")
_MAGIC = b"orchd-l1"
_COUNTER = struct.Struct("<Q")
_COUNTER_AT = _FORM.size - _COUNTER.size
ID_BYTES = 16


class Marker:
    """The counter of one ledger's transactions, in a file of its own. Any thread may call it.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()  # What is written must not go to a file that is being closed.
        self._fd = -1
        self._ledger = b""
        self._counter = 0
        self._synced = 0

    def read(self, ledger: bytes) -> int | None:
        """Return how far this ledger had got; None = there is no marker of it.

        Args:
            ledger: its id, 16 bytes.

        Raises:
            StoreError: it can't be read.
        """
        try:
            found = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise StoreError(f"cannot read the ledger's marker {self._path}: {reason_of(exc)}") from exc
        if len(found) != _FORM.size:
            return None
        magic, of, counter = _FORM.unpack(found)
        return counter if (magic, of) == (_MAGIC, ledger) else None

    def open(self, ledger: bytes, counter: int) -> None:
        """Write it as a whole, on the disk when this returns, and keep it open. Blocks.

        Raises:
            StoreError: it can't be written.
        """
        self._ledger, self._counter = ledger, counter
        draft = self._path.with_name(f"{self._path.name}.draft")
        fd = -1
        try:
            fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            os.fchmod(fd, 0o600)
            os.pwrite(fd, _FORM.pack(_MAGIC, ledger, counter), 0)
            os.fsync(fd)
            draft.rename(self._path)
            _sync_folder(self._path.parent)
        except OSError as exc:
            if fd != -1:
                os.close(fd)
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise self._unwritable(exc) from exc
        self._use(fd)
        self._synced = counter

    def advance(self, counter: int) -> None:
        """Note how far the ledger has got. Does not wait for the disk."""
        self._counter = counter
        with self._lock:
            if self._fd == -1:
                return
            try:
                os.pwrite(self._fd, _COUNTER.pack(counter), _COUNTER_AT)
            except OSError as exc:
                log.warning("ledger_marker_behind", path=str(self._path), reason=reason_of(exc))

    def sync(self) -> None:
        """Put it on the disk; write it again if it could not be written before, or if somebody has removed it. Blocks.

        Raises:
            StoreError: that does not work.
        """
        with self._lock:
            fd = os.dup(self._fd) if self._fd != -1 else -1
        try:
            if fd != -1 and self._path.exists() and os.path.samestat(self._path.stat(), os.fstat(fd)):
                counter = self._counter
                if counter != self._synced:
                    os.fdatasync(fd)
                    self._synced = counter
                return
        except OSError as exc:
            raise self._unwritable(exc) from exc
        finally:
            if fd != -1:
                os.close(fd)
        self.open(self._ledger, self._counter)

    def require_open(self) -> None:
        """Check that it can be advanced.

        Raises:
            StoreError: it could not be written.
        """
        if self._fd == -1:
            raise StoreError(f"cannot book anything: the ledger's marker {self._path} could not be written")

    def close(self) -> None:
        """Let go of the file. Repeats are fine."""
        self._use(-1)

    def _use(self, fd: int) -> None:
        with self._lock:
            if self._fd != -1:
                os.close(self._fd)
            self._fd = fd

    def _unwritable(self, exc: OSError) -> StoreError:
        return StoreError(f"cannot write the ledger's marker {self._path}: {reason_of(exc)}")


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

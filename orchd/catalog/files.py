"""EDGE: reads the models file and those that its entries name, and says what the host lacks. All of it blocks."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchd.catalog.parse import MAX_BYTES
from orchd.domain.state import Problem, Severity
from orchd.errors import Code, reason_of
from orchd.mounts import in_container, is_mount_point, is_private, read_mounts

MAX_SIDE_BYTES = 1024 * 1024
"""Largest size of a file that an entry names."""
READ_TIMEOUT_S = 10.0
"""Timeout in seconds for all reads of one look at the file; after it, its file system counts as hung."""


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a file, as it was read.

    Attributes:
        readable_by_others: by its mode; not part of what makes two contents differ.
    """

    data: bytes = field(repr=False)
    readable_by_others: bool = field(default=False, compare=False)


def read_models_file(path: Path) -> Content | Problem:
    """Return the file's content, or why it can't be had. Blocks; a file that is too large is not read."""
    try:
        data, mode = _read(path, MAX_BYTES)
    except FileNotFoundError as exc:
        return unreadable(path, f"{reason_of(exc)}; make it, or name another one by the setting models_file")
    except OSError as exc:
        return unreadable(path, reason_of(exc))
    return Content(data, bool(mode & stat.S_IROTH))


def unreadable(path: Path, why: str) -> Problem:
    """Return the problem of a file that can't be read."""
    return Problem(Severity.ERROR, Code.FILE_UNREADABLE, f"cannot read the file: {why}", str(path))


def hangs(timeout_s: float) -> str:
    """Return why nothing can be read from a file system that does not answer."""
    return f"its file system has not answered for {timeout_s:g} s (a network mount that hangs?)"


def mounted_alone(path: Path) -> Problem | None:
    """Return a warning if the file is a mount by itself: then most edits of it will never be seen here. Blocks."""
    if not is_mount_point(os.path.realpath(path), read_mounts()):
        return None
    what = (
        "this file is mounted by itself: an editor that replaces the file, as most do, leaves the former one mounted "
        "here, and orchd never sees the edit; mount the folder that holds it in its place"
    )
    return Problem(Severity.WARNING, Code.FILE_UNREADABLE, what, str(path))


def side_reader(folder: Path, credentials: Path | None) -> Callable[[str], str]:
    """Return the reader of files that entries name: relative ones in `credentials` first, then in `folder`.

    Its OSErrors bear the path that was tried last.
    """

    def read_text(name: str) -> str:
        path = folder / name
        if credentials and (credentials / name).is_file():
            path = credentials / name
        try:
            return _read(path, MAX_SIDE_BYTES)[0].decode()
        except OSError as exc:
            raise OSError(exc.errno, reason_of(exc), str(path)) from exc

    return read_text


def host_lacks(env: Mapping[str, str], *, contained: bool | None = None) -> Callable[[str], str | None]:
    """Return what tells which path the engine's host lacks, by looking at our own files.

    Nothing is known where the engine is another machine's, or orchd runs in a container, or systemd shows us something
    else there. Blocks.

    Args:
        contained: orchd runs in a container; None = find out.
    """
    engine = env.get("DOCKER_HOST", "")
    elsewhere = bool(engine) and not engine.startswith(("unix:", "/"))
    if elsewhere or (in_container() if contained is None else contained):
        return lambda path: None
    mounts = read_mounts()

    def lacks(path: str) -> str | None:
        real = os.path.realpath(path)
        try:
            Path(real).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None if is_private(real, mounts) else real
        except OSError:
            return None  # it is there, or only the engine can know
        return None

    return lacks


def _read(path: Path, limit: int) -> tuple[bytes, int]:
    """Return content and mode of a regular file.

    Raises:
        OSError: it can't be read, is not a regular file, or is larger than `limit`.
    """
    # O_NONBLOCK: opening a pipe must not wait for its writer.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as exc:
        # No number: `reason_of` has words of its own for each.
        raise OSError(0, f"{reason_of(exc)} (as user {os.geteuid()}, for it or its folder)") from exc
    except ValueError as exc:
        raise OSError(0, "the path holds a NUL character") from exc
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(0, "it is not a regular file")
        # One more than allowed: it may grow while it is read.
        data = b""
        while about.st_size <= limit and len(data) <= limit and (piece := os.read(descriptor, limit + 1 - len(data))):
            data += piece
    finally:
        os.close(descriptor)
    if about.st_size > limit or len(data) > limit:
        raise OSError(0, f"it is larger than {limit >> 20} MiB")
    return data, about.st_mode

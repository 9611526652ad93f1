"""EDGE: the file itself. Reads it, and notices when it changes.

What counts is the content: whatever happens around the file (rename, symlink swap, a folder that comes and goes), it
is read again and compared. watchfiles (inotify) only says when to look; every `poll_s` we look anyway, since network
mounts report nothing. Not the file is watched but the folders of everything that its path passes through: editors and
mounts replace files, and Kubernetes swaps a symlink two steps away.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import structlog
from watchfiles import Change, awatch

from orchd.catalog.parse import MAX_BYTES
from orchd.domain.state import Problem, Severity
from orchd.errors import Code, reason_of
from orchd.mounts import in_container, is_mount_point, is_private, read_mounts
from orchd.tasks import cancel, spawn
from orchd.threads import DaemonThreads

T = TypeVar("T")

log = structlog.get_logger("orchd.catalog")

MAX_SIDE_BYTES = 1024 * 1024
"""Largest size of a file that an entry names."""
READ_TIMEOUT_S = 10.0
"""Timeout in seconds for all reads of one look at the file; after it, its file system counts as hung."""
_MAX_LINKS = 40
_DEBOUNCE_MS, _STEP_MS = 60, 20


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a file, as it was read.

    Attributes:
        readable_by_others: by its mode; not part of what makes two contents differ.
    """

    data: bytes = field(repr=False)
    readable_by_others: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Places:
    """What to watch.

    Attributes:
        points: real paths whose change can change the content: the file, and symlinks on the way to it; or the first
            thing on the way that is missing.
        folders: those that hold the points, each with its inode number (a folder may be replaced by another).
    """

    points: frozenset[str]
    folders: frozenset[tuple[str, int]]


Watcher = Callable[[Places], AsyncIterator[object]]
"""Yields whenever something happened to one of the places."""


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


class ModelsFile:
    """One path, and what was last read there.

    Its file system may hang, so it is read on a thread of its own, one call at a time; the exit does not wait for that.

    Args:
        poll_s: the file is looked at this often, whatever the watcher says.
        timeout_s: longest time for a read.

    Attributes:
        retry: have `changes` yield the content at each poll even if it is as before: what it names may be there by now.
    """

    def __init__(
        self, path: Path, poll_s: float, watcher: Watcher | None = None, timeout_s: float = READ_TIMEOUT_S
    ) -> None:
        self.path = path.absolute()
        self._poll_s = poll_s
        self._watcher = watcher or _inotify
        self.timeout_s = timeout_s
        self._threads = DaemonThreads("models-file")
        self._given: Content | Problem | None = None
        self.retry = False
        self._again = False
        self._hurry = asyncio.Event()

    def again(self) -> None:
        """Have `changes` yield what is there even if it is as before: what it names may have changed."""
        self._again = True
        self._hurry.set()

    def close(self) -> None:
        """Let the thread end; what hangs on it is not waited for."""
        self._threads.close()

    async def apart(self, work: Callable[[], T]) -> T:
        """Call `work`, which reads from where the file lies, on the thread for that.

        Raises:
            TimeoutError: not done in time, or a former call still hangs.
        """
        return await self._threads.run(work, self.timeout_s)

    async def read(self) -> Content | Problem:
        """Return what is there now. `changes` then starts from it."""
        try:
            self._given = await self.apart(lambda: read_models_file(self.path))
        except TimeoutError:
            self._given = unreadable(self.path, hangs(self.timeout_s))
        return self._given

    async def _places(self, known: Places | None) -> Places:
        try:
            return await self.apart(lambda: _places(self.path))
        except TimeoutError:
            return known or Places(frozenset(), frozenset())

    async def changes(self) -> AsyncGenerator[Content | Problem, None]:
        """Yield what is there whenever it differs from what was last given, or `again` was called. Never ends."""
        hurry = self._hurry
        watching: asyncio.Task[None] | None = None
        watched: Places | None = None
        try:
            while True:
                places = await self._places(watched)
                if watching is None or watching.done() or places != watched:
                    if watching:
                        await cancel(watching)
                    watching, watched = spawn(self._watch(places, hurry), name="models-file-watch"), places
                    await asyncio.sleep(0)  # it is watched from here on: what happens after this read is not missed
                hurry.clear()
                before = self._given
                again, self._again = self._again, False
                if await self.read() != before or again:
                    assert self._given is not None
                    yield self._given
                    continue  # it may have changed while the reader of this was busy
                try:
                    async with asyncio.timeout(self._poll_s):
                        await hurry.wait()
                except TimeoutError:
                    self._again = self._again or self.retry
        finally:
            if watching:
                await cancel(watching)

    async def _watch(self, places: Places, hurry: asyncio.Event) -> None:
        try:
            async for _ in self._watcher(places):
                hurry.set()
        except Exception as exc:  # noqa: BLE001 - whatever stops the watcher: polling goes on
            log.debug("models_file_not_watched", file=str(self.path), error=repr(exc))


async def _inotify(places: Places) -> AsyncIterator[object]:
    folders = {folder for folder, _ in places.folders}

    def matters(_: Change, path: str) -> bool:
        return path in places.points or path in folders

    async for change in awatch(*folders, watch_filter=matters, debounce=_DEBOUNCE_MS, step=_STEP_MS, recursive=False):
        yield change


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


def _places(path: Path) -> Places:
    """Walk `path` as the system does, one name at a time, and note what the walk depends on."""
    points: set[str] = set()
    at, names, links = Path("/"), deque(path.parts[1:]), 0
    while names:
        name = names.popleft()
        step = at.parent if name == ".." else at / name
        try:
            target = step.readlink() if step.is_symlink() else None
            there = target is not None or step.exists()
        except OSError:
            target, there = None, False
        if target is not None and links < _MAX_LINKS:
            links += 1
            points.add(str(step))
            names.extendleft(reversed(target.parts[1:] if target.is_absolute() else target.parts))
            at = Path("/") if target.is_absolute() else at
        elif not there or not names:
            points.add(str(step))
            break
        else:
            at = step
    return Places(frozenset(points), frozenset(filter(None, map(_folder, points))))


def _folder(point: str) -> tuple[str, int] | None:
    folder = Path(point).parent
    try:
        return str(folder), folder.stat().st_ino
    except OSError:
        return None

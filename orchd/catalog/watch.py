"""EDGE: notices when the models file changes. What reads it is in `files.py`.

What counts is the content: whatever happens around the file (rename, symlink swap, a folder that comes and goes), it
is read again and compared. watchfiles (inotify) only says when to look; every `poll_s` we look anyway, since network
mounts report nothing. Not the file is watched but the folders of everything that its path passes through: editors and
mounts replace files, and Kubernetes swaps a symlink two steps away.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog
from watchfiles import Change, awatch

from orchd.catalog.files import READ_TIMEOUT_S, Content, hangs, read_models_file, unreadable
from orchd.domain.state import Problem
from orchd.tasks import cancel, spawn
from orchd.threads import DaemonThreads

T = TypeVar("T")

log = structlog.get_logger("orchd.catalog")

_MAX_LINKS = 40
_DEBOUNCE_MS, _STEP_MS = 60, 20


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

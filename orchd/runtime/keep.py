"""Keeps the logs of runners that have ended, off the event loop, and within a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO, TypeVar

import structlog

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.redact import Scrubber
from orchd.domain.runs import EndedRun, KeptRun
from orchd.errors import OrchdError
from orchd.reasons import why
from orchd.runtime.kept_logs import FOLDER, LOG_BYTES, KeptLogs
from orchd.runtime.log_files import pieces, size_of, tail_from
from orchd.threads import DaemonThreads

log = structlog.get_logger("orchd.runtime")

T = TypeVar("T")

KEEP_TIMEOUT_S = 5.0
"""Most seconds that the removal of a runner waits for its log to be kept: an engine or a disk that hangs loses it."""
LINE_SEARCH_BYTES = 4096
READERS = 4
READ_TIMEOUT_S = 10.0
"""Reading a piece of a file takes milliseconds; longer means that the disk hangs."""


class LogKeeper:
    """Keeps logs in the state directory. Nothing here raises: a log that can't be kept is said so in our own."""

    def __init__(self, state_dir: Path, timeout_s: float = KEEP_TIMEOUT_S) -> None:
        self._kept = KeptLogs(state_dir / FOLDER)
        self._threads = DaemonThreads("ended-logs")
        self._timeout_s = timeout_s

    async def keep(self, run: EndedRun, secrets: Collection[str], pieces: AsyncGenerator[bytes, None]) -> bool:
        """Keep the last of what `pieces` yields; return whether that was done."""
        try:
            async with asyncio.timeout(self._timeout_s):
                text = await _last_of(pieces, Scrubber(secrets))
                await self._threads.run(lambda: self._kept.keep(run, text), self._timeout_s)
        except (OSError, OrchdError) as exc:  # A time limit passed is an OSError.
            reason = exc.message if isinstance(exc, OrchdError) else why(exc)
            log.warning("ended_log_not_kept", runner=str(run.runner), folder=str(self._kept.folder), error=reason)
            return False
        return True

    async def has_kept(self, runner: RunnerId, written_at: float) -> bool:
        """Return whether a log of the runner was kept after that time (Unix time). Raises OSError."""

        def look() -> bool:
            mine = [kept for kept in self._kept.runs(runner.key) if kept.run.runner == runner]
            return any(Path(kept.file).stat().st_mtime >= written_at for kept in mine)

        return await self._threads.run(look, self._timeout_s)

    def close(self) -> None:
        """Take no more."""
        self._threads.close()


class KeptReader:
    """After `ports.KeptRuns`."""

    def __init__(self, state_dir: Path) -> None:
        self._kept = KeptLogs(state_dir / FOLDER)
        self._threads = DaemonThreads("ended-log-reads", READERS)

    async def runs(self, key: ModelKey) -> list[KeptRun]:
        return await self._run(lambda: self._kept.runs(key))

    async def models(self) -> set[ModelKey]:
        return await self._run(self._kept.models)

    async def read(self, kept: KeptRun, lines: int | None) -> AsyncGenerator[bytes, None]:
        try:
            file = await self._run(lambda: _opened(kept.file))
        except FileNotFoundError:
            return  # Newer ones have pushed it out just now.
        with file:
            found = pieces(file, *await self._run(lambda: _part(file, kept, lines)))
            while piece := await self._run(lambda: next(found, b"")):
                yield piece

    def close(self) -> None:
        """Read no more."""
        self._threads.close()

    async def _run(self, work: Callable[[], T]) -> T:
        return await self._threads.run(work, READ_TIMEOUT_S)


def _opened(path: str) -> BinaryIO:
    return Path(path).open("rb")


def _part(file: BinaryIO, kept: KeptRun, lines: int | None) -> tuple[int, int]:
    end = size_of(file)
    return tail_from(file, kept.log_at, end, lines), end


async def _last_of(pieces: AsyncGenerator[bytes, None], scrubber: Scrubber) -> bytes:
    """Return the last of a log, without secrets, beginning with a whole line where there is one near."""
    text, whole = bytearray(), True
    async with aclosing(pieces):
        async for piece in pieces:
            text += scrubber.feed(piece)
            if len(text) > 2 * LOG_BYTES:
                del text[:-LOG_BYTES]
                whole = False
    text += scrubber.end()
    if whole and len(text) <= LOG_BYTES:
        return bytes(text)
    last = bytes(text[-LOG_BYTES:])
    return last[last.find(b"\n", 0, LINE_SEARCH_BYTES) + 1 :]

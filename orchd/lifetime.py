"""The life of a list of parts: started in order, watched, drained and closed in reverse. It knows no part by name.

Each part whose `open` was begun is closed once, the last one first, however the life ends: after a stop, after an
error in `open`, after a root task has ended, after a cancellation. An error while one part drains or closes keeps no
other part from doing so: it is logged as `part_failed`, and raised when all have closed, unless another one is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import structlog

from orchd import tasks
from orchd.domain.redact import scrub
from orchd.errors import OrchdError
from orchd.part import Part

log = structlog.get_logger("orchd.lifetime")


class Stage(StrEnum):
    """How far the life of the parts has gone; it only goes on, in this order."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    """`drain` was called: nothing new is taken, and the parts live on."""
    ENDING = "ending"
    """It was stopped, or a root task has ended: everything is drained."""
    CLOSING = "closing"


_ORDER = tuple(Stage)


class Lifetime:
    """Lives once.

    Args:
        parts: in start order: each uses only those before it.
        drain_s: how long what runs may go on once it is stopped, in seconds; one deadline for all parts.
        on_stage: called with each stage that `run` begins.
    """

    def __init__(
        self, parts: Sequence[Part], drain_s: float, on_stage: Callable[[Stage], None] = lambda stage: None
    ) -> None:
        self._parts = parts
        self._drain_s = drain_s
        self._on_stage = on_stage
        self._begun: list[Part] = []
        self._roots: dict[asyncio.Task[Any], Part] = {}
        self._withdrawn: set[Part] = set()
        self._draining: Part | None = None
        self._failures: list[BaseException] = []
        self.stage = Stage.STARTING

    def is_running(self) -> bool:
        """Return whether everything has started and nothing has been stopped."""
        return self.stage is Stage.RUNNING

    def waits_for(self) -> str:
        """Return in words what keeps the parts from having ended, after a stop."""
        if self.stage is Stage.CLOSING:
            return "its connections to be closed"
        if self._draining is not None:
            return self._draining.waits_for() or f"{self._draining.name} to end"
        return "its start, which goes first"

    async def run(self, stop: asyncio.Event) -> None:
        """Live from `open` of the first part to its `close`; returns once `stop` is set and all have ended.

        Args:
            stop: is looked at when everything has started: a start is not broken off by it.

        Raises:
            OrchdError: a part can't be opened, or a root task has ended; the parts were closed.
        """
        try:
            await self._open()
            whole = await self._start()
            try:
                if whole:
                    self._begin(Stage.RUNNING)
                await self._watch(stop)
            finally:
                self._begin(Stage.ENDING)
                await self.drain()
                self._begin(Stage.CLOSING)
        finally:
            await self._close()
        if self._failures:
            raise self._failures[0]

    async def drain(self, above: Part | None = None) -> None:
        """Have the parts withdraw, then end what runs, the last part first. Repeats are fine.

        Args:
            above: only the parts that start after this one; None = all.
        """
        self.stage = max(self.stage, Stage.DRAINING, key=_ORDER.index)
        first = 0 if above is None else self._parts.index(above) + 1
        parts = [part for part in reversed(self._parts[first:]) if part in self._begun]
        for part in parts:
            self._draining = part
            self._withdrawn.add(part)
            if part.roots_end_first:
                await tasks.cancel(*self._roots_of(part))
            with self._noted(part, Exception):
                await part.withdraw()
        deadline = asyncio.get_running_loop().time() + self._drain_s
        for part in parts:
            self._draining = part
            with self._noted(part, Exception):
                await part.drain(deadline)

    def _begin(self, stage: Stage) -> None:
        self.stage = stage
        self._on_stage(stage)

    async def _open(self) -> None:
        for part in self._parts:
            self._begun.append(part)
            await part.open()

    async def _start(self) -> bool:
        """Start the parts; return False as soon as a root task has ended: then it is not worth going on."""
        for part in self._parts:
            if not await self._goes_on(part):
                return False
            for name, work in part.roots().items():
                self._roots[tasks.spawn(work, name=name)] = part
        return True

    async def _goes_on(self, part: Part) -> bool:
        starting = tasks.spawn(part.start(), name=f"start {part.name}")
        try:
            await asyncio.wait({starting, *self._roots}, return_when=asyncio.FIRST_COMPLETED)
            if any(root.done() for root in self._roots):
                return False
            starting.result()
        finally:
            await tasks.cancel(starting)
        return True

    async def _watch(self, stop: asyncio.Event) -> None:
        stopped = tasks.spawn(stop.wait(), name="wait for the end")
        left = {stopped, *self._roots}
        try:
            while not stopped.done():
                done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
                for task in done - {stopped}:
                    if self._roots[task] not in self._withdrawn or _failed(task):
                        raise _failure(task)
        finally:
            await tasks.cancel(stopped)

    async def _close(self) -> None:
        # Even if this is cancelled in the middle: what is not closed here is lost.
        for part in reversed(self._begun):
            with self._noted(part, BaseException):
                await tasks.cancel(*self._roots_of(part))
        for part in reversed(self._begun):
            with self._noted(part, BaseException):
                await part.close()

    @contextmanager
    def _noted(self, part: Part, kind: type[BaseException]) -> Iterator[None]:
        """Go on after an error of this kind: it is logged, and raised at the end."""
        try:
            yield
        except kind as exc:
            log.error("part_failed", part=part.name, stage=self.stage, error=scrub(repr(exc)), exc_info=exc)
            self._failures.append(exc)

    def _roots_of(self, part: Part) -> Iterable[asyncio.Task[Any]]:
        return [task for task, owner in self._roots.items() if owner is part]


def _failed(task: asyncio.Task[Any]) -> bool:
    return not task.cancelled() and task.exception() is not None


def _failure(task: asyncio.Task[Any]) -> Exception:
    """Return what to raise when a root task has ended: none of them ever should."""
    error = None if task.cancelled() else task.exception()
    if isinstance(error, OrchdError):
        return error
    how = f"failed: {scrub(repr(error))}" if error is not None else "was cancelled" if task.cancelled() else "ended"
    failure = OrchdError(f"cannot go on: orchd's task {task.get_name()!r} {how}; this is a bug, the log has more")
    failure.__cause__ = error
    return failure

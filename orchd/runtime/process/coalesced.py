"""One costly look for all who ask for it at about the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from orchd import tasks
from orchd.errors import OrchdError

T = TypeVar("T")

REST = 2.0
"""Rest after a look, in times of what it took: looks that follow one another take a third of the time at most."""
REST_MAX_S = 0.5


class Coalesced(Generic[T]):
    """Calls `look`, one call at a time; what it returns serves all who asked before it began.

    Args:
        name: of the task that looks.
    """

    def __init__(self, look: Callable[[], Awaitable[T]], name: str) -> None:
        self._look = look
        self._name = name
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[T | OrchdError] | None = None
        self._free_at = 0.0

    async def get(self) -> T:
        """Return what a look that began after this call has found, or raise the OrchdError that it raised."""
        if self._next is None:
            self._next = tasks.spawn(self._run(), name=self._name)
        found = await asyncio.shield(self._next)
        if isinstance(found, OrchdError):
            raise found
        return found

    async def close(self) -> None:
        """Give up what has not begun."""
        if self._next is not None:
            await tasks.cancel(self._next)

    async def _run(self) -> T | OrchdError:
        loop = asyncio.get_running_loop()
        async with self._turn:
            await asyncio.sleep(self._free_at - loop.time())
            self._next = None  # Who asks from now on may want to know of what happens from now on.
            began = loop.time()
            try:
                return await self._look()
            except OrchdError as error:
                return error
            finally:
                ended = loop.time()
                self._free_at = ended + min(REST * (ended - began), REST_MAX_S)

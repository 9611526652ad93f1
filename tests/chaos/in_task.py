"""A whole orchd as a task of the test's process, whatever it was started with."""

from __future__ import annotations

import asyncio

from orchd import tasks
from orchd.app import App
from orchd.domain.ids import ModelKey
from orchd.part import Part
from orchd.sessions.part import SessionsPart


class OrchdInTask:
    """How it ends, and what it holds.

    Attributes:
        app: None = it does not run.
    """

    app: App | None
    _task: asyncio.Task[None] | None

    async def stop(self) -> None:
        """End it as SIGTERM does."""
        if self.app is not None and self._task is not None:
            self.app.stop()
            await self._task
            self.app = self._task = None

    async def kill(self) -> None:
        """End it as SIGKILL does: its connections are cut, and nothing more is said or written."""

        async def nothing(above: Part | None = None) -> None: ...

        assert self.app is not None
        assert self._task is not None
        self.app._lifetime.drain = nothing  # type: ignore[method-assign]
        await tasks.cancel(self._task)
        self.app = self._task = None

    def slots_taken(self, key: ModelKey) -> int:
        """Return how many slots of a model are taken."""
        assert self.app is not None
        return self.app.part(SessionsPart).table.active(key)

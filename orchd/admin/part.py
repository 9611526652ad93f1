"""The admin pages, as a part."""

from __future__ import annotations

from collections.abc import Callable

from orchd.admin.server import AdminServer
from orchd.domain.state import Snapshot
from orchd.part import Context, Part


class AdminPart(Part):
    """Args:
    snapshot: returns the newest one, with what all parts know.
    accepting: returns whether jobs are taken.
    """

    name = "admin"

    def __init__(self, context: Context, snapshot: Callable[[], Snapshot], accepting: Callable[[], bool]) -> None:
        self._context = context
        self._snapshot = snapshot
        self._accepting = accepting
        self._server: AdminServer | None = None

    async def open(self) -> None:
        self._server = AdminServer(
            self._context.settings.admin,
            snapshot=self._snapshot,
            metrics=self._context.metrics,
            accepting=self._accepting,
        )
        await self._server.start()

    async def close(self) -> None:
        if self._server is not None:
            await self._server.close()

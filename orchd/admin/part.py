"""The admin pages, as a part."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from orchd import __version__
from orchd.admin.server import AdminServer
from orchd.domain.state import DaemonStatus, Snapshot
from orchd.part import Context, Part
from orchd.reconcile.ports import Reconciler
from orchd.status_face import status_faces


class AdminPart(Part):
    """Shows people and Prometheus how orchd is.

    Args:
        accepting: returns whether jobs are taken.
        shown: what parts below the reconciler add to each snapshot, which they can't do by themselves.
    """

    name = "admin"

    def __init__(
        self,
        context: Context,
        reconcile: Reconciler,
        accepting: Callable[[], bool],
        shown: Sequence[Callable[[Snapshot], Snapshot]] = (),
    ) -> None:
        self._context = context
        self._reconcile = reconcile
        self._accepting = accepting
        self._shown = shown
        self._server: AdminServer | None = None

    async def open(self) -> None:
        status_faces()  # Imports them now: at the first /status it would hold up jobs for 10 ms.
        self._server = AdminServer(
            self._context.settings.admin,
            snapshot=self._reconcile.snapshots.fresh,
            metrics=self._context.metrics,
            accepting=self._accepting,
        )
        await self._server.start()
        daemon = DaemonStatus(
            __version__, self._context.settings.instance, os.getpid(), time.time(), self._server.listen
        )
        self._reconcile.snapshots.contribute(whole=lambda snapshot: replace(snapshot, daemon=daemon))
        for show in self._shown:
            self._reconcile.snapshots.contribute(whole=show)

    async def close(self) -> None:
        if self._server is not None:
            await self._server.close()

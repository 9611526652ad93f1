"""What the daemon does for `orchd restart`."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from orchd.control.orders import Asker, Json, text_of
from orchd.history.ports import History, Kind
from orchd.reconcile.ports import Reconciler
from orchd.status_view import find_model


class Restart:
    """Asks for the restart of a model."""

    def __init__(self, reconcile: Reconciler, history: History) -> None:
        self._reconcile = reconcile
        self._history = history

    async def run(self, order: Json, by: Asker) -> AsyncGenerator[Json, None]:
        """Yield the full name of the model `order["model"]`, whose restart has begun.

        Raises:
            OrchdError: `unknown_target`.
        """
        key = find_model(text_of(order, "model"), self._reconcile.loop.models())
        self._history.note(Kind.RESTART_ASKED, "", about=key, by=str(by))
        await self._reconcile.restart(key)
        yield {"model": str(key)}

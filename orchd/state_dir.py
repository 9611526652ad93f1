"""Makes what orchd needs in its state directory again if somebody has removed it while orchd runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from orchd.errors import OrchdError
from orchd.part import Context, Part, Roots
from orchd.reasons import why

log = structlog.get_logger("orchd.state")


async def keep_all(things: Mapping[str, Callable[[], Awaitable[bool | None]]], period_s: float) -> None:
    """Check each thing every `period_s` seconds, until cancelled.

    Args:
        things: by name; each makes itself again if needed, and returns whether it did (None = it logs that itself).
    """
    told: dict[str, str] = {}
    while True:
        await asyncio.sleep(period_s)
        for name, keep in things.items():
            try:
                made = await keep()
            except (OrchdError, OSError, TimeoutError) as exc:
                reason = exc.message if isinstance(exc, OrchdError) else why(exc)
                if told.get(name) != reason:
                    log.error("state_not_kept", part=name, why=reason)
                told[name] = reason
            else:
                told.pop(name, None)
                if made:
                    log.warning("state_made_again", part=name, why="somebody has removed it")


class StateDirPart(Part):
    """Keeps in the state directory what the parts below have made there.

    Args:
        keep: as the `things` of `keep_all`.
    """

    name = "state directory"

    def __init__(self, context: Context, keep: Mapping[str, Callable[[], Awaitable[bool | None]]]) -> None:
        self._period_s = context.settings.reconcile.period_s
        self._keep = keep

    def roots(self) -> Roots:
        return {"state directory": keep_all(self._keep, self._period_s)}

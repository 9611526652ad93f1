"""Says it loudly when a price takes a model off the market: no registry that the node has takes it.

A node that was upgraded may lack the registry that took it: BYOC takes wei as they are, Live Runner takes USD alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from orchd.domain.ids import ModelKey
from orchd.domain.offer import Published
from orchd.errors import Code

log = structlog.get_logger("orchd.advertise")


class OffMarket:
    """Remembers what was said, until it is over."""

    def __init__(self) -> None:
        self._said: set[ModelKey] = set()

    def look(self, key: ModelKey, standings: Sequence[Published | None]) -> None:
        """Look at a model after a change.

        Args:
            standings: how it stands in each registry that the node has.
        """
        refused = [each.error for each in standings if each and each.wanted and each.code is Code.PRICE_UNPUBLISHABLE]
        if not refused or len(refused) < len(standings):
            self._said.discard(key)
        elif key not in self._said:
            self._said.add(key)
            log.error(
                "model_off_the_market",
                pipeline=key.pipeline,
                model_id=key.model_id,
                code=Code.PRICE_UNPUBLISHABLE,
                reason=f"no gateway can find it: {'; '.join(dict.fromkeys(refused))}",
            )

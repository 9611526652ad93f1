"""The bridge network that all our containers share: made when it is missing, also in the middle of a start."""

from __future__ import annotations

import asyncio

import structlog

from orchd.runtime.docker.client import Refused
from orchd.runtime.docker.engine import Engine

log = structlog.get_logger("orchd.runtime")


class SharedNetwork:
    """Makes the network, and starts containers on it.

    Args:
        labels: that the network gets.

    Attributes:
        gateway: the host's address on it; empty = not known yet, or it has none.
    """

    def __init__(self, engine: Engine, name: str, labels: dict[str, str]) -> None:
        self._engine = engine
        self._name = name
        self._labels = labels
        # The engine makes as many of one name as it is asked for at the same time.
        self._making = asyncio.Lock()
        self._made = 0
        self.gateway = ""

    async def make(self) -> bool:
        """Make the network if there is none; return whether anything was done."""
        async with self._making:
            made = await self._engine.ensure_network(self._name, self._labels)
            self._made += made
            if made or not self.gateway:
                self.gateway = await self._engine.gateway(self._name)
            return made

    async def start(self, handle: str) -> None:
        """Start a container. Make the network again if somebody has pruned it, as `docker system prune` does.

        Raises:
            Refused, EngineUnavailable.
        """
        made = self._made
        try:
            await self._engine.start(handle)
        except Refused as refused:
            # Others that start at the same time may have made it since.
            if not await self.make() and made == self._made:
                raise
            log.warning("network_made_again", network=self._name, why=refused.reason)
            await self._engine.start(handle)

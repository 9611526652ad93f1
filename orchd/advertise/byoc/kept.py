"""What the node may hold, in the store: the node can't be asked for it (docs/protocol/byoc.md, 2.5).

So a model that leaves the file while orchd is down is taken back by the next orchd.
"""

from __future__ import annotations

import structlog

from orchd.advertise.byoc import wire
from orchd.advertise.byoc.registration import Capability
from orchd.domain.stores import SecretStore
from orchd.errors import StoreError

log = structlog.get_logger("orchd.advertise.byoc")

NAMES = "byoc names"
"""The name under which the store keeps them."""

UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)
"""Errors of reading what another version of orchd wrote."""


class KeptCapabilities:
    """Capabilities that the node was told, by name."""

    def __init__(self, store: SecretStore) -> None:
        self._store = store
        self._stored: dict[str, Capability] = {}

    async def recall(self) -> dict[str, Capability]:
        """Return those of an earlier orchd; none if they can't be read, which is logged."""
        try:
            text = await self._store.secret(NAMES)
            self._stored = wire.load(text) if text else {}
        except (StoreError, *UNREADABLE) as exc:
            log.error("byoc_names_lost", error=str(exc), next="what is offered is registered again")
        return self._stored

    async def remember(self, held: dict[str, Capability]) -> None:
        """Keep these in place of the former ones, if anything has changed. A failure is logged."""
        if wire.kept(held) == wire.kept(self._stored):
            return
        try:
            await self._store.save_secret(NAMES, wire.dump(held))
        except StoreError as exc:
            log.error("byoc_names_not_kept", error=exc.message)
        self._stored = held

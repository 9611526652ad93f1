"""Does the node take BYOC registrations from anybody? Then a person should know.

A node without `-orchSecret` takes calls that bear no secret (docs/protocol/byoc.md, 2.1), and its service port is
public: anybody can take a capability over, or remove it.
"""

from __future__ import annotations

import asyncio
import secrets

import structlog

from orchd.advertise.byoc import wire
from orchd.node.ports import NodeCalls, NodeError
from orchd.tasks import cancel, spawn

log = structlog.get_logger("orchd.advertise.byoc")


def probe_name() -> bytes:
    """Return a capability that never was there: to unregister it changes nothing (docs/protocol/byoc.md, 2.4)."""
    return f"orchd-probe-{secrets.token_hex(8)}".encode()


class OpenRegistry:
    """Asks each start of the node once."""

    def __init__(self, client: NodeCalls, service_url: str) -> None:
        self._client = client
        self._url = service_url
        self._epoch = 0
        self._asking: asyncio.Task[None] | None = None

    def look(self, epoch: int) -> None:
        """Ask, unless this start of the node was asked."""
        if epoch != self._epoch and (self._asking is None or self._asking.done()):
            self._epoch = epoch
            self._asking = spawn(self._ask(), name="is the registry open")

    async def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            await cancel(self._asking)

    async def _ask(self) -> None:
        try:
            answer = await self._client.service("POST", wire.UNREGISTER, body=probe_name())
        except NodeError:
            return  # Whoever needs it says so.
        if answer.status == 200:
            log.warning(
                "byoc_registry_open",
                reason=f"go-livepeer at {self._url} has no -orchSecret: anybody who reaches it can take over or remove "
                "what is registered there; start it with -orchSecret, and name the file in orchestrator.secret_file",
            )

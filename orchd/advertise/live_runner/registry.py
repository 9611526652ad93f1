"""Keeps go-livepeer's Live Runner registry true: by heartbeats (`dynamic`) or by its CLI port (`static`).

What both share is here: the look at what the node lists in fact, and the end of a session at the node.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from fractions import Fraction
from typing import Protocol
from urllib.parse import quote

import structlog

from orchd.advertise.board import Board
from orchd.advertise.live_runner.desk import Desk, Parts, Watch
from orchd.advertise.live_runner.dynamic import DynamicRunners
from orchd.advertise.live_runner.plan import Record
from orchd.advertise.live_runner.static import StaticRunners
from orchd.advertise.settings import OrchestratorSettings
from orchd.domain.ids import ModelKey
from orchd.domain.ports import NodeSessions, Store
from orchd.node.client import NodeClient, NodeError
from orchd.tasks import cancel, spawn
from orchd.tickets.route_secrets import RouteSecrets

log = structlog.get_logger("orchd.live_runner")

CHECK_GAP_S = 0.5
"""Between two looks, however many registrations ask for one."""

STOP_TRIES = 5
STOP_RETRY_S = 1.0
"""Before the second try; doubles. Then the node's own list of sessions brings it up again."""


class _Runners(Protocol):
    """One way of telling Live Runner."""

    async def run(self) -> None: ...

    async def withdraw_all(self) -> None: ...

    def runner_id(self, key: ModelKey) -> str: ...

    def listed(self) -> dict[ModelKey, Record | None]: ...

    def lost(self, key: ModelKey) -> None: ...

    def stopped(self, key: ModelKey, session: str) -> None: ...


class LiveRegistry:
    """Make it inside a running loop.

    Args:
        eth_usd: what an ETH costs in USD now; None = not known.
        sessions: hears of the node's sessions; only in the dynamic way, the static one does not show them.
        instance: as in the settings; keeps the ids of two orchds at one node apart.
    """

    def __init__(
        self,
        client: NodeClient,
        board: Board,
        secrets: RouteSecrets,
        settings: OrchestratorSettings,
        eth_usd: Callable[[], Fraction | None],
        watch: Watch,
        store: Store,
        sessions: NodeSessions,
        *,
        instance: str,
    ) -> None:
        parts = Parts(client, board, secrets, settings, eth_usd, watch, store, sessions, f"orchd-{instance}-")
        self._client = client
        self._check_s = settings.check_s
        self._desk = Desk(parts)
        self._static = StaticRunners(parts, self._desk) if settings.live_runner == "static" else None
        self._runners: _Runners = self._static or DynamicRunners(parts, self._desk)

    async def run(self) -> None:
        """Work until cancelled."""
        checking = spawn(self._check(), name="check live runners")
        try:
            await self._runners.run()
        finally:
            await cancel(checking)

    async def withdraw_all(self) -> None:
        """Leave nothing that could be reserved. After `run` has ended; what the node does not answer to is left."""
        await self._runners.withdraw_all()

    def runner_id(self, key: ModelKey) -> str:
        """Return the route under which clients find the model at the node."""
        return self._runners.runner_id(key)

    def healthy(self, key: ModelKey) -> bool:
        """Return what our health URL answers for a model (static way only); from memory."""
        return self._static is not None and self._static.healthy(key)

    async def stop_session(self, key: ModelKey, session_id: str) -> None:
        """End a session at the node; what it does not know is fine. Never raises; gives up after a few tries."""
        path = f"/apps/{self.runner_id(key)}/session/{quote(session_id, safe='')}/stop"
        for attempt in range(STOP_TRIES):
            if attempt:
                await asyncio.sleep(STOP_RETRY_S * 2 ** (attempt - 1))
            why = ""
            try:
                answer = await self._client.service("POST", path)
            except NodeError as exc:
                why = exc.message
            else:
                if answer.status in (204, 404):
                    self._runners.stopped(key, session_id)
                    return
                why = f"go-livepeer answered {answer.status}"
        log.warning("session_not_stopped", pipeline=key.pipeline, model_id=key.model_id, session=session_id, reason=why)

    async def _check(self) -> None:
        """Look at what the node lists, now and then and after each change."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._check_s):
                    await self._desk.check_asked.wait()
            self._desk.check_asked.clear()
            before = self._runners.listed()
            if self._desk.spoken and (seen := await self._desk.discover()) is not None:
                for key, record in self._runners.listed().items():
                    if record != before.get(key):
                        self._desk.check_asked.set()  # It was changed meanwhile.
                    elif not self._desk.look(key, record, seen.get(self.runner_id(key))) and record is not None:
                        self._runners.lost(key)
            await asyncio.sleep(CHECK_GAP_S)

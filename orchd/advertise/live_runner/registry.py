"""Keeps Live Runner's list the same as what is offered: by heartbeats, its CLI port or a file (`_WAYS`).

What these share is here: the comparison with what the node lists in fact, and the end of a session at the node.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import quote

import structlog

from orchd.advertise.live_runner.dynamic import DynamicRunners
from orchd.advertise.live_runner.exported import ExportedRunners
from orchd.advertise.live_runner.listings import CALLS, LiveListings
from orchd.advertise.live_runner.missing import ListedRunners, MissingRunners
from orchd.advertise.live_runner.plan import RunnerRecord
from orchd.advertise.live_runner.static import StaticRunners
from orchd.advertise.live_runner.trial import try_way
from orchd.advertise.live_runner.wire import DiscoveredRunner
from orchd.advertise.registry import NodeTrial, RegistryContext, TrialResult
from orchd.advertise.settings import OrchestratorSettings
from orchd.domain.ids import ModelKey
from orchd.domain.offer import NodeProgram
from orchd.errors import Code
from orchd.node.ports import NodeCalls, NodeError, Probed
from orchd.tasks import cancel, spawn

log = structlog.get_logger("orchd.live_runner")

DOUBT_S = 5.0
"""Seconds after which a doubt is looked at again."""

CHECK_GAP_S = 0.5
"""Least seconds between two comparisons, however many registrations ask for one."""

STOP_TRIES = 5
STOP_RETRY_S = 1.0
"""Seconds before the second try; doubles. If all fail, the node's own list of sessions shows it again later."""
GONE = (404,)
"""With these the node says that there is no such session any more."""
FORBIDDEN = (401, 403)
"""The two programs say so in their own ways."""


class LiveRunners(ListedRunners, Protocol):
    """One way of telling Live Runner."""

    async def run(self) -> None: ...

    async def withdraw_all(self) -> None: ...

    def telling(self, key: ModelKey) -> bool: ...

    def stopped(self, key: ModelKey, session: str) -> None: ...


async def spoken(client: NodeCalls, settings: OrchestratorSettings, node: Probed) -> bool:
    """Return whether the node has this registry.

    Raises:
        NodeError: `NOT_SPOKEN`: it has, and can't be used the way that the settings want.
    """
    if node.live_runner and settings.live_runner == "static":
        what = "cannot register with Live Runner by the CLI port (orchestrator.live_runner = static)"
        if node.program is not NodeProgram.GO_LIVEPEER:
            why = f"{node.program.in_words} has no CLI port; write dynamic, or take the setting out"
            raise NodeError(f"{what}: {why}", code=Code.NOT_SPOKEN)
        if not settings.cli_url:
            raise NodeError(f"{what}: orchestrator.cli_url is empty", code=Code.NOT_SPOKEN)
    return node.live_runner


class LiveRegistry:
    """`orchd.advertise.registry.SessionRegistry` for Live Runner. Make it inside a running loop.

    The node's sessions are heard of in the dynamic way only; the static way does not show them.
    """

    def __init__(self, context: RegistryContext) -> None:
        self._client = context.node.calls
        self._check_s = context.settings.check_s
        self._live = LiveListings(context)
        self._runners: LiveRunners = _WAYS[context.settings.live_runner](context, self._live)
        self._context = context
        self._stops = asyncio.Semaphore(CALLS)

    async def run(self) -> None:
        """Work until cancelled."""
        if self._context.settings.live_runner == "dynamic":  # Static runners need the CLI port, which shows a restart.
            MissingRunners(self._context, self._live, self._runners)
        checking = spawn(self._check(), name="check live runners")
        try:
            await self._runners.run()
        finally:
            await cancel(checking)

    async def withdraw_all(self) -> None:
        """Leave nothing that could be reserved. After `run` has ended; what the node does not answer to is left."""
        self._live.ending = True
        await self._runners.withdraw_all()

    def runner_id(self, key: ModelKey) -> str:
        """Return the route under which clients find the model at the node."""
        return self._runners.runner_id(key)

    async def try_way(self) -> NodeTrial:
        """See `TriedRegistry.try_way`. By heartbeats only: the static way has the node ask our health URL."""
        if self._context.settings.live_runner != "dynamic":
            return NodeTrial(
                TrialResult.UNTESTABLE, f"orchestrator.live_runner is {self._context.settings.live_runner}"
            )
        return await try_way(self._context)

    async def stop_session(self, key: ModelKey, session_id: str) -> None:
        """End a session at the node; what it does not know is fine. Never raises; gives up after a few tries."""
        path = f"/apps/{self.runner_id(key)}/session/{quote(session_id, safe='')}/stop"
        for attempt in range(STOP_TRIES):
            if attempt:
                await asyncio.sleep(STOP_RETRY_S * 2 ** (attempt - 1))
            why = ""
            try:
                async with self._stops:
                    answer = await self._client.service("POST", path)
            except NodeError as exc:
                why = exc.message
            else:
                if answer.status in GONE or 200 <= answer.status <= 299:
                    self._runners.stopped(key, session_id)
                    return
                why = f"the node answered {answer.status}"
                if answer.status in FORBIDDEN:
                    break  # Another try would hear the same.
        log.warning("session_not_stopped", pipeline=key.pipeline, model_id=key.model_id, session=session_id, reason=why)

    async def _check(self) -> None:
        """Compare with what the node lists, every `check_s`, after each change, and soon after each doubt."""
        doubts = False
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self._check_s, DOUBT_S) if doubts else self._check_s):
                    await self._live.check_asked.wait()
            self._live.check_asked.clear()
            before = {k: record for k, record in self._runners.listed().items() if not self._runners.telling(k)}
            if self._live.spoken and (seen := await self._live.discover()) is not None:
                doubts = False
                for key, record in self._runners.listed().items():
                    if self._runners.telling(key) or key not in before or record != before[key]:
                        self._live.check_asked.set()  # It was changed meanwhile.
                    else:
                        doubts |= self._compare(key, record, seen.get(self.runner_id(key)))
            await asyncio.sleep(CHECK_GAP_S)

    def _compare(self, key: ModelKey, record: RunnerRecord | None, seen: DiscoveredRunner | None) -> bool:
        """Return whether the node shows something else than it should; then it is told again."""
        doubt = self._live.compare(key, record, seen, self._runners.used(key))
        if doubt and record is not None:
            self._runners.lost(key)
        return bool(doubt)


_WAYS: Mapping[str, Callable[[RegistryContext, LiveListings], LiveRunners]] = {
    "dynamic": DynamicRunners,
    "static": StaticRunners,
    "exported": ExportedRunners,
}
"""By the setting `orchestrator.live_runner`."""

make = LiveRegistry

"""Tries whether jobs reach us: orchd asks itself at `orchestrator.callback_url`, directly and through the node.

A wrong URL, and a grant that Livepeer Node lacks, are seen by no registration: all looks well, and every job fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping

import structlog

from orchd.advertise.callback_verdict import Tried, verdict
from orchd.advertise.listings import Listings
from orchd.advertise.registry import NodeTrial, Registry, TrialResult, TriedRegistry
from orchd.advertise.settings import OrchestratorSettings
from orchd.domain.offer import Callback
from orchd.domain.redact import scrub
from orchd.doors.node_paths import trial_path
from orchd.history.ports import History, Kind
from orchd.http_client import Unanswered, ask_once
from orchd.names import Names
from orchd.node.ports import NodeAccess
from orchd.reasons import one_line

log = structlog.get_logger("orchd.callback")

AGAIN_S = 5.0
"""Seconds before another try where the last one said nothing."""
_MAX_ANSWER_BYTES = 4096
_NO_WAY = NodeTrial(TrialResult.UNTESTABLE, "no registry that can be tried is used")


class CallbackTrials:
    """Tries once for each start of the node, and goes on every `check_s` as long as something is wrong.

    Args:
        registries: those of the node, by name.

    Attributes:
        status: what is known.
    """

    def __init__(
        self,
        settings: OrchestratorSettings,
        listings: Listings,
        node: NodeAccess,
        names: Names,
        registries: Mapping[str, Registry],
        history: History,
    ) -> None:
        self.status = Callback(settings.callback_url)
        self._settings = settings
        self._listings = listings
        self._trials = node.trials
        self._names = names
        self._registries = registries
        self._history = history
        self._tried = Tried(settings.callback_url)
        self._epoch = 0
        self._silent = False

    async def run(self) -> None:
        """Try until cancelled."""
        changed = self._listings.subscribe()
        while True:
            changed.clear()
            due_s = await self._look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(due_s):
                    await self._news(changed)

    async def _news(self, changed: asyncio.Event) -> None:
        """Wait until there is a node to try that was not tried yet."""
        while True:
            await changed.wait()
            changed.clear()
            if self._epoch != self._listings.node.epoch and self._usable():
                return

    def _usable(self) -> bool:
        """There is a node, and something is offered at it."""
        node = self._listings.node
        return node.up and bool(node.registries) and bool(self._listings.offers.now)

    async def _look(self) -> float | None:
        """Try what can be tried now, and return after how many seconds to try again; None = not before it changes."""
        own = await self._by_us()
        node, trial = self._listings.node, None
        known = self._tried.by_node if self._epoch == node.epoch else None
        if self._usable():
            trial = await self._by_node()
            self._epoch = node.epoch
        says_nothing = trial is None or trial.result is TrialResult.AGAIN
        self._tried = Tried(self._settings.callback_url, own, known if says_nothing else trial, node.program)
        self._say()
        if trial is not None and trial.result is TrialResult.AGAIN:
            return AGAIN_S
        return self._settings.check_s if self.status.error else None

    async def _by_us(self) -> str:
        """Return why orchd does not reach itself; empty = it does."""
        with self._trials.begin() as trial:
            url = self._settings.callback_url + trial_path(trial.word)
            try:
                status, body = await ask_once(
                    "GET", url, self._names, timeout_s=self._settings.call_timeout_s, most=_MAX_ANSWER_BYTES
                )
            except Unanswered as exc:
                return str(exc)
            if status == 200 and trial.answered_by(body):
                return ""
            said = scrub(one_line(body.decode(errors="replace"), 80), [trial.word])
        return f"another server answers there, with {status} and {said!r}"

    async def _by_node(self) -> NodeTrial:
        trials = [await registry.try_way() for registry in self._used()]
        trial = min(trials, key=lambda each: each.result is TrialResult.UNTESTABLE, default=_NO_WAY)
        # The node may have gone just then: only a second silence is believed.
        silent, self._silent = self._silent, trial.result is TrialResult.SILENCE
        return NodeTrial(TrialResult.AGAIN) if self._silent and not silent else trial

    def _used(self) -> Iterable[TriedRegistry]:
        for name in self._listings.node.registries:
            registry = self._registries.get(name)
            if isinstance(registry, TriedRegistry):
                yield registry

    def _say(self) -> None:
        """Keep what has been found, and tell it once."""
        before = self.status
        now = verdict(self._tried, before, time.time(), allow_direct=self._settings.allow_direct)
        self.status = now
        if now.error != before.error:
            if now.error:
                log.error("callback_failed", code=now.code, error=now.error)
                self._history.note(Kind.CALLBACK_FAILED, now.error)
            else:
                log.info("callback_reached", url=now.url, through_the_node=now.by_node)
                self._history.note(Kind.CALLBACK_REACHED, f"jobs reach orchd again at {now.url}")
        if now.note != before.note and now.note:
            log.warning("callback_untested", reason=now.note)

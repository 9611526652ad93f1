"""Live Runner by the node's CLI port: documents that it takes, and a health URL of ours that it asks (every 5 s).

There is no delete: to hide a model our health answer turns bad, and its document is posted again, which makes the node
ask at once. It ends all sessions of a runner over one bad answer, so a model that leaves stays healthy, without a free
slot, while it has sessions. The node does not name them here; it counts them. Source: docs/protocol/live-runner.md, 3.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf

from orchd.advertise.live_runner.free_record import FreeRecord
from orchd.advertise.live_runner.listings import LiveListings
from orchd.advertise.live_runner.plan import REFUSED_S, RETRY_MAX_S, RETRY_MIN_S, RunnerRecord
from orchd.advertise.live_runner.wire import static_document
from orchd.advertise.registry import RegistryContext
from orchd.domain.ids import ModelKey
from orchd.errors import Code, OrchdError
from orchd.node.ports import NodeAnswer, NodeError

BATCH = 32
"""Most documents in a call: the node asks their health URLs one after another before it answers."""
DRAIN_CHECK_S = 2.0
"""How often it is checked whether the sessions of a model that leaves are over."""


@dataclass(slots=True, eq=False)
class StaticRunner:
    """Times are of the loop clock.

    Attributes:
        answering: models for which our health URL answers that they are healthy.
        record: as it is to be listed, or was last.
        tried: both, as they were in the last call; None = the node has never heard of it.
        listed: the node has taken `tried`, and found it healthy.
        due: when to post it even if nothing has changed.
        failures: of its calls, in a row.
        error: of the last call.
        problem: why it is not listed although it is offered.
        told_at: when it was posted last.
    """

    key: ModelKey
    answering: set[ModelKey]
    record: RunnerRecord | None = None
    tried: tuple[RunnerRecord, bool] | None = None
    listed: bool = False
    due: float = inf
    failures: int = 0
    error: OrchdError | None = None
    problem: OrchdError | None = None
    free: FreeRecord = field(default_factory=FreeRecord)
    told_at: float = -inf

    @property
    def healthy(self) -> bool:
        """What our health URL answers."""
        return self.key in self.answering

    @healthy.setter
    def healthy(self, healthy: bool) -> None:
        (self.answering.add if healthy else self.answering.discard)(self.key)

    @property
    def changed(self) -> bool:
        """What the node was told no longer holds. A hidden model that it never heard of need not be told."""
        return (self.healthy or self.tried is not None) and self.tried != (self.record, self.healthy)


class StaticRunners:
    """All models of the registry. Make it inside a running loop."""

    def __init__(self, context: RegistryContext, live: LiveListings) -> None:
        self._context = context
        self._live = live
        self._now = asyncio.get_running_loop().time
        self._models: dict[ModelKey, StaticRunner] = {}
        self._changed = context.listings.subscribe()
        self._up_since = 0.0
        self._epoch = 0
        self._batch = BATCH
        self._telling: frozenset[ModelKey] = frozenset()

    async def run(self) -> None:
        """Keep every model posted until cancelled."""
        self._context.listings.slots_moved.connect(lambda key: self._changed.set())
        while True:
            self._changed.clear()
            leaving = await self._update()
            due = self._due()
            if due and self._live.spoken:
                await self._post(due[: self._batch])
                continue
            times = (min(model.due, model.free.again_at) for model in self._models.values())
            at = min(times, default=inf) if self._live.spoken else inf
            if leaving:
                at = min(at, self._now() + DRAIN_CHECK_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(at if at < inf else None):
                    await self._changed.wait()

    async def withdraw_all(self) -> None:
        """Hide everything. After `run` has ended: nobody would answer for the sessions any more either."""
        for model in self._models.values():
            model.healthy = False
        hidden = [model for model in self._models.values() if model.changed]
        for start in range(0, len(hidden), BATCH):
            await self._post(hidden[start : start + BATCH])

    def runner_id(self, key: ModelKey) -> str:
        """Return the label, which is this orchd's alone: go-livepeer lets anybody overwrite the record of a label."""
        return f"{self._context.runner_id(key)}-{self._context.node.tokens.tag}"

    def listed(self) -> dict[ModelKey, RunnerRecord | None]:
        """Return what discovery should show of each model."""
        return {key: model.record if model.listed else None for key, model in self._models.items()}

    def used(self, key: ModelKey) -> int:
        """Return 0: the node does not tell here which sessions it has."""
        return 0

    def telling(self, key: ModelKey) -> bool:
        """Return whether the node is being told of a model just now."""
        return key in self._telling

    def lost(self, key: ModelKey) -> None:
        """The node does not show what it should: post it at once."""
        if model := self._models.get(key):
            model.due = self._now()
            self._changed.set()

    def stopped(self, key: ModelKey, session: str) -> None:
        """The node has ended a session at our request."""
        self._changed.set()

    async def _update(self) -> bool:
        """Update what is wanted of each model; return whether one stays listed for its sessions."""
        node, offers = self._live.node, self._context.listings.offers
        if self._epoch and node.epoch != self._epoch:
            for key in self._models:
                self._context.sessions.forgotten(key, self._now())
        self._epoch = node.epoch
        if node.up and node.since != self._up_since:
            self._up_since = node.since
            for model in self._models.values():  # It may have forgotten us.
                model.tried, model.failures = None, 0
        if self._live.unused:
            for model in self._models.values():
                model.listed, model.error, model.due = False, None, inf
        for key in offers.now.keys() | offers.why_not.keys():
            self._models.setdefault(key, StaticRunner(key, self._context.node.healthy))
        leaving = []
        for key, model in list(self._models.items()):
            record, model.problem = self._live.wanted(key)
            record = model.free.look(record, self._live.free(key), model.told_at, self._now())
            if record is not None:
                model.record, model.healthy = record, True
            elif model.healthy and model.tried is not None and self._context.listings.active(key):
                leaving.append(model)
            else:
                model.healthy = False
            self._say(model)
            if not model.healthy and model.due == inf and not model.changed and not self._live.known(key):
                del self._models[key]
        if leaving:
            await self._drain(leaving)
        return bool(leaving)

    async def _drain(self, leaving: Sequence[StaticRunner]) -> None:
        """Leave each no free slot, and hide it when the node has no session on it that we know of too.

        A session that only the node counts was reserved and never used; one that only we count came another way.
        """
        seen = await self._live.discover()
        for model in leaving:
            used = self._context.listings.active(model.key)
            if seen is not None:
                runner = seen.get(self.runner_id(model.key))
                used = min(used, runner.used if runner else 0)
            if not model.free.full and self._live.wanted(model.key)[0] is not None:
                continue  # It is back.
            if used and model.record is not None:
                model.record = replace(model.record, capacity=used)
            else:
                model.healthy = False

    def _due(self) -> list[StaticRunner]:
        """Return what is to be posted now: first what must not be found any more, then what has changed."""
        now = self._now()
        due = [model for model in self._models.values() if model.changed or model.due <= now]
        return sorted(due, key=lambda model: (model.healthy, not model.changed))

    async def _post(self, models: Sequence[StaticRunner]) -> None:
        """Post documents together; if the node refuses them, which it does as a whole, one by one."""
        answer = await self._ask(models)
        if answer is None:
            self._batch = 1  # One that can't be asked for its health may have held up the others.
        elif answer.status == 200:
            self._batch = min(self._batch * 2, BATCH)
            self._take(models, answer)
        elif answer.status == 400 and len(models) > 1:
            for model in models:
                await self._post([model])
        else:
            self._refused(models, answer)
        for model in models:
            self._say(model)

    async def _ask(self, models: Sequence[StaticRunner]) -> NodeAnswer | None:
        document = []
        for model in models:
            assert model.record is not None
            model.tried, model.told_at = (model.record, model.healthy), self._now()
            document.append(static_document(self.runner_id(model.key), self._live.url(model.key), model.record))
        self._telling = frozenset(model.key for model in models)
        try:
            return await self._context.node.calls.cli(
                "POST", "/registerLiveRunners", body=json.dumps({"runners": document}).encode()
            )
        except NodeError as exc:
            for model in models:
                self._failed(model, exc)
            return None
        finally:
            self._telling = frozenset()

    def _take(self, models: Sequence[StaticRunner], answer: NodeAnswer) -> None:
        try:
            said = {each["label"]: each["healthy"] is True for each in answer.json()["runners"]}
        except (NodeError, KeyError, TypeError):
            said = {}
        for model in models:
            model.listed = said.get(self.runner_id(model.key), False)
            if not model.healthy or model.listed:
                model.failures, model.error = 0, None
                model.due = self._now() + self._context.settings.check_s if model.healthy else inf
            else:
                url = self._context.settings.callback_url
                why = f"go-livepeer finds it unhealthy: it must reach orchd at {url} (orchestrator.callback_url)"
                self._failed(
                    model, OrchdError(f"cannot list {model.key} with Live Runner: {why}", code=Code.NODE_REFUSED)
                )

    def _refused(self, models: Sequence[StaticRunner], answer: NodeAnswer) -> None:
        for model in models:
            said = self._live.clean(model.key, answer.text())
            what = f"cannot list {model.key} with Live Runner: go-livepeer says"
            if answer.status == 400 and not model.healthy:
                model.listed, model.due = False, inf  # Our health answer hides whatever it has.
            elif answer.status == 400:
                model.listed, model.due = False, self._now() + REFUSED_S
                model.error = OrchdError(f"{what} {said!r}", code=Code.NODE_REFUSED)
            elif answer.status == 404:
                why = "it needs -useLiveRunners or -liveRunnerConfig, and a moment after its start"
                self._failed(model, OrchdError(f"{what} {said!r} ({why})", code=Code.NOT_SPOKEN))
            else:
                self._failed(model, OrchdError(f"{what} {answer.status}, {said!r}", code=Code.NODE_REFUSED))

    def _failed(self, model: StaticRunner, error: OrchdError) -> None:
        model.error = error
        model.due = self._now() + min(RETRY_MIN_S * 2 ** min(model.failures, 9), RETRY_MAX_S)
        model.failures += 1

    def _say(self, model: StaticRunner) -> None:
        record = model.record if model.listed else None
        self._live.say(model.key, record=record, error=model.problem or model.error, full=model.free.full)

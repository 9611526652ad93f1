"""Live Runner by heartbeats: one task per model, which does what `plan` says.

Source: docs/protocol/live-runner.md, 2.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from dataclasses import replace
from math import inf

from orchd.advertise.live_runner import plan, refusals, wire
from orchd.advertise.live_runner.event_channel import MOST_READERS, SessionEvent
from orchd.advertise.live_runner.listings import LiveListings
from orchd.advertise.live_runner.plan import Listing, RunnerRecord
from orchd.advertise.live_runner.session_news import SessionNews
from orchd.advertise.live_runner.states import BEATING, ListingEvent, ListingState
from orchd.advertise.live_runner.wire import HeartbeatAnswer, KeptRegistration
from orchd.advertise.registry import RegistryContext
from orchd.domain.ids import ModelKey
from orchd.domain.model import Secret
from orchd.errors import Code, OrchdError, StoreError
from orchd.node.ports import NodeAnswer, NodeError
from orchd.tasks import cancel, spawn


class DynamicRunners:
    """All models of the registry."""

    def __init__(self, context: RegistryContext, live: LiveListings) -> None:
        self._context = context
        self._live = live
        self._runners: dict[ModelKey, DynamicRunner] = {}
        self._tasks: dict[ModelKey, asyncio.Task[None]] = {}
        self._readers = asyncio.Semaphore(MOST_READERS)

    async def run(self) -> None:
        """Keep every model registered, and unregistered, until cancelled."""
        changed = self._context.listings.subscribe()
        try:
            while True:
                changed.clear()
                self._reap()
                offers = self._context.listings.offers
                for key in offers.now.keys() | offers.why_not.keys():
                    if key not in self._tasks:
                        runner = DynamicRunner(key, self.runner_id(key), self._context, self._live, self._readers)
                        self._runners[key] = runner
                        self._tasks[key] = spawn(runner.run(), name=f"live runner {key}")
                        self._tasks[key].add_done_callback(lambda _: changed.set())
                for runner in self._runners.values():
                    runner.wake.set()
                await changed.wait()
        finally:
            await cancel(*self._tasks.values())

    def _reap(self) -> None:
        for key, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[key], self._runners[key]
                task.result()  # A bug of ours ends the registry, loudly.

    async def withdraw_all(self) -> None:
        """Leave nothing that could be reserved. After `run` has ended."""
        await asyncio.gather(*(runner.withdraw() for runner in self._runners.values()))

    def runner_id(self, key: ModelKey) -> str:
        return f"orchd-{self._context.instance}-{key.slug}"  # No slug begins like this.

    def listed(self) -> dict[ModelKey, RunnerRecord | None]:
        """Return what discovery should show of each model."""
        return {key: runner.listed for key, runner in self._runners.items()}

    def lost(self, key: ModelKey) -> None:
        """The node does not show what it should: beat at once."""
        if runner := self._runners.get(key):
            runner.hurry()

    def stopped(self, key: ModelKey, session: str) -> None:
        """The node has ended a session at our request."""
        if runner := self._runners.get(key):
            runner.hear(SessionEvent(session, begins=False))


class DynamicRunner:
    """One model, offered or not.

    Attributes:
        wake: set when there may be something new to say.
    """

    def __init__(
        self,
        key: ModelKey,
        runner_id: str,
        context: RegistryContext,
        live: LiveListings,
        readers: asyncio.Semaphore,
    ) -> None:
        self.wake = asyncio.Event()
        self._key = key
        self._id = runner_id
        self._context = context
        self._live = live
        self._now = asyncio.get_running_loop().time
        self._phase = hashlib.sha256(runner_id.encode()).digest()[0] / 256
        self._listing = Listing()
        self._kept: KeptRegistration | None = None
        self._saved: KeptRegistration | None = None
        self._error: OrchdError | None = None
        self._taken_at: float | None = None
        """Loop clock; the call of then was the last one with a record that the node took."""
        self._news = SessionNews(key, context, readers, self.hear, self._channel_over)

    @property
    def listed(self) -> RunnerRecord | None:
        return self._listing.tried if self._listing.published else None

    async def run(self) -> None:
        """Return when the model is gone, here and at the node."""
        await self._recall()
        try:
            while True:
                self.wake.clear()
                self._update()
                due = self._due()
                if due <= self._now():
                    async with self._live.turns:
                        self._update()  # Its turn may have been long in coming.
                        if self._due() <= self._now():
                            await self._call()
                elif not self._live.known(self._key) and (self._listing.state is ListingState.ABSENT or due == inf):
                    return
                else:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout_at(due if due < inf else None):
                            await self.wake.wait()
        finally:
            await self._news.follow(None)

    async def withdraw(self) -> None:
        """Unregister; if the node has sessions on it, only see to it that there will be no more.

        It then expires with them, unless another orchd beats on for it before.
        """
        self._listing = plan.update(self._listing, None, self._listing.up_since, self._now())
        # A call of `run` may have been cut.
        self.hurry()
        try:
            while self._listing.state in BEATING and self._due() <= self._now():
                async with self._live.turns:
                    await self._call()
        finally:
            await self._news.follow(None)

    def hurry(self) -> None:
        if self._listing.state in BEATING:
            self._listing = replace(self._listing, due=self._now())
            self.wake.set()

    def hear(self, event: SessionEvent) -> None:
        """The node has begun or ended a session."""
        before = self._listing.sessions
        after = before | {event.session} if event.begins else before - {event.session}
        self._listing = plan.told(self._listing, after, self._now())
        self.wake.set()

    async def _recall(self) -> None:
        """Take up what an earlier orchd left; its sessions go on."""
        try:
            text = await self._context.node.store.secret(self._secret_name)
        except StoreError:
            return  # The next write says so.
        kept = wire.load_kept(text) if text else None
        if kept is not None:
            self._kept = self._saved = kept
            self._listing = plan.held(kept.record)

    @property
    def _secret_name(self) -> str:
        return f"heartbeat {self._id}"

    def _update(self) -> None:
        wanted, problem = self._live.wanted(self._key)
        node = self._live.node
        up_since = node.since if node.up else self._listing.up_since
        self._listing = plan.update(self._listing, wanted, up_since, self._now())
        if self._listing.state is ListingState.ABSENT:
            self._error = None
        self._live.say(self._key, record=self.listed, error=problem or self._error)

    def _due(self) -> float:
        return self._listing.due if self._live.spoken else inf

    async def _call(self) -> None:
        """Say to the node what is due, and take in what comes of it."""
        beating, record = self._listing.state in BEATING, self._listing.record
        secret = self._kept.secret if beating and self._kept else self._context.node.calls.secret
        self._listing = plan.tried(self._listing)
        asked_at, welcome = self._now(), None
        before = self._kept.record if beating and self._kept else record
        try:
            if secret is None:
                raise refusals.no_secret()
            if record is None:
                answer = await self._post(f"/runners/{self._id}/unregister", secret)
                event, error = self._unregistered(answer)
            else:
                said = wire.heartbeat(self._id, self._live.url(self._key), record, self._listing.sessions)
                answer = await self._post("/runners/heartbeat", secret, said)
                event, error, welcome = self._answered(answer, beating=beating)
        except NodeError as exc:
            event, error = (ListingEvent.REFUSED if exc.code is Code.NODE_SECRET else ListingEvent.SILENCE), exc
        if welcome is not None and record is not None:
            self._taken_at = asked_at
            error = await self._keep(record, welcome)
        if event is ListingEvent.UNKNOWN:
            self._context.node.watch.suspect(self._taken_at)
        self._listing = plan.after(
            self._listing,
            event,
            self._now(),
            self._phase,
            welcome.sessions if welcome else frozenset(),
            welcome.pace if welcome else None,
        )
        self._error = error
        self._tell_sessions(event, asked_at, beating=beating, before=before)
        await self._settle()

    async def _post(self, path: str, secret: Secret, body: bytes | None = None) -> NodeAnswer:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        return await self._context.node.calls.service("POST", path, headers=headers, body=body, authorization=secret)

    def _answered(
        self, answer: NodeAnswer, *, beating: bool
    ) -> tuple[ListingEvent, OrchdError | None, HeartbeatAnswer | None]:
        if answer.status != 200:
            event = plan.heard(answer.status, answer.text(), beating=beating)
            return event, self._explain(event, answer), None
        try:
            welcome = wire.read_welcome(answer.json())
            if not beating and welcome.secret is None:
                raise ValueError("it has no heartbeat_secret")
        except ValueError as exc:
            raise NodeError(f"cannot use go-livepeer's answer to a heartbeat: {exc}", code=Code.NODE_REFUSED) from exc
        return ListingEvent.TAKEN if welcome.sessions else ListingEvent.IDLE, None, welcome

    def _unregistered(self, answer: NodeAnswer) -> tuple[ListingEvent, OrchdError | None]:
        # Whatever it refuses is no longer ours to unregister, and expires.
        if answer.status in (204, 400, 401, 404):
            return ListingEvent.GONE, None
        return ListingEvent.SILENCE, self._explain(ListingEvent.SILENCE, answer)

    def _explain(self, event: ListingEvent, answer: NodeAnswer) -> OrchdError | None:
        said = self._live.clean(self._key, answer.text())
        return refusals.explain(self._key, event, answer.status, said)

    async def _keep(self, record: RunnerRecord, welcome: HeartbeatAnswer) -> StoreError | None:
        """Write down, before it is relied on, what we must know to speak for this runner again."""
        if welcome.secret is not None:
            kept = KeptRegistration(welcome.secret, welcome.events, record)
        else:
            assert self._kept is not None
            kept = replace(self._kept, record=record)
        self._kept = kept
        if kept != self._saved:
            try:
                await self._context.node.store.save_secret(self._secret_name, wire.dump_kept(kept))
            except StoreError as exc:
                return exc  # We go on, and try again at the next beat.
            self._saved = kept
        return None

    def _tell_sessions(
        self, event: ListingEvent, asked_at: float, *, beating: bool, before: RunnerRecord | None
    ) -> None:
        """Pass on which sessions there are.

        Args:
            before: what the node had of the model until then.
        """
        match event:
            case ListingEvent.TAKEN | ListingEvent.IDLE:
                persistent = before is not None and before.persistent
                self._news.listed(self._listing.sessions, asked_at, persistent=persistent)
            case ListingEvent.SILENCE | ListingEvent.REFUSED:
                self._news.unheard(self._now(), self._listing.pace.ttl_s)
            case _ if beating:
                self._news.forgotten(asked_at)

    async def _settle(self) -> None:
        """Bring the status, the store and the event channel in line with where we are."""
        self._live.say(self._key, record=self.listed, error=self._error)
        if self._listing.state is ListingState.ABSENT and self._kept is not None:
            self._kept = self._saved = None
            with contextlib.suppress(StoreError):  # A secret too many does no harm.
                await self._context.node.store.forget_secret(self._secret_name)
        listening = self._kept is not None and self._listing.state in BEATING and self._persistent
        await self._news.follow(self._kept.events if self._kept and listening else None)

    @property
    def _persistent(self) -> bool:
        return self._listing.wanted is not None and self._listing.wanted.persistent

    def _channel_over(self, channel: Secret) -> None:
        """Forget an event channel; the next answer to a heartbeat has this written down, too."""
        if self._kept is not None and self._kept.events == channel:
            self._kept = replace(self._kept, events=None)

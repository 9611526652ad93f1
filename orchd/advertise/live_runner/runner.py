"""One model in Live Runner's dynamic registry: says to the node what `plan` wants said, and takes in what comes of it.

Source: docs/protocol/live-runner.md, 2, and docs/protocol/livepeer-node.md, 5.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from dataclasses import replace
from math import inf

from orchd.advertise.live_runner import plan, refusals, wire
from orchd.advertise.live_runner.calls import Heard, LiveContext, RunnerCalls
from orchd.advertise.live_runner.dialects.dialect import Dialect
from orchd.advertise.live_runner.event_channel import SessionEvent
from orchd.advertise.live_runner.free_record import FreeRecord, only_capacity_differs
from orchd.advertise.live_runner.plan import Listing, RunnerRecord
from orchd.advertise.live_runner.session_news import SessionNews
from orchd.advertise.live_runner.states import BEATING, E, ListingEvent, S
from orchd.advertise.live_runner.wire import HeartbeatAnswer, KeptRegistration
from orchd.domain.ids import ModelKey
from orchd.domain.model import Secret
from orchd.errors import OrchdError, StoreError

JOBS_LOOK_S = 0.1
"""How often, in seconds, it is looked whether the last job of a single-shot model that leaves has ended."""


class DynamicRunner:
    """One model, offered or not.

    Attributes:
        wake: set when there may be something new to say.
        telling: a call is under way, so what the node has is not known.
    """

    def __init__(self, key: ModelKey, runner_id: str, shared: LiveContext) -> None:
        self.wake = asyncio.Event()
        self.telling = False
        self._key = key
        self._secret_name = wire.KEPT_NAME + runner_id
        self._calls = RunnerCalls(key, runner_id, shared)
        self._shared = shared
        self._context = shared.context
        self._live = shared.live
        self._now = asyncio.get_running_loop().time
        self._phase = hashlib.sha256(runner_id.encode()).digest()[0] / 256
        self._listing = Listing()
        self._kept: KeptRegistration | None = None
        self._saved: KeptRegistration | None = None
        self._error: OrchdError | None = None
        self._tried_secret: Secret | None = None
        """The node's secret in the last registration."""
        self._whole: RunnerRecord | None = None
        """What is wanted, with the most that it may have."""
        self._tried_whole: RunnerRecord | None = None
        """As in the last registration."""
        self._held: tuple[float, float] = (-inf, 0.0)
        """`Listing.locked_since`, and until when in Unix time the node holds a record whose secret is lost."""
        self._taken_at: float | None = None
        """Loop clock; the call of then was the last one with a record that the node took."""
        self._busy = False
        self._free = FreeRecord()
        self._told_at = -inf
        self._news = SessionNews(key, shared.context, shared.readers, self.hear, self._channel_over)

    @property
    def listed(self) -> RunnerRecord | None:
        return self._listing.tried if self._listing.published else None

    @property
    def used(self) -> int:
        """Sessions that the node has on it, as it told last."""
        return len(self._listing.sessions)

    async def run(self) -> None:
        """Return when the model is gone, here and at the node."""
        await self._recall()
        try:
            while True:
                self.wake.clear()
                await self._drop_unused()
                self._update()
                due = self._due()
                if due <= self._now():
                    async with self._live.turns:
                        self._update()  # Its turn may have been long in coming.
                        if self._due() <= self._now():
                            await self._call()
                elif not self._live.known(self._key) and (self._listing.state is S.ABSENT or due == inf):
                    return
                else:
                    until = min(due, self._free.again_at, self._now() + JOBS_LOOK_S if self._busy else inf)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout_at(until if until < inf else None):
                            await self.wake.wait()
        finally:
            await self._news.follow(None)

    async def withdraw(self) -> None:
        """Unregister; if the node has sessions on it, only see to it that there will be no more.

        It then expires with them, unless another orchd beats on for it before.
        """
        hides = self._live.dialect.hides_by_status
        self._listing = plan.update(self._listing, None, self._listing.up_since, self._now(), hides=hides)
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
            self._listing = plan.held(kept.record, await self._shared.pace.of(self._live.dialect))

    async def _drop_unused(self) -> None:
        """Forget what the node had of it, where the node that runs now does not have this registry."""
        if self._live.unused and self._listing.state is not S.ABSENT:
            if self._listing.state in BEATING:
                self._context.sessions.forgotten(self._key, self._now())
            self._listing, self._error = Listing(), None
            await self._news.follow(None)

    def _update(self) -> None:
        wanted, problem = self._live.wanted(self._key)
        self._whole = wanted
        wanted = self._free.look(wanted, self._live.free(self._key), self._told_at, self._now())
        node = self._live.node
        up_since = node.since if node.up else self._listing.up_since
        hides = self._live.dialect.hides_by_status
        self._listing = plan.update(self._listing, wanted, up_since, self._now(), hides=hides)
        if self._listing.state is S.ABSENT:
            self._error = None
        tried = self._tried_secret, self._tried_whole
        if self._listing.state is S.REFUSED and (self._context.node.calls.secret, self._whole) != tried:
            self._listing = replace(self._listing, due=self._now())
        self._look_at_jobs()
        self._say(problem or self._error)

    def _say(self, error: OrchdError | None) -> None:
        self._live.say(self._key, record=self.listed, error=error, full=self._free.full)

    def _look_at_jobs(self) -> None:
        """Beat at once when the last job of a single-shot model that leaves has ended: its slot is free again."""
        leaving = self._listing.state is S.DRAINING and not self._persistent and not self._listing.hides
        was_busy, self._busy = self._busy, leaving and self._context.listings.active(self._key) > 0
        if was_busy and leaving and not self._busy:
            self._listing = replace(self._listing, due=self._now())

    def _due(self) -> float:
        return self._listing.due if self._live.spoken else inf

    async def _call(self) -> None:
        """Say to the node what is due, and take in what comes of it."""
        if self._error is not None:
            await self._context.node.secret_file.look()  # It may have been mended.
        dialect = self._live.dialect
        pace = await self._shared.pace.of(dialect)
        if self._listing.state is S.REFUSED:
            self._context.node.watch.suspect()  # By another program, perhaps, than the one that has refused.
        asked_at, record, beating = self._now(), self._listing.record, self._listing.state in BEATING
        before = self._kept.record if beating and self._kept else record
        heard = await self._ask(dialect)
        error, welcome = heard.error, heard.welcome
        if welcome is not None and record is not None:
            pace = welcome.pace
            self._taken_at = asked_at
            error = await self._keep(record, welcome)
            await self._shared.pace.tell(dialect, pace)
        self._suspect(heard)
        sessions = welcome.sessions if welcome else frozenset()
        self._listing = plan.after(self._listing, heard.event, self._now(), self._phase, sessions, pace)
        self._error = self._locked_out(dialect) if self._listing.state is S.LOCKED_OUT and not heard.error else error
        self._tell_sessions(heard.event, asked_at, beating=beating, before=before)
        await self._settle()

    async def _ask(self, dialect: Dialect) -> Heard:
        beating, sessions = self._listing.state in BEATING, self._listing.sessions
        own = self._kept.secret if beating and self._kept else None
        if not beating:
            self._tried_secret, self._tried_whole = self._context.node.calls.secret, self._whole
        self._listing = plan.tried(self._listing)
        self._told_at, self.telling = self._now(), True
        try:
            if self._listing.tried is None:
                return await self._calls.unregister(dialect, own)
            return await self._calls.heartbeat(dialect, self._listing.tried, sessions, own)
        finally:
            self.telling = False

    def _locked_out(self, dialect: Dialect) -> OrchdError:
        since, until, now = self._listing.locked_since, self._listing.held_until, self._now()
        assert since is not None
        assert until is not None
        if now > until + plan.OVERDUE_S:
            return refusals.taken_by_another(self._key, dialect, self._context.instance)
        if self._held[0] != since:
            self._held = since, time.time() + until - now
        return refusals.locked_out(self._key, dialect, self._held[1])

    def _suspect(self, heard: Heard) -> None:
        """Have the node looked at if it does not know what it took; that proves a restart unless it had expired."""
        taken_at, recent = self._taken_at, self._now() - self._listing.pace.ttl_s
        if heard.event is E.UNKNOWN:
            self._context.node.watch.suspect(taken_at if taken_at is not None and taken_at > recent else None)
        elif taken_at is not None and (heard.event is E.OTHER_SECRET or heard.status == 404):
            self._context.node.watch.suspect()
        else:
            return
        self._taken_at = None

    async def _keep(self, record: RunnerRecord, welcome: HeartbeatAnswer) -> StoreError | None:
        """Write down, before it is relied on, what we must know to speak for this runner again."""
        if welcome.secret is not None:
            kept = KeptRegistration(welcome.secret, welcome.events, record)
        else:
            assert self._kept is not None
            kept = replace(self._kept, record=record)
        self._kept = kept
        if not _says_the_same(kept, self._saved):
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
            case E.TAKEN | E.IDLE:
                persistent = before is not None and before.persistent
                self._news.listed(self._listing.sessions, asked_at, persistent=persistent)
            case E.SILENCE | E.REFUSED:
                self._news.unheard(self._now(), self._listing.pace.ttl_s)
            case _ if beating:
                self._news.forgotten(asked_at)

    async def _settle(self) -> None:
        """Bring the status, the store and the event channel in line with where we are."""
        self._say(self._error)
        if self._listing.state is S.ABSENT and self._kept is not None:
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


def _says_the_same(kept: KeptRegistration, saved: KeptRegistration | None) -> bool:
    """Return whether a later orchd would read the same; what was free means nothing to it."""
    if saved is None or not only_capacity_differs(kept.record, saved.record):
        return False
    return (kept.secret, kept.events) == (saved.secret, saved.events)

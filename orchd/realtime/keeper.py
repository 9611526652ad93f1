"""The one that moves streams: begins, ends and finds them again. The only writer of `Stream.phase`.

A stream ends by its stop, by its container's end or idleness, by the node's word, or by silence; whichever comes first
wins, and the slot is back when it has ended: see `endings.py`.

Jobs, the node's registries and health tell this object things; it does its own I/O in tasks of its own, through ports.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from orchd.domain.changes import Changes
from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import Model
from orchd.domain.origins import AT_NODE, Origin
from orchd.domain.outcomes import Outcome
from orchd.domain.phases import StreamEvent, StreamPhase
from orchd.domain.ports import ProbeWord
from orchd.domain.signal import Signal
from orchd.domain.state import ModelStatus, StreamStatus
from orchd.domain.stores import StreamStore
from orchd.errors import JobRefused
from orchd.hooks.account import Account
from orchd.realtime.endings import Containers, KnownRunners, StreamEndings
from orchd.realtime.expected import RECOVER_S, ExpectedStream, ExpectedStreams
from orchd.realtime.settings import StreamsSettings
from orchd.realtime.stream import Stream, StreamEnd
from orchd.sessions.letting_go import LettingGo
from orchd.sessions.session import Session, SessionKind
from orchd.sessions.slots import QueuePlace
from orchd.sessions.table import SessionTable

log = structlog.get_logger("orchd.streams")

SWEEP_S = 1.0
WIND_DOWN_S = 90.0
"""Longest wait for a container that can't be asked to stop to become free by itself: ai-runner ends a stream 60 s
after its input has ended (docs/protocol/container.md, 3.2)."""


class Keeper(StreamEndings):
    """After `ports.NodeSessions`.

    Args:
        lost_s: returns for how long orchd itself stood still since then (loop clock): no stream is ended for that.

    Attributes:
        ended: emitted once for each stream, when it has ended and no request rides on it any more.
        found: a stream that runs was found again after a restart.
        lost: the account of one that was not.
        over_at_node: a session of the node's that orchd has ended, or could not take: the node is to end it, too.
    """

    def __init__(
        self,
        settings: StreamsSettings,
        table: SessionTable,
        letting_go: LettingGo,
        store: StreamStore,
        containers: Containers,
        runners: KnownRunners,
        lost_s: Callable[[float], float] = lambda since: 0.0,
    ) -> None:
        super().__init__(letting_go, store, containers, runners)
        self._lost_s = lost_s
        self._settings = settings
        self._table = table
        self.found: Signal[Stream] = Signal()
        self.lost: Signal[Account] = Signal()
        self._queued: dict[tuple[ModelKey, str], tuple[QueuePlace, float]] = {}
        self._expected = ExpectedStreams(table, self._take, runners.knows, self._passed)
        self._heard: set[RunnerId] = set()

    async def run(self) -> None:
        """Look after streams until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self._sweep()

    @property
    def changes(self) -> Changes[ModelKey]:
        """Models of whose streams something else is shown now."""
        return self.streams.changes

    def add_to(self, status: ModelStatus) -> ModelStatus:
        """Return the status with the streams of the model."""
        streams = sorted(self.streams.of(status.model.key), key=lambda s: s.began_at)
        shown = (StreamStatus(s.id, s.origin, s.phase, s.began_date, s.session.runner.replica) for s in streams)
        return replace(status, streams=tuple(shown)) if streams else status

    # What jobs do.

    def claim(self, key: ModelKey, name: str, origin: Origin) -> Stream | None:
        """Return the stream of that name; one that was found without a name takes it."""
        stream = self.streams.find(key, name)
        if stream is None:
            stream = next((s for s in self.streams.of(key) if s.origin is Origin.FOUND and s.live), None)
            if stream is not None:
                stream.origin = origin
                self.streams.rename(stream, name)
                self._records.save_soon(stream)
        return stream

    def hold(self, name: str, origin: Origin, session: Session) -> Stream:
        """Make a stream of a slot that was just taken for it; if there is one of that name by now, return that."""
        now = _now()
        stream = Stream(name, session.key, origin, session, now, now, began_date=time.time())
        if (other := self.streams.find(session.key, name)) is not None:
            self._table.end(session, Outcome.REFUSED)
            self.ended.emit(StreamEnd(stream, Outcome.REFUSED, "there is one of that name"))
            return other
        self.streams.add(stream)
        session.abort = lambda reason: self._cut(stream, reason)
        return stream

    def starting(self, stream: Stream) -> None:
        """Somebody means to start it; nobody else may from now on."""
        self.streams.move(stream, StreamEvent.START_ASKED)
        stream.sign_at = _now()

    def started(self, stream: Stream) -> None:
        """The container has said yes."""
        self.streams.move(stream, StreamEvent.STARTED)
        stream.idle_since, stream.sign_at, stream.ran = None, _now(), True
        key = stream.key
        log.info("stream_started", pipeline=key.pipeline, model_id=key.model_id, stream=stream.id, origin=stream.origin)

    def refused(self, stream: Stream, why: str) -> None:
        """Nothing was started: a reservation stays, a stream that began with this start is over."""
        if stream.phase is StreamPhase.STARTING and stream.origin.at_node:
            self.streams.move(stream, StreamEvent.START_REFUSED)
            stream.asked = False
            self._records.forget_soon(stream.key, stream.id)
        elif stream.live:
            self._finish(stream, Outcome.REFUSED, why)

    def request_began(self, stream: Stream, cut: Callable[[str], None]) -> None:
        stream.riders.add(cut)
        stream.sign_at = _now()

    def stopped(self, key: ModelKey, name: str) -> None:
        """Somebody has stopped a stream that there is not; if it is found again, that counts."""
        self.over.note(key, name, _now())

    # What the node says; after `ports.NodeSessions`.

    def reserved(self, key: ModelKey, session: str) -> None:
        self.over.forget(key, session)
        known = (key, session) in self._queued or (key, session) in self._expected
        if known or self.claim(key, session, AT_NODE) is not None:
            return
        try:
            got = self._table.begin(key, SessionKind.STREAM)
        except JobRefused as refusal:
            log.warning(
                "reservation_refused", pipeline=key.pipeline, model_id=key.model_id, session=session, code=refusal.code
            )
            self.over_at_node.emit(key, session)
            return
        if isinstance(got, Session):
            self.hold(session, AT_NODE, got)
            return
        self._queued[key, session] = got, _now()

        def resolve(what: Session | JobRefused) -> None:
            self._queued.pop((key, session), None)
            if isinstance(what, Session):
                self.hold(session, AT_NODE, what)
            else:
                self.over_at_node.emit(key, session)

        got.resolve = resolve

    def released(self, key: ModelKey, session: str) -> None:
        self._release(key, session, Outcome.OK, "the node has released it")

    def listed(self, key: ModelKey, sessions: frozenset[str], asked_at: float) -> None:
        for session in sorted(sessions):
            if self.over.at(key, session) < asked_at:
                self.reserved(key, session)
        for session in self._older(key, asked_at) - sessions:
            self.released(key, session)

    def forgotten(self, key: ModelKey, asked_at: float) -> None:
        for session in self._older(key, asked_at):
            self._release(key, session, Outcome.ABORTED, "the node went, and the session with it")

    def _older(self, key: ModelKey, asked_at: float) -> set[str]:
        """Return the node's sessions that we have known since before then."""
        streams = {s.id for s in self.streams.of(key) if s.origin.at_node and s.began_at < asked_at}
        return streams | {name for (of, name), (_, since) in self._queued.items() if of == key and since < asked_at}

    def _release(self, key: ModelKey, session: str, outcome: Outcome, why: str) -> None:
        """The node does not have it any more."""
        if (queued := self._queued.pop((key, session), None)) is not None:
            self._table.leave(queued[0])
        stream = self.streams.find(key, session)
        if stream is not None and stream.origin.at_node:
            stream.node_knows = True
            self.end_soon(stream, outcome, why)
        elif stream is None:
            self.stopped(key, session)

    def count(self, key: ModelKey, origin: Origin) -> int:
        """Return how many streams of a model there are, those that are still to be found again included."""
        return self.streams.count(key, origin) + self._expected.count(key, origin)

    def held_for_node(self, key: ModelKey) -> frozenset[str]:
        """Return the node's sessions that we hold."""
        return frozenset(stream.id for stream in self.streams.of(key) if stream.origin.at_node)

    # What containers say.

    def probed(self, runner: RunnerId, model: Model, word: ProbeWord, asked_at: float) -> None:
        """A probe that began `asked_at` (loop clock) has ended."""
        if word not in (ProbeWord.READY, ProbeWord.BUSY) or not model.health.busy:
            return  # Its words don't tell free from busy.
        first = runner not in self._heard
        self._heard.add(runner)
        now = _now()
        mine = [s for s in self.streams.of(runner.key) if s.session.runner == runner]
        for stream in mine:
            if word is ProbeWord.BUSY:
                stream.sign_at = now
                if stream.phase is StreamPhase.RUNNING:
                    stream.idle_since = None
            elif stream.phase is StreamPhase.RUNNING and asked_at > stream.sign_at:
                stream.idle_since = asked_at if stream.idle_since is None else stream.idle_since
            elif stream.phase is StreamPhase.ENDING and stream.idle_since is not None and asked_at > stream.idle_since:
                self._finish(stream, Outcome.OK, "its container has ended it")
        if first and word is ProbeWord.BUSY and not mine and self._is_alone(runner):
            self._find(runner)

    # After a restart.

    async def restore(self) -> None:
        """Expect the streams that an earlier orchd left. Before the loop has looked at the runtimes."""
        now = _now()
        date = time.time() - now
        for stored, origin, account in await self._records.left():
            began_at = stored.began_at - date
            left = ExpectedStream(stored.runner, stored.id, origin, began_at, stored.began_at, account)
            self._expected.add(left, now)

    def _take(self, expected: ExpectedStream, session: Session) -> None:
        """The runner of a stream that was waited for is open."""
        name, key = expected.name, expected.runner.key
        stream = self.hold(name, expected.origin, session)
        stream.began_date = expected.began_date
        if stream.session.account is None:
            stream.session.account = expected.account
        stream.began_at, stream.asked, stream.ran = expected.began_at, True, True
        stream.found = True
        self.streams.move(stream, StreamEvent.FOUND)
        log.info("stream_found", pipeline=key.pipeline, model_id=key.model_id, stream=name, origin=expected.origin)
        if (key, name) in self.over:
            self.end_soon(stream, Outcome.OK, "it was stopped before it was found again")
        else:
            self.found.emit(stream)

    def _find(self, runner: RunnerId) -> None:
        """A container is busy, and nobody has said with what."""
        name, now = f"found-{runner.replica}-{runner.generation}", _now()
        self._expected.add(ExpectedStream(runner, name, Origin.FOUND, now, time.time()), now)

    def _is_alone(self, runner: RunnerId) -> bool:
        return not self._table.active_on(runner) and not self._expected.on(runner)

    # What nobody says.

    def _sweep(self) -> None:
        now, rules = _now(), self._settings
        for stream in self.streams:
            signs = max(stream.sign_at, stream.session.progress_at)
            if stream.phase is StreamPhase.ENDING:
                if stream.idle_since is not None and self._passed(stream.idle_since, now) >= WIND_DOWN_S:
                    self._finish(stream, Outcome.OK, f"its container did not become free within {WIND_DOWN_S:g} s")
            elif (
                stream.phase is StreamPhase.RUNNING
                and stream.idle_since is not None
                and self._passed(stream.idle_since, now) >= rules.idle_s
            ):
                self._finish(stream, Outcome.OK, "its container says that it is free")
            elif stream.live and self._passed(signs, now) >= rules.silence_s and not stream.riders:
                self.end_soon(stream, Outcome.TIMEOUT, f"it gave no sign of life for {rules.silence_s:g} s")
        for given_up in self._expected.give_up(now):
            self._records.forget_soon(given_up.runner.key, given_up.name)
            if given_up.account is not None:
                self.lost.emit(given_up.account)
        self.over.forget_before(now - RECOVER_S)

    def _passed(self, since: float, now: float) -> float:
        """Return the seconds since then, those left out in which orchd itself stood still and could hear nothing."""
        return now - since - self._lost_s(since)


def _now() -> float:
    return asyncio.get_running_loop().time()

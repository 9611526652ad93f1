"""The one that moves streams: begins, ends and finds them again. The only writer of `Stream.phase`.

A stream begins by a request or by the node's word: see `beginnings.py`. It ends by its stop, by its container's end or
idleness, by the node's word, or by silence; whichever comes first wins, and the slot is back when it has ended: see
`endings.py`.

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
from orchd.domain.outcomes import Cut, Outcome
from orchd.domain.phases import StreamEvent, StreamPhase
from orchd.domain.ports import ProbeWord
from orchd.domain.signal import Signal
from orchd.domain.state import ModelStatus, StreamStatus
from orchd.domain.stores import StreamStore
from orchd.hooks.account import Account
from orchd.realtime.beginnings import StreamBeginnings
from orchd.realtime.expected import RECOVER_S, ExpectedStream, ExpectedStreams
from orchd.realtime.settings import StreamsSettings
from orchd.realtime.starts import Containers, KnownRunners
from orchd.realtime.stream import Stream
from orchd.sessions.letting_go import LettingGo
from orchd.sessions.session import Session
from orchd.sessions.slots import QueuePlace
from orchd.sessions.table import SessionTable

log = structlog.get_logger("orchd.streams")

SWEEP_S = 1.0
WIND_DOWN_S = 90.0
"""Longest wait for a container that can't be asked to stop to become free by itself: ai-runner ends a stream 60 s
after its input has ended (docs/protocol/container.md, 3.2)."""


class Keeper(StreamBeginnings):
    """After `ports.NodeSessions`.

    Args:
        lost_s: returns for how long orchd itself stood still since then (loop clock): no stream is ended for that.

    Attributes:
        ending: emitted once for each stream: the end of its session has begun, and why.
        ended: emitted once for each stream, when it has ended and no request rides on it any more.
        found: a stream that runs was found again after a restart.
        lost: the account of one that was not; it is settled when the task has ended (`StreamEnd.forgotten`).
        given_up: a stream of an earlier orchd was not found: the same one, whether or not it has an account.
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
        super().__init__(table, letting_go, store, containers, runners)
        self._lost_s = lost_s
        self._settings = settings
        self.found: Signal[Stream] = Signal()
        self.lost: Signal[Account, asyncio.Task[None]] = Signal()
        self.given_up: Signal[ExpectedStream] = Signal()
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

    def starting(self, stream: Stream) -> int:
        """Somebody means to start it; nobody else may from now on. Return which start it is."""
        self.streams.move(stream, StreamEvent.START_ASKED)
        stream.sign_at = _now()
        stream.starts += 1
        return stream.starts

    def started(self, stream: Stream) -> None:
        """The container has said yes."""
        self.streams.move(stream, StreamEvent.STARTED)
        stream.idle_since, stream.sign_at, stream.ran = None, _now(), True
        key = stream.key
        log.info("stream_started", pipeline=key.pipeline, model_id=key.model_id, stream=stream.id, origin=stream.origin)

    def refused(self, stream: Stream, why: str) -> None:
        """Nothing was started: a reservation stays, a stream that began with this start is over."""
        if stream.phase is StreamPhase.STARTING and stream.origin.reserved:
            self.streams.move(stream, StreamEvent.START_REFUSED)
            self._unstarted(stream)
        elif stream.live:
            self._finish(stream, Outcome.REFUSED, why)

    def request_began(self, stream: Stream, cut: Cut) -> None:
        stream.riders.add(cut)
        stream.sign_at = stream.request_at = _now()
        stream.used = True

    def count(self, key: ModelKey, origin: Origin) -> int:
        """Return how many streams of a model there are, those that are still to be found again included."""
        return self.streams.count(key, origin) + self._expected.count(key, origin)

    def at_node(self, key: ModelKey) -> int:
        """Return how many slots of a model are taken, or waited for, for sessions that the node has."""
        streams = sum(stream.origin.at_node and not stream.node_knows for stream in self.streams.of(key))
        reserved = sum(of == key for of, _ in self._reservations)
        return streams + reserved + self._expected.count(key, AT_NODE)

    def until_found(self, key: ModelKey, name: str) -> QueuePlace | None:
        """Return a place that is resolved when a stream that an earlier orchd has left is found, or is given up.

        None = it is not such a one.
        """
        return self._expected.wait(key, name) if self._expects(key, name) else None

    def _expects(self, key: ModelKey, name: str) -> bool:
        return (key, name) in self._expected

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
                self._is_free(stream, "its container has ended it")
        if first and word is ProbeWord.BUSY and not mine and self._is_alone(runner):
            self._find(runner)

    # After a restart.

    async def restore(self) -> None:
        """Expect the streams that an earlier orchd left. Before the loop has looked at the runtimes."""
        now = _now()
        date = time.time() - now
        for stored, origin, account in await self._records.left():
            began_at = stored.began_at - date
            left = ExpectedStream(stored.runner, stored.id, origin, began_at, stored.began_at, account, stored.started)
            self._expected.add(left, now)

    async def keep(self, stream: Stream) -> None:
        """Return when it is on the disk that there is this session, which nothing was started in yet.

        Raises:
            StoreError: it can't be written.
        """
        await self._records.keep(stream)

    def expected(self, origin: Origin) -> list[ExpectedStream]:
        """Return the streams of this origin that are still to be found again."""
        return self._expected.of(origin)

    def expected_accounts(self) -> set[str]:
        """Return the ids of the accounts of streams that are still to be found again."""
        return self._expected.accounts()

    def _take(self, expected: ExpectedStream, session: Session) -> None:
        """The runner of a stream that was waited for is open."""
        name, key = expected.name, expected.runner.key
        stream = self.hold(name, expected.origin, session)
        stream.began_date = expected.began_date
        if stream.session.account is None:
            stream.session.account = expected.account
        stream.began_at, stream.kept, stream.found = expected.began_at, True, True
        if expected.started:
            stream.asked = stream.ran = True
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
            if stream.live and (why := self._runners.given_up(stream.session.runner)):
                self._finish(stream, Outcome.ABORTED, why, confirmed=False)
                continue
            signs = max(stream.sign_at, stream.session.progress_at)
            if stream.phase is StreamPhase.ENDING:
                if stream.idle_since is not None and self._passed(stream.idle_since, now) >= WIND_DOWN_S:
                    self._is_free(stream, f"its container did not become free within {WIND_DOWN_S:g} s")
            elif (
                stream.phase is StreamPhase.RUNNING
                and stream.idle_since is not None
                and self._passed(stream.idle_since, now) >= rules.idle_s
            ):
                self._is_free(stream, "its container says that it is free")
            elif stream.live and self._passed(signs, now) >= rules.silence_s and not stream.riders:
                self.end_soon(stream, Outcome.TIMEOUT, f"it gave no sign of life for {rules.silence_s:g} s")
        self._end_what_nobody_uses(now)
        for given_up in self._expected.give_up(now):
            forgotten = self._records.forget_soon(given_up.runner.key, given_up.name)
            if given_up.account is not None:
                self.lost.emit(given_up.account, forgotten)
            self.given_up.emit(given_up)
        self.over.forget_before(now - RECOVER_S)
        self.node_ends.names.forget_before(now - RECOVER_S)

    def _end_what_nobody_uses(self, now: float) -> None:
        """End the node's sessions in which no request has come: each of them takes a slot."""
        unused_s = self._settings.unused_s
        for stream in self.streams:
            unused = stream.live and stream.origin.at_node and not stream.used
            if unused and self._passed(stream.began_at, now) >= unused_s:
                self.end_soon(stream, Outcome.TIMEOUT, f"no request came in it for {unused_s:g} s")
        for (key, name), reservation in list(self._reservations.items()):
            if not reservation.used and self._passed(reservation.since, now) >= unused_s:
                self._drop(key, name)
                self.node_ends.tell(key, name)

    def _passed(self, since: float, now: float) -> float:
        """Return the seconds since then, those left out in which orchd itself stood still and could hear nothing."""
        return now - since - self._lost_s(since)


def _now() -> float:
    return asyncio.get_running_loop().time()

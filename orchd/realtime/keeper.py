"""The one that moves streams: begins, ends and finds them again. The only writer of `Stream.phase`.

A stream ends by its stop, by its container's end or idleness, by the node's word, or by silence; whichever comes first
wins, and the slot is back when it has ended. Where the container may still be at work on it, it is asked to stop first,
and the slot is held meanwhile: another start would meet a busy container. If it does not say that it has stopped, or if
requests on the stream are still ending, the stream is over, but its slot is letting go (`sessions.letting_go`).

Jobs, the node's registries and health tell this object things; it does its own I/O in tasks of its own, through ports.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import structlog

from orchd.domain.changes import Changes
from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.model import Model
from orchd.domain.origins import AT_NODE, Origin
from orchd.domain.outcomes import Outcome
from orchd.domain.phases import StreamEvent, StreamPhase
from orchd.domain.ports import ProbeWord, StoredStream, StreamStore
from orchd.domain.signal import Signal
from orchd.domain.state import ModelStatus, StreamStatus
from orchd.errors import JobRefused, StoreError
from orchd.hooks.account import Account
from orchd.realtime.container import ContainerSilent, Reply
from orchd.realtime.routes import Learnt, StreamCall, stream_routes
from orchd.realtime.settings import StreamsSettings
from orchd.realtime.stream import Stream, StreamEnd, Streams
from orchd.sessions.letting_go import LettingGo
from orchd.sessions.session import Session, SessionKind
from orchd.sessions.slots import QueuePlace
from orchd.sessions.table import SessionTable
from orchd.tasks import cancel, spawn

log = structlog.get_logger("orchd.streams")

STREAM_ID, SESSION_ID = "X-Stream-Id", "Livepeer-Session-Id"
SWEEP_S = 1.0
RECOVER_S = 180.0
"""Longest wait for the runner of a stream that an earlier orchd left; a container that loads again has lost it."""
LOOKED_S = 30.0
"""After so long every runner that there is has been seen."""
MOST_OVER = 10_000
"""Ends of streams that are remembered at most; the oldest are forgotten first."""
WIND_DOWN_S = 90.0
"""Longest wait for a container that can't be asked to stop to become free by itself: ai-runner ends a stream 60 s
after its input has ended (container.md 3.2)."""

NOTHING_TO_STOP = (400, 404, 405, 410)
"""With these a container says that it carries no such stream. PyTrickle: 400 when none was started."""


class _Expected(NamedTuple):
    """A stream that runs, on a runner that is not open yet.

    Attributes:
        until: loop clock; then it is given up.
    """

    runner: RunnerId
    place: QueuePlace
    origin: Origin
    until: float
    account: Account | None = None


class Containers(Protocol):
    async def call(
        self, model: Model, address: Address, call: StreamCall, *, headers: Mapping[str, str], body: bytes
    ) -> Reply | None: ...


class Keeper:
    """After `ports.NodeSessions`.

    Args:
        models: what is served now.
        knows: whether a runner is there; asked about runners of streams that an earlier orchd left.
        on_end: called once for each stream, when it has ended and no request rides on it any more.
        lost_s: returns for how long orchd itself stood still since then (loop clock): no stream is ended for that.

    Attributes:
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
        models: Callable[[], Mapping[ModelKey, Model]],
        knows: Callable[[RunnerId], bool],
        on_end: Callable[[StreamEnd], None],
        lost_s: Callable[[float], float] = lambda since: 0.0,
    ) -> None:
        self._lost_s = lost_s
        self.streams = Streams()
        self._settings = settings
        self._table = table
        self._letting_go = letting_go
        self._store = store
        self.containers = containers
        self._models = models
        self._knows = knows
        self._on_end = on_end
        self.found: Signal[Stream] = Signal()
        self.lost: Signal[Account] = Signal()
        self.over_at_node: Signal[ModelKey, str] = Signal()
        self._starts: dict[Stream, asyncio.Task[Reply | ContainerSilent | None]] = {}
        self._endings: dict[Stream, asyncio.Task[Reply | None]] = {}
        self._ended: dict[Stream, StreamEnd] = {}
        self._over: dict[tuple[ModelKey, str], float] = {}
        self._chores: set[asyncio.Task[Any]] = set()
        self._queued: dict[tuple[ModelKey, str], tuple[QueuePlace, float]] = {}
        self._expected: dict[tuple[ModelKey, str], _Expected] = {}
        self._heard: set[RunnerId] = set()

    async def run(self) -> None:
        """Look after streams until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self._sweep()

    async def close(self) -> None:
        """Let go: streams and containers go on."""
        await cancel(*self._starts.values(), *self._endings.values(), *self._chores)

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
                self._chore(self._save(stream))
        return stream

    def hold(self, name: str, origin: Origin, session: Session) -> Stream:
        """Make a stream of a slot that was just taken for it; if there is one of that name by now, return that."""
        now = _now()
        stream = Stream(name, session.key, origin, session, now, now, began_date=time.time())
        if (other := self.streams.find(session.key, name)) is not None:
            self._table.end(session, Outcome.REFUSED)
            self._on_end(StreamEnd(stream, Outcome.REFUSED, "there is one of that name"))
            return other
        self.streams.add(stream)
        session.abort = lambda reason: self._cut(stream, reason)
        return stream

    def starting(self, stream: Stream) -> None:
        """Somebody means to start it; nobody else may from now on."""
        self.streams.move(stream, StreamEvent.START_ASKED)
        stream.sign_at = _now()

    def start(
        self, stream: Stream, model: Model, headers: Mapping[str, str], body: bytes
    ) -> Coroutine[Any, Any, Reply | None]:
        """Note it on the disk and ask the container to start it. The answer can be awaited; None = no such route.

        This goes on when whoever waits for it leaves: a stop must not overtake the start.

        Raises:
            ContainerSilent: when awaited.
        """
        stream.asked = True
        start = self._starts[stream] = spawn(self._ask_to_start(stream, model, headers, body), name="start a stream")
        return _answer_to(start)

    async def _ask_to_start(
        self, stream: Stream, model: Model, headers: Mapping[str, str], body: bytes
    ) -> Reply | ContainerSilent | None:
        try:
            await self._save(stream)
            return await self.ask(stream, StreamCall.START, model, headers, body)
        except ContainerSilent as exc:
            return exc
        finally:
            del self._starts[stream]

    async def ask(
        self, stream: Stream, call: StreamCall, model: Model, headers: Mapping[str, str], body: bytes
    ) -> Reply | None:
        """Ask the container of a stream, naming the stream: it may have others. None = it has no such route.

        Args:
            headers: of whoever asks; names of streams in them don't count.

        Raises:
            ContainerSilent.
        """
        named = {name: value for name, value in headers.items() if name.lower() != STREAM_ID.lower()}
        named[STREAM_ID] = stream.id
        if stream.origin.at_node:
            named = {name: value for name, value in named.items() if name.lower() != SESSION_ID.lower()}
            named[SESSION_ID] = stream.id
        return await self.containers.call(model, stream.session.address, call, headers=named, body=body)

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
            self._chore(self._forget(stream.key, stream.id))
        elif stream.live:
            self._finish(stream, Outcome.REFUSED, why)

    async def end(
        self, stream: Stream, outcome: Outcome, why: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Reply | None:
        """End a stream, asking its container to stop; return what that said, None = nothing. Repeats are fine.

        Args:
            headers, body: of the stop that a caller has sent.
        """
        return await asyncio.shield(self._begin_end(stream, outcome, why, headers or {}, body))

    def end_soon(self, stream: Stream, outcome: Outcome, why: str) -> None:
        """As `end`, without waiting."""
        if stream.live:
            self._begin_end(stream, outcome, why, {}, b"")

    def request_began(self, stream: Stream, cut: Callable[[str], None]) -> None:
        stream.riders.add(cut)
        stream.sign_at = _now()

    def request_ended(self, stream: Stream, cut: Callable[[str], None]) -> None:
        stream.riders.discard(cut)
        stream.sign_at = _now()
        self._tell_end(stream)

    def stopped(self, key: ModelKey, name: str) -> None:
        """Somebody has stopped a stream that there is not; if it is found again, that counts."""
        self._note_over(key, name)

    # What the node says; after `ports.NodeSessions`.

    def reserved(self, key: ModelKey, session: str) -> None:
        self._over.pop((key, session), None)
        known = (key, session) in self._queued or (key, session) in self._expected
        if known or self.claim(key, session, AT_NODE) is not None:
            return
        try:
            got = self._table.begin(key, SessionKind.STREAM)
        except JobRefused as refusal:
            log.warning(
                "reservation_refused", pipeline=key.pipeline, model_id=key.model_id, session=session, code=refusal.code
            )
            self._tell_node(key, session)
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
                self._tell_node(key, session)

        got.resolve = resolve

    def released(self, key: ModelKey, session: str) -> None:
        if (queued := self._queued.pop((key, session), None)) is not None:
            self._table.leave(queued[0])
        stream = self.streams.find(key, session)
        if stream is not None and stream.origin.at_node:
            stream.node_knows = True
            self.end_soon(stream, Outcome.OK, "the node has released it")
        elif stream is None:
            self.stopped(key, session)

    def listed(self, key: ModelKey, sessions: frozenset[str], asked_at: float) -> None:
        for session in sorted(sessions):
            if self._over.get((key, session), -math.inf) < asked_at:
                self.reserved(key, session)
        for stream in self.streams.of(key):
            if stream.origin.at_node and stream.began_at < asked_at and stream.id not in sessions:
                self.released(key, stream.id)
        for (queued_for, session), (_, since) in list(self._queued.items()):
            if queued_for == key and since < asked_at and session not in sessions:
                self.released(key, session)

    def count(self, key: ModelKey, origin: Origin) -> int:
        """Return how many streams of a model there are, those that are still to be found again included."""
        awaited = sum(of == key and each.origin is origin for (of, _), each in self._expected.items())
        return self.streams.count(key, origin) + awaited

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
        date = time.time() - _now()
        for stored in await self._store.streams():
            known = stored.origin in set(Origin)
            if not known:
                log.warning(
                    "stored_row_unreadable",
                    table="streams",
                    pipeline=stored.runner.key.pipeline,
                    model_id=stored.runner.key.model_id,
                    row=stored.id,
                    error=f"cannot read its origin {stored.origin!r}",
                    next="its slot stays taken, and nobody else is told of its end",
                )
            origin = Origin(stored.origin) if known else Origin.DIRECT
            self._expect(stored.runner, stored.id, origin, stored.began_at - date, stored.began_at, _account(stored))

    def _expect(
        self,
        runner: RunnerId,
        name: str,
        origin: Origin,
        began_at: float,
        began_date: float,
        account: Account | None = None,
    ) -> None:
        key = runner.key

        def resolve(what: Session | JobRefused) -> None:
            self._expected.pop((key, name), None)
            if isinstance(what, Session):
                stream = self.hold(name, origin, what)
                stream.began_date = began_date
                if stream.session.account is None:
                    stream.session.account = account
                stream.began_at, stream.asked, stream.ran = began_at, True, True
                self.streams.move(stream, StreamEvent.FOUND)
                log.info("stream_found", pipeline=key.pipeline, model_id=key.model_id, stream=name, origin=origin)
                if (key, name) in self._over:
                    self.end_soon(stream, Outcome.OK, "it was stopped before it was found again")
                else:
                    self.found.emit(stream)

        place = self._table.expect(runner, SessionKind.STREAM, resolve)
        self._expected[key, name] = _Expected(runner, place, origin, _now() + RECOVER_S, account)

    def _find(self, runner: RunnerId) -> None:
        """A container is busy, and nobody has said with what."""
        self._expect(runner, f"found-{runner.replica}-{runner.generation}", Origin.FOUND, _now(), time.time())

    def _is_alone(self, runner: RunnerId) -> bool:
        return not self._table.active_on(runner) and all(each.runner != runner for each in self._expected.values())

    # How a stream ends.

    def _cut(self, stream: Stream, reason: str) -> None:
        """Its runner goes: nobody can be asked to stop any more. Called by the table, from inside a call of its own."""
        asyncio.get_running_loop().call_soon(lambda: self._finish(stream, Outcome.ABORTED, reason, confirmed=False))

    def _begin_end(
        self, stream: Stream, outcome: Outcome, why: str, headers: Mapping[str, str], body: bytes
    ) -> asyncio.Future[Reply | None]:
        if (task := self._endings.get(stream)) is not None:
            return task
        if not stream.live or not stream.asked:
            if stream.live:
                self._finish(stream, outcome, why)
            done: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        self.streams.move(stream, StreamEvent.STOP_ASKED)
        stream.idle_since = None
        task = self._endings[stream] = spawn(self._stop(stream, outcome, why, headers, body), name="end a stream")
        return task

    async def _stop(
        self, stream: Stream, outcome: Outcome, why: str, headers: Mapping[str, str], body: bytes
    ) -> Reply | None:
        model = self._models().get(stream.key)
        reply, confirmed = None, False
        try:
            if (start := self._starts.get(stream)) is not None:
                await asyncio.wait({start})
            if model is not None and stream.phase is StreamPhase.ENDING:
                if not stream_routes(model, StreamCall.STOP, Learnt()):
                    # It ends by itself once its input has, which is the node's; see `_sweep`.
                    stream.idle_since = _now()
                    self._end_at_node(stream)
                    return None
                reply = await self.ask(stream, StreamCall.STOP, model, headers, body)
                confirmed = reply is not None and (reply.status < 300 or reply.status in NOTHING_TO_STOP)
        except ContainerSilent as exc:
            log.warning("stream_not_stopped", stream=stream.id, reason=f"the container {exc}")
        finally:
            self._endings.pop(stream, None)
        self._finish(stream, outcome, why, confirmed=confirmed)
        return reply

    def _finish(self, stream: Stream, outcome: Outcome, why: str, *, confirmed: bool = True) -> None:
        """Free the slot, or let it go; once. `confirmed`: its container has said that it is not at work on it."""
        if stream.phase is StreamPhase.ENDED:
            return
        self.streams.move(stream, StreamEvent.OVER)
        self.streams.drop(stream)
        key = stream.key
        if stream.asked and not confirmed:
            model = self._models().get(key)
            self._letting_go.cut(stream.session, model.inference.timeout_s if model else 0.0, watched=False)
        log.info(
            "stream_ended",
            pipeline=key.pipeline,
            model_id=key.model_id,
            stream=stream.id,
            origin=stream.origin,
            outcome=outcome,
            why=why,
            total_s=round(_now() - stream.began_at, 3),
        )
        self._end_at_node(stream)
        self._chore(self._forget(key, stream.id))
        self._ended[stream] = StreamEnd(stream, outcome, why)
        for cut in list(stream.riders):
            cut(why)
        # They are cut in the loop's next turn, and then it is known what their runner may still be at work on.
        asyncio.get_running_loop().call_soon(self._free, stream, outcome)
        self._tell_end(stream)

    def _free(self, stream: Stream, outcome: Outcome) -> None:
        """Free the slot, or let it go; repeats are fine."""
        self._letting_go.end(stream.session, outcome)

    def _tell_end(self, stream: Stream) -> None:
        """Say that it is over, unless a request is still ending: a hook may be at work for it."""
        if not stream.riders and (end := self._ended.pop(stream, None)) is not None:
            self._free(stream, end.outcome)
            self._on_end(end)

    def _end_at_node(self, stream: Stream) -> None:
        """See to it that the node ends it too."""
        if stream.origin.at_node:
            self._note_over(stream.key, stream.id)
            if not stream.node_knows:
                stream.node_knows = True
                self._tell_node(stream.key, stream.id)

    def _tell_node(self, key: ModelKey, session: str) -> None:
        self.over_at_node.emit(key, session)

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
        for (key, name), awaited in list(self._expected.items()):
            waited_s = self._passed(awaited.until - RECOVER_S, now)
            if waited_s >= RECOVER_S or (waited_s >= LOOKED_S and not self._knows(awaited.runner)):
                del self._expected[key, name]
                self._table.unexpect(awaited.runner, awaited.place)
                if awaited.account is not None:
                    self.lost.emit(awaited.account)
                self._chore(self._forget(key, name))
        while self._over and now - self._over[over := next(iter(self._over))] > RECOVER_S:  # Oldest first.
            del self._over[over]

    def _note_over(self, key: ModelKey, name: str) -> None:
        """Remember that a stream is over, also one that was never heard of: callers can name as many as they like."""
        self._over.pop((key, name), None)
        self._over[key, name] = _now()
        if len(self._over) > MOST_OVER:
            del self._over[next(iter(self._over))]

    def _passed(self, since: float, now: float) -> float:
        """Return the seconds since then, those left out in which orchd itself stood still and could hear nothing."""
        return now - since - self._lost_s(since)

    # The disk.

    async def _save(self, stream: Stream) -> None:
        runner, began_at, account = stream.session.runner, stream.began_date, stream.session.account
        paid_by = None if account is None else account.to_json()
        try:
            await self._store.save_stream(StoredStream(stream.id, stream.origin, runner, began_at, paid_by))
        except StoreError as exc:
            log.error("stream_not_saved", stream=stream.id, reason=exc.message)

    async def _forget(self, key: ModelKey, name: str) -> None:
        try:
            await self._store.forget_stream(key, name)
        except StoreError as exc:
            log.error("stream_not_forgotten", stream=name, reason=exc.message)

    def _chore(self, work: Awaitable[Any]) -> None:
        async def done() -> None:
            await work

        task = spawn(done(), name="a stream's chore")
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)


async def _answer_to(start: asyncio.Task[Reply | ContainerSilent | None]) -> Reply | None:
    answer: Reply | ContainerSilent | None = await asyncio.shield(start)
    if isinstance(answer, ContainerSilent):
        raise answer
    return answer


def _now() -> float:
    return asyncio.get_running_loop().time()


def _account(stored: StoredStream) -> Account | None:
    """Return who pays for a stream that an earlier orchd left; None = nobody, or it can't be read, which is logged."""
    if stored.account is None:
        return None
    try:
        return Account.from_json(stored.account)
    except ValueError as exc:
        log.error(
            "stored_account_unreadable",
            pipeline=stored.runner.key.pipeline,
            model_id=stored.runner.key.model_id,
            stream=stored.id,
            error=str(exc),
            next="the session goes on, and nobody is charged for it",
        )
        return None

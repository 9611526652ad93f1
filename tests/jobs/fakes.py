"""The job path between two ends that the test holds: real server, handler, hooks and connections, no sockets.

A `Bench` gives callers (`Bench.caller`) and is the network in which runners are found (`Bench.network`). Both ends are
`FakeTransport`s: what the test says there arrives at once, and what orchd says is in `sent`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchd.domain.ids import ModelKey, RunnerId, SessionId
from orchd.domain.model import Model
from orchd.domain.outcomes import Outcome
from orchd.domain.sold import SoldSession
from orchd.doors.entrance import Entrance
from orchd.doors.listed import DOORS
from orchd.errors import Code, JobRefused
from orchd.hooks.account import Account
from orchd.hooks.calls import HookCalls
from orchd.hooks.hook import JobHook, Waits
from orchd.hooks.job import Job
from orchd.hooks.open_accounts import OpenAccounts
from orchd.hooks.usage import Usage
from orchd.jobs.ending import JobListeners
from orchd.jobs.lines import fields
from orchd.jobs.needs import ModelFacts, SessionKeepers, Surroundings
from orchd.jobs.run import Run
from orchd.jobs.server import JobServer
from orchd.jobs.settings import JobsSettings
from orchd.node.ports import NodeCalls
from orchd.realtime.session_channels import OwnSessionChannels
from orchd.relay.caller import CallerConnection
from orchd.relay.wire import Wire
from orchd.sessions.session import Session
from orchd.sessions.table import SessionTable
from orchd.sold.keeper import SoldKeeper
from orchd.sold.runner_side.urls import RunnerUrls
from tests.fakes.sold_door import SessionDoor
from tests.fakes.stored import FakeStreamStore
from tests.fakes.streams import FakeRunners, a_keeper, a_letting_go
from tests.faults.message import Message
from tests.jobs.messages import answer
from tests.jobs.model import ADDRESS, KEY, a_model, runner_of
from tests.relay.transport import FakeTransport
from tests.virtual_time import settle

SECRET = bytes(32)
SERVICE, INSIDE = "https://pay.example:8443/ai", "http://172.18.0.1:8739"
"""Where clients reach what orchd sells, and containers what is for them."""


class Network:
    """Where runners are. Attributes:
    reply: what they answer to each whole request, at once; None = the test answers.
    fails: why no connection can be had; None = one can.
    gate: connecting waits for this.
    room: as of `FakeTransport`, of new connections.
    """

    def __init__(self) -> None:
        self.reply: bytes | None = answer()
        self.fails: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.room: int | None = None
        self.ends: list[FakeTransport] = []
        self.dialled: list[tuple[str, int]] = []
        self._made = asyncio.Event()
        self._answered: Counter[FakeTransport] = Counter()

    async def connect(
        self, factory: Callable[[], Wire], host: str, port: int, *, ssl: object = None
    ) -> tuple[FakeTransport, Wire]:
        """After `loop.create_connection`."""
        self.dialled.append((host, port))
        await (asyncio.sleep(0) if self.gate is None else self.gate.wait())
        if self.fails is not None:
            raise self.fails
        protocol = factory()
        end = FakeTransport(protocol, self.room)
        self.ends.append(end)
        self._made.set()
        try:
            await asyncio.sleep(0)
        except BaseException:
            end.close()
            raise
        return end, protocol

    @property
    def end(self) -> FakeTransport:
        """The connection that was made last."""
        return self.ends[-1]

    @property
    def requests(self) -> list[Message]:
        return [message for end in self.ends for message in end.messages]

    async def connected(self, number: int = 1) -> FakeTransport:
        """Wait for so many connections, and no turn longer."""
        while len(self.ends) < number:
            self._made.clear()
            await self._made.wait()
        return self.end

    def turn(self) -> None:
        """Answer what is whole."""
        for end in self.ends:
            whole = sum(message.end is not None for message in end.messages) if self.reply is not None else 0
            while self.reply is not None and self._answered[end] < whole and not end.over:
                self._answered[end] += 1
                end.say(self.reply)


def session_of(job: Job) -> Session | None:
    """Return the session of a job, which hooks don't see."""
    facts = job._facts
    assert isinstance(facts, Run)
    return facts.session


class NotingTable(SessionTable):
    """Attributes:
    sessions: all that have begun, in order.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sessions: list[Session] = []

    def _begin(self, *args: Any) -> Session:
        session = super()._begin(*args)
        self.sessions.append(session)
        return session


@dataclass
class FakeHook(JobHook):
    """Answers as told, by the name of the call.

    Attributes:
        waits: these calls are coroutines; others are plain.
        hangs: these never end by themselves.
        fails: these raise.
        sessions: all that have begun; the bench's.
    """

    waits: set[str] = field(default_factory=set)
    hangs: set[str] = field(default_factory=set)
    fails: dict[str, Exception] = field(default_factory=dict)
    identified: list[Job] = field(default_factory=list)
    admitted: list[Job] = field(default_factory=list)
    charged: list[float] = field(default_factory=list)
    settled: list[tuple[Session, Outcome]] = field(default_factory=list)
    running: Counter[SessionId] = field(default_factory=Counter)
    sessions: list[Session] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def never(self, what: bool, why: str) -> None:
        """Note what must not be; raising is of no use here, as that refuses the job."""
        if what:
            self.wrong.append(why)

    def identify(self, job: Job) -> Waits:
        self.never(session_of(job) is not None, "identified with a slot")
        self.identified.append(job)
        return self.does("identify")

    def admit(self, job: Job) -> Waits:
        session = session_of(job)
        assert session is not None, "admitted without a slot"
        self.admitted.append(job)
        return self.does("admit", session)

    def session(self, account: Account) -> Session:
        """Return the session that this account is of."""
        return next(session for session in reversed(self.sessions) if session.account is account)

    def settle(self, account: Account, outcome: Outcome, usage: Usage) -> Waits:
        session = self.session(account)
        self.never(session.outcome is not outcome, "settled before its end")
        self.never(self.running[session.id] > 0, "settled while another call for the session runs")
        self.settled.append((session, outcome))
        return self.does("settle")

    def does(self, call: str, session: Session | None = None) -> Waits:
        if call in self.waits or call in self.hangs:
            return self._later(call, session)
        if call in self.fails:
            raise self.fails[call]
        return None

    async def _later(self, call: str, session: Session | None) -> None:
        if session is not None:
            self.running[session.id] += 1
        try:
            await self.wait(call)
        finally:
            if session is not None:
                self.running[session.id] -= 1
        if call in self.fails:
            raise self.fails[call]

    async def wait(self, call: str) -> None:
        await (asyncio.Event().wait() if call in self.hangs else asyncio.sleep(0))


class Charging(FakeHook):
    def charge(self, account: Account, used: float) -> Waits:
        session = self.session(account)
        self.never(session in [settled for settled, _ in self.settled], "charged after it was settled")
        self.charged.append(used)
        return self.does("charge", session)


@dataclass
class FakeMetrics:
    jobs: list[tuple[ModelKey | None, str, str, float | None, float]] = field(default_factory=list)
    refused: list[Code] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    def job_finished(
        self,
        key: ModelKey | None,
        outcome: str,
        code: str,
        total_s: float,
        first_byte_s: float | None,
        held_s: float,
        status: int = 0,
    ) -> None:
        assert total_s >= held_s
        self.jobs.append((key, str(outcome), str(code), first_byte_s, held_s))
        self.statuses.append(status)

    def request_refused(self, code: Code) -> None:
        self.refused.append(code)

    def connection_closed(self, reason: str) -> None:
        self.closed.append(reason)


class FakeLog:
    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def done(self, run: Run, outcome: Outcome, refusal: JobRefused | None, total_s: float) -> None:
        self.lines.append(fields(run, outcome, refusal, total_s))


class Bench:
    """The real server, which does not listen, inside a `VirtualLoop`."""

    server: JobServer

    def __init__(
        self,
        *,
        models: tuple[Model, ...] = (a_model(),),
        hooks: Sequence[FakeHook] | None = None,
        real_hooks: Sequence[JobHook] = (),
        is_open: bool = True,
        on_count: Callable[[ModelKey, int], None] = lambda key, active: None,
        store: FakeStreamStore | None = None,
        node: NodeCalls | None = None,
        books: OpenAccounts | None = None,
        own_channels: Callable[[SoldSession], OwnSessionChannels] | None = None,
        streams: Mapping[str, Any] = {},
        **settings: Any,
    ) -> None:
        """Make one.

        Args:
            streams: settings of streams that are no default.
        """
        loop = asyncio.get_running_loop()
        self.models: Mapping[ModelKey, Model] = {model.key: model for model in models}
        self.wanted: list[ModelKey] = []
        self.hurried: list[RunnerId] = []
        self.unanswered: list[tuple[ModelKey, str]] = []
        self.health: tuple[bool, str] = (True, "")
        self.node_health = True
        defaults = {"hold_limit": 4, "hold_timeout_s": 20, "connect_timeout_s": 3, "between_bytes_timeout_s": 7}
        self.settings = JobsSettings(**(defaults | {"hook_timeout_s": 2} | settings))
        self.table = NotingTable(
            on_drained=lambda runner: None,
            on_wanted=self.wanted.append,
            on_count=on_count,
            on_closed=lambda runner: self.server.runner_closed(runner),
            clock=loop.time,
        )
        self.entrance = Entrance((SessionDoor(), *DOORS))
        self.hooks = [FakeHook()] if hooks is None else hooks
        for hook in self.hooks:
            hook.sessions = self.table.sessions
        self.metrics = FakeMetrics()
        self.log = FakeLog()
        self.letting_go = a_letting_go(self.table)
        self.keeper = a_keeper(
            self.table,
            lambda: self.models,
            lambda end: self.server.stream_ended(end),
            letting_go=self.letting_go,
            store=store,
            **streams,
        )
        self.runners = FakeRunners(lambda: self.models, lambda runner: True)
        self.urls = RunnerUrls(SERVICE, INSIDE, lambda: "", lambda: self.models)
        self.moved_at: dict[str, float] = {}
        self.lost_s = 0.0
        self.sold = SoldKeeper(
            *(self.keeper, self.runners, SECRET, lambda since: self.lost_s, self.urls.control, self.moved_at.get)
        )
        self.server = JobServer(
            self.settings,
            ModelFacts(lambda: self.models, lambda key: self.health, lambda key: self.node_health),
            SessionKeepers(self.table, self.letting_go, self.keeper, node, self.sold, own_channels),
            HookCalls([*self.hooks, *real_hooks], timeout_s=self.settings.hook_timeout_s, books=books),
            JobListeners(
                self.metrics, self.log, self.hurried.append, lambda key, door: self.unanswered.append((key, door))
            ),
            Surroundings({}),
        )
        self.keeper.found.connect(self.server.stream_found)
        self.keeper.lost.connect(self.server.stream_lost)
        self.handler = self.server._handler
        self.pool = self.server._pool
        self.network = Network()
        loop.create_connection = self.network.connect  # type: ignore[method-assign, assignment]
        self.callers: list[FakeTransport] = []
        for model in models:
            self.table.define(model.key, model.max_sessions, self.settings.hold_limit)
            if is_open:
                self.table.open(runner_of(model.key), ADDRESS, None)

    def caller(self, data: bytes = b"", room: int | None = None) -> FakeTransport:
        """Return a new connection on which this has been said."""
        caller = FakeTransport(CallerConnection(self.server.callers, self.entrance), room)
        self.callers.append(caller)
        if data:
            caller.say(data)
        return caller

    def cold(self) -> None:
        self.table.set_closed(KEY, startable=True, code=Code.NOT_READY, reason="it is cold")

    def open(self) -> None:
        self.table.open(runner_of(KEY), ADDRESS, None)

    async def settle(self) -> None:
        """Let all happen that can without time passing."""
        for _ in range(3):
            await settle()
            self.network.turn()
        await settle()

    async def idle(self) -> None:
        """Let time pass until every job has ended and is settled."""
        await self.settle()
        await self.handler.idle()
        await self.settle()
        assert [hook.wrong for hook in self.hooks if hook.wrong] == []

    async def serve(self, data: bytes) -> FakeTransport:
        """Return a caller who said this, and whose job has ended."""
        caller = self.caller(data)
        await self.idle()
        return caller

    @property
    def outcomes(self) -> list[str]:
        return [outcome for _, outcome, _, _, _ in self.metrics.jobs]

    @property
    def codes(self) -> list[str]:
        return [code for _, _, code, _, _ in self.metrics.jobs]

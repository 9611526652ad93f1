"""Both edges of a job without sockets, hooks that do as told, and a workbench that puts the real handler between them.

Every await of a fake is a point: `Turns.point`. By default a point passes at once; a test that wants to decide what
happens when replaces that (`tests/jobs/test_interleavings.py`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.model import ExternalLaunch, HealthSpec, InferenceSpec, MetricsSpec, Model, StopSpec, StreamSpec
from orchd.jobs.handle import Handler
from orchd.jobs.hooks import Hooks, Job, JobHook
from orchd.jobs.ports import PIECE_BYTES, Answer
from orchd.jobs.request import Header, Headers
from orchd.sessions.session import Outcome, Session
from orchd.sessions.table import SessionTable
from orchd.settings import JobsSettings

KEY = ModelKey("image", "org/one")
ADDRESS = Address("127.0.0.1", 9000)
ANSWER = Answer(200, "OK", (("Content-Type", "text/plain"),))


def a_model(key: ModelKey = KEY, **knobs: Any) -> Model:
    model = Model(
        key=key,
        launch=ExternalLaunch(ADDRESS),
        profile="byoc",
        health=HealthSpec(),
        stream=StreamSpec(),
        inference=InferenceSpec(f"/{key.pipeline}"),
        metrics=MetricsSpec(),
        stop=StopSpec(),
    )
    return replace(model, **knobs)


def runner_of(key: ModelKey, replica: int = 0) -> RunnerId:
    return RunnerId(key, replica, "0123456789ab")


class Turns:
    """Where the fakes wait. `hang` names the points that never pass, `fail` those that raise."""

    def __init__(self) -> None:
        self.hang: set[str] = set()
        self.fail: dict[str, Exception] = {}
        self.passed: Counter[str] = Counter()
        self.hung: dict[str, asyncio.Event] = {}

    async def point(self, name: str) -> None:
        self.passed[name] += 1
        if name in self.hang:
            self.hung.setdefault(name, asyncio.Event()).set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        if name in self.fail:
            raise self.fail[name]

    async def reached(self, name: str) -> None:
        """Wait until somebody hangs there."""
        await self.hung.setdefault(name, asyncio.Event()).wait()


class FakeCaller:
    def __init__(
        self,
        turns: Turns,
        *headers: Header,
        target: str = "/image",
        method: str = "POST",
        body: tuple[bytes, ...] = (b"body",),
        sized: bool = True,
        upgrade: str = "",
    ) -> None:
        self.turns = turns
        self.method, self.target, self.headers = method, target, tuple(headers)
        self.peer = "192.0.2.1"
        self.pieces = list(body)
        self.length = sum(map(len, body)) if sized else None
        self.has_body = bool(body)
        self.upgrade = upgrade
        self.started = False
        self.status = 0
        self.reply_headers: dict[str, str] = {}
        self.reply = b""
        self.answers = 0
        self.proceeded = 0
        self.read_bytes = 0
        self.finished = False
        self.broken = False

    async def read(self, limit: int = PIECE_BYTES) -> bytes:
        await self.turns.point("caller.read")
        if not self.pieces:
            return b""
        piece, rest = self.pieces[0][:limit], self.pieces[0][limit:]
        self.pieces[:1] = [rest] if rest else []
        self.read_bytes += len(piece)
        return piece

    async def proceed(self) -> None:
        self.proceeded += 1
        await self.turns.point("caller.proceed")

    async def start(self, status: int, reason: str, headers: Headers) -> None:
        assert not self.started, "two heads"
        self.started, self.status, self.reply_headers = True, status, dict(headers)
        await self.turns.point("caller.start")

    async def write(self, piece: bytes) -> None:
        assert self.started
        assert not self.finished
        assert not self.broken
        self.reply += piece
        await self.turns.point("caller.write")

    async def finish(self) -> None:
        assert self.started
        assert not self.broken
        await self.turns.point("caller.finish")
        self.finished = True

    def break_off(self) -> None:
        assert self.started, "nothing to break off"
        self.broken = True

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        assert not self.started, "two heads"
        self.started, self.status, self.reply_headers, self.reply = True, status, dict(headers), body
        self.answers += 1
        await self.turns.point("caller.answer")


class FakeExchange:
    def __init__(self, turns: Turns, answer: Answer, pieces: tuple[bytes, ...]) -> None:
        self.turns = turns
        self.head = answer
        self.pieces = list(pieces)
        self.sent: tuple[str, str, Headers] | None = None
        self.body = b""
        self.ended = False
        self.closed = False

    async def request(self, method: str, target: str, headers: Headers, *, has_body: bool, length: int | None) -> None:
        self.sent = (method, target, headers)
        await self.turns.point("runner.request")

    async def write(self, piece: bytes) -> None:
        self.body += piece
        await self.turns.point("runner.write")

    async def finish(self) -> None:
        await self.turns.point("runner.finish")
        self.ended = True

    async def answer(self) -> Answer:
        await self.turns.point("runner.answer")
        return self.head

    async def read(self) -> bytes:
        await self.turns.point("runner.read")
        return self.pieces.pop(0) if self.pieces else b""

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeRunners:
    turns: Turns
    answer: Answer = ANSWER
    pieces: tuple[bytes, ...] = (b"an", b"swer")
    exchanges: list[FakeExchange] = field(default_factory=list)

    async def connect(self, address: Address) -> FakeExchange:
        await self.turns.point("runner.connect")
        self.exchanges.append(FakeExchange(self.turns, self.answer, self.pieces))
        return self.exchanges[-1]


@dataclass
class FakeHook(JobHook):
    turns: Turns
    name: str = "hook"
    settled: list[tuple[Session, Outcome]] = field(default_factory=list)
    charged: list[float] = field(default_factory=list)
    identified: list[Job] = field(default_factory=list)
    admitted: list[Job] = field(default_factory=list)

    async def identify(self, job: Job) -> None:
        assert job.session is None
        self.identified.append(job)
        await self.turns.point(f"{self.name}.identify")

    async def admit(self, job: Job) -> None:
        assert job.session is not None
        self.admitted.append(job)
        await self.turns.point(f"{self.name}.admit")

    async def charge(self, session: Session, used: float) -> None:
        assert session not in [settled for settled, _ in self.settled]
        self.charged.append(used)
        await self.turns.point(f"{self.name}.charge")

    async def settle(self, session: Session, outcome: Outcome) -> None:
        assert session.outcome is outcome
        self.settled.append((session, outcome))
        await self.turns.point(f"{self.name}.settle")


@dataclass
class FakeMetrics:
    jobs: list[tuple[ModelKey | None, str, str, float | None, float]] = field(default_factory=list)

    def job_finished(
        self,
        key: ModelKey | None,
        outcome: str,
        code: str,
        *,
        total_s: float,
        first_byte_s: float | None,
        held_s: float,
    ) -> None:
        assert total_s >= held_s
        self.jobs.append((key, str(outcome), str(code), first_byte_s, held_s))


class Bench:
    """The real handler, table and hooks over fakes, inside a running loop."""

    def __init__(
        self,
        turns: Turns | None = None,
        *,
        models: tuple[Model, ...] = (a_model(),),
        hooks: Callable[[Turns], list[FakeHook]] = lambda turns: [FakeHook(turns)],
        is_open: bool = True,
        on_count: Callable[[ModelKey, int], None] = lambda key, active: None,
        **settings: Any,
    ) -> None:
        self.turns = turns or Turns()
        self.models: Mapping[ModelKey, Model] = {model.key: model for model in models}
        self.wanted: list[ModelKey] = []
        self.hurried: list[RunnerId] = []
        self.health: tuple[bool, str] = (True, "")
        self.settings = JobsSettings(
            hold_limit=4,
            hold_timeout_s=20,
            connect_timeout_s=3,
            between_bytes_timeout_s=7,
            hook_timeout_s=2,
            **settings,
        )
        self.table = SessionTable(
            on_idle=lambda runner: None,
            on_wanted=self.wanted.append,
            on_count=on_count,
            clock=asyncio.get_running_loop().time,
        )
        for model in models:
            self.table.define(model.key, model.max_sessions, self.settings.hold_limit)
            if is_open:
                self.table.open(runner_of(model.key), ADDRESS, None)
        self.hooks = hooks(self.turns)
        self.runners = FakeRunners(self.turns)
        self.metrics = FakeMetrics()
        self.handler = Handler(
            settings=self.settings,
            table=self.table,
            models=lambda: self.models,
            status=lambda key: self.health,
            hooks=Hooks(self.hooks, timeout_s=self.settings.hook_timeout_s, charge_period_s=1.0),
            runners=self.runners,
            metrics=self.metrics,
            hurry=self.hurried.append,
        )

    def caller(self, *headers: Header, **options: Any) -> FakeCaller:
        return FakeCaller(self.turns, *headers, **options)

    async def serve(self, *headers: Header, **options: Any) -> FakeCaller:
        """Serve one job to its end, settled, and return its caller."""
        caller = self.caller(*headers, **options)
        await self.handler.handle(caller)
        await self.handler.idle()
        return caller

    @property
    def outcomes(self) -> list[str]:
        return [outcome for _, outcome, _, _, _ in self.metrics.jobs]

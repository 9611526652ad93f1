"""Slots under every order of events: the real handler, table and hooks over fakes whose every await the test decides.

A scenario is made from its seed alone, so a failure names all that is needed to see it again:
`SEED=1234 pytest tests/jobs/test_interleavings.py`.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Iterator

import pytest
import structlog

from orchd.domain.ids import ModelKey
from orchd.errors import Code, JobRefused
from orchd.jobs.ports import Answer, CallerGone, RunnerBroke, RunnerUnreachable
from orchd.tasks import spawn
from tests.jobs.fakes import ADDRESS, KEY, Bench, FakeCaller, FakeHook, Turns, a_model, runner_of
from tests.virtual_time import run_virtual

SCENARIOS = 10_000
BATCH = 500
REPLICAS = 3

GONE = CallerGone()
ERRORS: dict[str, tuple[Exception, ...]] = {
    "caller.read": (GONE, JobRefused(Code.BAD_REQUEST, "cannot read the body")),
    "caller.proceed": (GONE,),
    "caller.start": (GONE,),
    "caller.write": (GONE,),
    "caller.finish": (GONE,),
    "caller.answer": (GONE,),
    "runner.connect": (RunnerUnreachable("refused"),),
    "runner.request": (RunnerBroke("broke"),),
    "runner.write": (RunnerBroke("broke"),),
    "runner.finish": (RunnerBroke("broke"),),
    "runner.answer": (RunnerBroke("broke"), ValueError("a bug")),
    "runner.read": (RunnerBroke("broke"),),
    **{
        f"{hook}.{call}": (JobRefused(Code.FORBIDDEN, "cannot: no"), ValueError("a bug of the hook"))
        for hook in ("first", "second")
        for call in ("identify", "admit", "charge", "settle")
    },
}


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


class RandomTurns(Turns):
    """A point passes when the scenario says so; then it may fail."""

    def __init__(self, chance: random.Random, failing: float) -> None:
        super().__init__()
        self.chance = chance
        self.failing = failing
        self.waiting: list[asyncio.Future[None]] = []

    async def point(self, name: str) -> None:
        self.passed[name] += 1
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            await turn
        finally:
            if turn in self.waiting:
                self.waiting.remove(turn)
        if self.chance.random() < self.failing:
            raise self.chance.choice(ERRORS[name])

    def pass_one(self) -> None:
        if self.waiting:
            turn = self.waiting.pop(self.chance.randrange(len(self.waiting)))
            if not turn.done():
                turn.set_result(None)


class Scenario:
    """One seed's jobs, replicas and events."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.turns = RandomTurns(chance, chance.choice((0.0, 0.0, 0.03, 0.15)))
        self.max_sessions = chance.randint(1, 3)
        self.open: set[int] = set()
        self.limits = [chance.choice((None, 1, 2)) for _ in range(REPLICAS)]
        self.last_active = 0
        self.on = [0] * REPLICAS
        models = [a_model(max_sessions=self.max_sessions)]
        if chance.random() < 0.3:  # Then the body must name the model.
            models.append(a_model(ModelKey(KEY.pipeline, "org/two")))
        self.bench = Bench(
            self.turns,
            models=tuple(models),
            hooks=lambda turns: [FakeHook(turns, "first"), FakeHook(turns, "second")],
            is_open=False,
            on_count=self.counted,
        )
        self.bench.runners.pieces = tuple(b"x" * 10 for _ in range(chance.randint(0, 3)))
        if chance.random() < 0.5:
            self.set_open(chance.randrange(REPLICAS))
        else:
            self.set_cold()
        self.jobs: list[tuple[FakeCaller, asyncio.Task[None]]] = []
        self.cancelled: set[FakeCaller] = set()

    def counted(self, key: ModelKey, active: int) -> None:
        """Called by the table with every change: what begins must fit, where it begins."""
        if key == KEY:
            on = [self.bench.table.active_on(runner_of(KEY, n)) for n in range(REPLICAS)]
            if active > self.last_active:
                assert active <= self.max_sessions, "more sessions than max_sessions"
                (where,) = (n for n in range(REPLICAS) if on[n] > self.on[n])
                assert where in self.open, "a session began on a closed replica"
                limit = self.limits[where]
                assert limit is None or on[where] <= limit, "more than the replica's limit"
                assert all(on[where] - 1 <= on[n] for n in self.open if self.has_room(n, on)), "not the least loaded"
            self.last_active, self.on = active, on
        assert active >= 0

    def has_room(self, n: int, on: list[int]) -> bool:
        limit = self.limits[n]
        return limit is None or on[n] < limit

    # What may happen.

    def arrive(self) -> None:
        chance = self.chance
        body = tuple(b"y" * 5 for _ in range(chance.randint(0, 2)))
        headers = [("X-Model-Id", KEY.model_id)] if chance.random() < 0.7 else [("Content-Type", "application/json")]
        if chance.random() < 0.3:
            body = (b'{"model_id": "org/one"}', *body)
        upgrade = chance.random() < 0.1
        self.bench.runners.answer = Answer(101 if upgrade else chance.choice((200, 404, 500)), "", ())
        caller = FakeCaller(
            self.turns,
            *headers,
            body=() if upgrade else body,
            target=f"/models/image/org%2Fone/{chance.choice(('x', 'health'))}" if chance.random() < 0.2 else "/image",
            sized=chance.random() < 0.5,
            upgrade="websocket" if upgrade else "",
        )
        self.jobs.append((caller, spawn(self.bench.handler.handle(caller), name="job")))

    def leave(self) -> None:
        running = [(caller, task) for caller, task in self.jobs if not task.done()]
        if running:
            caller, task = self.chance.choice(running)
            self.cancelled.add(caller)
            task.cancel()

    def set_open(self, n: int) -> None:
        self.open.add(n)
        self.bench.table.open(runner_of(KEY, n), ADDRESS, self.limits[n])

    def set_cold(self) -> None:
        self.bench.table.set_closed(KEY, startable=self.chance.random() < 0.8, code=Code.NOT_READY, reason="it is cold")

    def open_one(self) -> None:
        self.set_open(self.chance.randrange(REPLICAS))

    def close_one(self) -> None:
        n = self.chance.randrange(REPLICAS)
        self.open.discard(n)
        self.bench.table.close(runner_of(KEY, n), Code.NOT_READY, "it was closed")

    def abort_one(self) -> None:
        self.bench.table.abort(runner_of(KEY, self.chance.randrange(REPLICAS)), "the runner goes")

    def resize(self) -> None:
        self.max_sessions = self.chance.randint(1, 3)
        self.bench.table.define(KEY, self.max_sessions, self.chance.randint(0, 4))

    async def play(self) -> None:
        chance = self.chance
        left = chance.randint(1, 5)
        rare = (
            self.leave,
            self.leave,
            self.open_one,
            self.open_one,
            self.close_one,
            self.abort_one,
            self.resize,
            self.set_cold,
        )
        while left or not all(task.done() for _, task in self.jobs):
            what = chance.random()
            if left and what < 0.2:
                left -= 1
                self.arrive()
            elif what < 0.9 and self.turns.waiting:
                self.turns.pass_one()
            elif what < 0.98:
                chance.choice(rare)()
            else:  # Time passes; sometimes so much that whoever waits is late.
                await asyncio.sleep(chance.choice((0.1, 0.5, 1.0, 1.0, 8.0, 61.0)))
            for _ in range(chance.randint(0, 3)):
                await asyncio.sleep(0)
        while self.turns.waiting:  # What still settles goes on without its job.
            self.turns.pass_one()
            await asyncio.sleep(0)
        await self.settled()
        self.check()

    async def settled(self) -> None:
        idle = spawn(self.bench.handler.idle(), name="idle")
        while not idle.done():
            self.turns.pass_one()
            await asyncio.sleep(0.01)

    def check(self) -> None:
        bench = self.bench
        for key in bench.models:
            assert bench.table.active(key) == 0, "a slot did not come back"
            assert bench.table.waiting(key) == 0, "a place did not come back"
        assert all(bench.table.active_on(runner_of(KEY, n)) == 0 for n in range(REPLICAS))
        first, second = bench.hooks
        begun = Counter(job.session.id for job in first.identified if job.session is not None)
        for hook in (first, second):
            assert Counter(session.id for session, _ in hook.settled) == begun, "not settled exactly once"
        assert [s.outcome for s, _ in first.settled] == [outcome for _, outcome in first.settled]
        asked = sum("/health" in caller.target for caller, _ in self.jobs)
        never_ran = sum(caller in self.cancelled and task.cancelled() for caller, task in self.jobs)
        assert len(self.jobs) - asked - never_ran <= len(bench.metrics.jobs) <= len(self.jobs) - asked
        assert all(exchange.closed for exchange in bench.runners.exchanges), "a connection to the runner was left"
        for caller, task in self.jobs:
            assert task.cancelled() or task.exception() is None
            if caller not in self.cancelled:
                assert caller.started or self.turns.failing, "no answer at all"
                done = caller.finished or caller.broken or caller.answers == 1
                assert done or self.turns.failing, "an answer that neither ended nor broke"


async def play(seeds: range) -> None:
    for seed in seeds:
        try:
            await Scenario(seed).play()
        except BaseException as exc:
            exc.add_note(f"to see it again: SEED={seed} pytest {__file__}")
            raise


@pytest.mark.parametrize("start", range(0, SCENARIOS, BATCH))
def test_no_order_of_events_loses_a_slot_or_takes_one_too_many(start: int) -> None:
    seed = os.environ.get("SEED")
    run_virtual(play(range(int(seed), int(seed) + 1) if seed else range(start, start + BATCH)))


class CountingTurns(Turns):
    """Cancels the job at its n-th point."""

    def __init__(self, cancel_at: int | None) -> None:
        super().__init__()
        self.cancel_at = cancel_at
        self.job: asyncio.Task[None] | None = None
        self.points = 0

    async def point(self, name: str) -> None:
        self.points += 1
        if self.points == self.cancel_at and self.job is not None:
            self.job.cancel()
        await super().point(name)


async def cancelled_at(cancel_at: int | None, *, held: bool) -> int:
    """Run one job, cancelled at that point; return how many points it has."""
    turns = CountingTurns(cancel_at)
    bench = Bench(turns, hooks=lambda turns: [FakeHook(turns, "first"), FakeHook(turns, "second")], is_open=not held)
    bench.table.set_closed(KEY, startable=True, code=Code.NOT_READY, reason="it is cold")
    caller = bench.caller(body=(b"a", b"b"), sized=False)
    turns.job = spawn(bench.handler.handle(caller), name="job")
    if held:
        while not bench.wanted:
            await asyncio.sleep(0)
            if turns.job.done():
                break
        bench.table.open(runner_of(KEY), ADDRESS, None)
    await asyncio.wait({turns.job})
    await bench.handler.idle()
    assert bench.table.active(KEY) == bench.table.waiting(KEY) == 0
    begun = [job.session for job in bench.hooks[0].identified if job.session is not None]
    for hook in bench.hooks:
        assert [session for session, _ in hook.settled] == begun
    assert len(bench.outcomes) == 1
    if cancel_at is None:
        assert bench.outcomes == ["ok"]
        assert caller.finished
    return turns.points


@pytest.mark.parametrize("held", [False, True])
def test_a_job_cancelled_at_each_of_its_awaits_gives_its_slot_back(held: bool) -> None:
    points = run_virtual(cancelled_at(None, held=held))
    assert points > 15
    for cancel_at in range(1, points + 1):
        run_virtual(cancelled_at(cancel_at, held=held))

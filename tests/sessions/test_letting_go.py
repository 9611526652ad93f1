"""Slots whose callers have left: each move by example, then slots that are exact under any order of what may happen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchd.domain.ids import RunnerId
from orchd.domain.model import HealthSpec, Model
from orchd.domain.outcomes import Outcome
from orchd.domain.ports import ProbeWord
from orchd.errors import Code, JobRefused
from orchd.sessions.letting_go import WORK_MOVES, LeftoverWork, LettingGo, WorkEvent, WorkPhase
from orchd.sessions.session import Session, SessionKind
from orchd.sessions.table import SessionTable
from tests.jobs.model import a_model
from tests.sessions.test_table import ADDRESS, KEY, idle_since, runner
from tests.soak import examples

TIME_S = 60.0
ONE_BUSY = a_model(KEY, health=HealthSpec(ready=("idle",), busy=("ok",)), sessions_per_replica=1)


class FakeTimer:
    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at, self.call, self.cancelled = at, call, False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """Time that the test moves, and what is due by it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[FakeTimer] = []

    def call_later(self, seconds: float, call: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(self.now + seconds, call)
        self.timers.append(timer)
        return timer

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self.timers if timer.at <= self.now]
        self.timers = [timer for timer in self.timers if timer.at > self.now and not timer.cancelled]
        for timer in due:
            if not timer.cancelled:
                timer.call()


class Rig:
    def __init__(self, max_sessions: int = 1) -> None:
        self.clock = Clock()
        self.drained: list[RunnerId] = []
        self.table = SessionTable(
            on_drained=self.drained.append, on_wanted=lambda key: None, clock=lambda: self.clock.now
        )
        self.letting_go = LettingGo(self.table, lambda: self.clock.now, self.clock.call_later)
        self.closed: list[LeftoverWork] = []
        self.table.define(KEY, max_sessions, 4)
        self.table.open(runner(), ADDRESS, None)

    def begin(self) -> Session:
        session = self.table.begin(KEY, SessionKind.JOB)
        assert isinstance(session, Session)
        return session

    def cut(self, session: Session, *, watched: bool, outcome: Outcome | None = Outcome.CLIENT_GONE) -> LeftoverWork:
        work = self.letting_go.cut(session, TIME_S, watched=watched, close=lambda: self.closed.append(work))
        if outcome is not None:
            assert self.letting_go.end(session, outcome)
        return work

    def refusal(self) -> str:
        with pytest.raises(JobRefused) as caught:
            self.table.begin(KEY, SessionKind.JOB)
        assert caught.value.code is Code.CAPACITY_EXHAUSTED
        return caught.value.message

    def probe(self, word: ProbeWord = ProbeWord.READY, model: Model = ONE_BUSY, asked_at: float | None = None) -> None:
        self.letting_go.probed(runner(), model, word, self.clock.now if asked_at is None else asked_at)


def test_a_slot_stays_taken_until_its_runner_is_done_and_the_refusal_says_so() -> None:
    rig = Rig(max_sessions=2)
    work = rig.cut(rig.begin(), watched=True)
    rig.begin()
    assert rig.refusal().endswith("all its sessions are taken (1 run, 1 letting go)")
    assert (rig.table.active(KEY), rig.table.letting_go(KEY), rig.table.running(KEY)) == (2, 1, 1)
    rig.letting_go.finished(work)
    rig.letting_go.finished(work)
    assert rig.closed == [work]
    assert (rig.table.active(KEY), rig.table.letting_go(KEY)) == (1, 0)
    rig.begin()


@pytest.mark.parametrize("event", WorkEvent)
@pytest.mark.parametrize("phase", WorkPhase)
def test_every_move(phase: WorkPhase, event: WorkEvent) -> None:
    """The table of moves is what happens, for each state and event."""
    rig = Rig()
    work = rig.cut(rig.begin(), watched=phase is WorkPhase.WATCHED)
    if phase is WorkPhase.OVER:
        rig.clock.pass_by(TIME_S)
    assert work.phase is phase
    rig.clock.now += 1
    happens: dict[WorkEvent, Callable[[], object]] = {
        WorkEvent.FINISHED: lambda: rig.letting_go.finished(work),
        WorkEvent.LOST: lambda: rig.letting_go.lost(work),
        WorkEvent.PROBED_FREE: rig.probe,
        WorkEvent.TIME_UP: lambda: rig.clock.pass_by(TIME_S),
        WorkEvent.GONE: lambda: rig.table.gone(runner()),
    }
    happens[event]()
    after = WORK_MOVES.get((phase, event), phase)
    assert work.phase is after
    assert rig.table.active(KEY) == rig.table.letting_go(KEY) == (after is not WorkPhase.OVER)
    assert rig.closed == [work] * (after is WorkPhase.OVER)


@pytest.mark.parametrize(
    ("word", "model", "asked_at", "frees"),
    [
        (ProbeWord.READY, ONE_BUSY, 1.0, True),
        (ProbeWord.READY, ONE_BUSY, 0.0, False),
        (ProbeWord.BUSY, ONE_BUSY, 1.0, False),
        (ProbeWord.UNKNOWN, ONE_BUSY, 1.0, False),
        (ProbeWord.READY, replace(ONE_BUSY, health=HealthSpec()), 1.0, False),
        (ProbeWord.READY, replace(ONE_BUSY, sessions_per_replica=None), 1.0, False),
    ],
)
def test_a_probe_frees_what_is_out_of_sight_only_where_ready_means_free(
    word: ProbeWord, model: Model, asked_at: float, frees: bool
) -> None:
    rig = Rig()
    rig.cut(rig.begin(), watched=False)
    rig.clock.now = 2
    rig.probe(word, model, asked_at)
    assert rig.table.active(KEY) == (not frees)


def test_a_probe_of_another_replica_frees_nothing() -> None:
    rig = Rig()
    rig.cut(rig.begin(), watched=False)
    rig.letting_go.probed(runner(1), ONE_BUSY, ProbeWord.READY, 1.0)
    assert rig.table.active(KEY) == 1


def test_what_lets_go_keeps_a_runner_neither_from_draining_nor_from_idling() -> None:
    rig = Rig(max_sessions=2)
    first, second = rig.begin(), rig.begin()
    rig.clock.now = 5
    work = rig.cut(first, watched=True)
    assert idle_since(rig.table, runner()) == 0
    rig.table.close(runner(), Code.DRAINING, "it is replaced")
    rig.table.end(second, Outcome.OK)
    assert rig.drained == [runner()]
    assert (rig.table.running_on(runner()), rig.table.active_on(runner())) == (0, 1)
    rig.table.open(runner(), ADDRESS, None)
    rig.clock.now = 9
    rig.letting_go.finished(work)
    assert idle_since(rig.table, runner()) == 5, "nobody has had a session since"
    assert rig.drained == [runner()]


def test_a_limit_of_one_runner_counts_what_lets_go() -> None:
    rig = Rig(max_sessions=9)
    rig.table.open(runner(), ADDRESS, 1)
    work = rig.cut(rig.begin(), watched=True)
    rig.refusal()
    rig.letting_go.finished(work)
    rig.begin()


def test_the_next_of_a_queue_begins_when_the_runner_is_done() -> None:
    rig = Rig()
    work = rig.cut(rig.begin(), watched=True)
    rig.table.close(runner(), Code.NOT_READY, "it is unhealthy")
    rig.table.set_closed(KEY, startable=True, code=Code.NOT_READY, reason="it is cold")
    place = rig.table.begin(KEY, SessionKind.JOB)
    got: list[Session | JobRefused] = []
    place.resolve = got.append  # type: ignore[union-attr]
    rig.table.open(runner(), ADDRESS, None)
    assert got == []
    rig.letting_go.finished(work)
    assert len(got) == 1


def test_a_session_with_several_works_waits_for_the_last_and_a_work_of_a_running_one_takes_nothing() -> None:
    rig = Rig()
    session = rig.begin()
    early = rig.cut(session, watched=True, outcome=None)
    rig.letting_go.finished(early)
    assert (rig.table.active(KEY), rig.table.letting_go(KEY)) == (1, 0)
    first = rig.cut(session, watched=True, outcome=None)
    second = rig.cut(session, watched=False)
    rig.letting_go.finished(first)
    assert rig.table.letting_go(KEY) == 1
    rig.clock.pass_by(TIME_S)
    assert rig.table.active(KEY) == 0
    assert rig.closed == [early, first, second]


def test_the_first_end_wins_and_a_model_that_is_forgotten_is_gone_with_its_last_slot() -> None:
    rig = Rig()
    session = rig.begin()
    work = rig.cut(session, watched=True)
    assert not rig.letting_go.end(session, Outcome.OK)
    assert not rig.table.end(session, Outcome.OK)
    assert session.outcome is Outcome.CLIENT_GONE
    rig.table.forget(KEY)
    assert rig.table.active(KEY) == 1
    rig.letting_go.finished(work)
    assert not rig.table._models


def test_what_was_cut_because_its_runner_is_gone_is_over_at_once() -> None:
    rig = Rig()
    session = rig.begin()
    rig.table.close(runner(), Code.NOT_READY, "it has died")
    rig.table.gone(runner())
    work = rig.cut(session, watched=True)
    assert (work.phase, rig.table.active(KEY), rig.closed) == (WorkPhase.OVER, 0, [work])
    assert session.outcome is Outcome.CLIENT_GONE


def test_at_the_end_all_slots_are_free() -> None:
    rig = Rig(max_sessions=2)
    rig.cut(rig.begin(), watched=True)
    rig.cut(rig.begin(), watched=False)
    rig.letting_go.close()
    assert rig.table.active(KEY) == 0
    assert all(timer.cancelled for timer in rig.clock.timers)


REPLICAS = st.integers(0, 1)
PICK = st.integers(0, 9)


class Truth:
    """What the machine knows of a work: whether its end is seen, and until when it counts at most."""

    def __init__(self, work: LeftoverWork, watched: bool, until: float) -> None:
        self.work, self.watched, self.until = work, watched, until


class LettingGoMachine(RuleBasedStateMachine):
    """Any order of begins, ends, cuts, and what runners, probes, time and the loop may do. Its model: for each session
    that holds a slot whether it has ended, and its works.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.table = SessionTable(on_drained=self.drained, on_wanted=lambda key: None, clock=lambda: self.clock.now)
        self.letting_go = LettingGo(self.table, lambda: self.clock.now, self.clock.call_later)
        self.most = 2
        self.limits: dict[RunnerId, int | None] = {}
        self.gone: set[RunnerId] = set()
        self.slots: dict[Session, bool] = {}
        self.works: dict[Session, list[Truth]] = {}
        self.closed: set[LeftoverWork] = set()
        self.table.define(KEY, self.most, 0)

    def drained(self, which: RunnerId) -> None:
        assert which not in self.limits
        assert self.table.running_on(which) == 0

    def on(self, which: RunnerId) -> list[Session]:
        return [session for session in self.slots if session.runner == which]

    def roomy(self) -> list[RunnerId]:
        if len(self.slots) >= self.most:
            return []
        return [r for r, limit in self.limits.items() if limit is None or len(self.on(r)) < limit]

    def free(self, session: Session) -> None:
        """It holds no slot any more, if it has ended and nothing is left of it."""
        if self.slots.get(session) and not self.works.get(session):
            del self.slots[session]

    def over(self, session: Session, truth: Truth) -> None:
        self.works[session].remove(truth)
        self.free(session)

    def running(self) -> list[Session]:
        return [session for session, ended in self.slots.items() if not ended]

    def all_works(self) -> list[tuple[Session, Truth]]:
        return [(session, truth) for session, works in self.works.items() for truth in works]

    @rule()
    def begin(self) -> None:
        if self.roomy():
            session = self.table.begin(KEY, SessionKind.JOB)
            assert isinstance(session, Session)
            assert session.runner in self.roomy()
            self.slots[session] = False
        else:
            with pytest.raises(JobRefused):
                self.table.begin(KEY, SessionKind.JOB)

    @rule(n=PICK)
    def end(self, n: int) -> None:
        """A job whose runner has answered."""
        if mine := [session for session in self.running() if not self.works.get(session)]:
            session = mine[n % len(mine)]
            assert self.table.end(session, Outcome.OK)
            self.slots[session] = True
            self.free(session)

    @rule(n=PICK, watched=st.booleans(), ends=st.booleans(), seconds=st.sampled_from((1.0, 5.0)))
    def cut(self, n: int, watched: bool, ends: bool, seconds: float) -> None:
        """A job that is cut, or a request of many on a session that goes on."""
        if not (mine := self.running()):
            return
        session = mine[n % len(mine)]
        work = self.letting_go.cut(session, seconds, watched=watched, close=lambda: self.closed.add(work))
        self.works.setdefault(session, []).append(Truth(work, watched, self.clock.now + seconds))
        if ends:
            self.ended(session)

    @rule(n=PICK)
    def ends_at_last(self, n: int) -> None:
        if mine := self.running():
            self.ended(mine[n % len(mine)])

    def ended(self, session: Session) -> None:
        assert self.letting_go.end(session, Outcome.ABORTED)
        assert not self.letting_go.end(session, Outcome.OK)
        self.slots[session] = True
        if session.runner in self.gone:
            self.works.pop(session, None)
        self.free(session)

    @precondition(lambda self: self.all_works())
    @rule(n=PICK)
    def runner_finishes(self, n: int) -> None:
        works = self.all_works()
        session, truth = works[n % len(works)]
        self.letting_go.finished(truth.work)
        if truth.watched:
            self.over(session, truth)

    @precondition(lambda self: self.all_works())
    @rule(n=PICK)
    def sight_is_lost(self, n: int) -> None:
        works = self.all_works()
        _, truth = works[n % len(works)]
        self.letting_go.lost(truth.work)
        truth.watched = False

    @rule(replica=REPLICAS, word=st.sampled_from((ProbeWord.READY, ProbeWord.BUSY, ProbeWord.TIMEOUT)))
    def probe(self, replica: int, word: ProbeWord) -> None:
        self.clock.now += 0.001
        self.letting_go.probed(runner(replica), ONE_BUSY, word, self.clock.now)
        for session, truth in self.all_works():
            if word is ProbeWord.READY and session.runner == runner(replica) and not truth.watched:
                self.over(session, truth)

    @rule(seconds=st.sampled_from((0.5, 2.0, 5.0)))
    def time_passes(self, seconds: float) -> None:
        self.clock.pass_by(seconds)
        for session, truth in self.all_works():
            if truth.until <= self.clock.now:
                self.over(session, truth)

    @rule(replica=REPLICAS, limit=st.sampled_from((None, 1, 2)))
    def runner_opens(self, replica: int, limit: int | None) -> None:
        self.limits[runner(replica)] = limit
        self.gone.discard(runner(replica))
        self.table.open(runner(replica), ADDRESS, limit)

    @rule(replica=REPLICAS)
    def runner_closes(self, replica: int) -> None:
        self.limits.pop(runner(replica), None)
        self.table.close(runner(replica), Code.NOT_READY, "it was closed")

    @rule(replica=REPLICAS)
    def runner_dies(self, replica: int) -> None:
        """The loop has closed it before, and cuts what runs there."""
        which = runner(replica)
        self.runner_closes(replica)
        self.table.abort(which, "it has died")
        self.table.gone(which)
        if held := self.on(which):
            self.gone.add(which)
        for session in held:
            if self.slots[session]:
                self.works.pop(session, None)
                self.free(session)

    @rule(most=st.integers(1, 3))
    def resize(self, most: int) -> None:
        self.most = most
        self.table.define(KEY, most, 0)

    @invariant()
    def slots_are_exact(self) -> None:
        going = [session for session, ended in self.slots.items() if ended]
        assert self.table.active(KEY) == len(self.slots)
        assert self.table.letting_go(KEY) == len(going)
        assert self.table.running(KEY) == len(self.slots) - len(going)
        for replica in (0, 1):
            on = self.on(runner(replica))
            assert self.table.active_on(runner(replica)) == len(on)
            assert self.table.letting_go_on(runner(replica)) == sum(self.slots[session] for session in on)

    @invariant()
    def what_is_over_was_closed_and_nothing_else(self) -> None:
        assert not self.closed & {truth.work for _, truth in self.all_works()}

    def teardown(self) -> None:
        for session in self.running():
            self.letting_go.end(session, Outcome.ABORTED)
        self.clock.pass_by(TIME_S)
        assert self.table.active(KEY) == self.table.letting_go(KEY) == 0
        assert not self.letting_go._works


TestLettingGoMachine = LettingGoMachine.TestCase
TestLettingGoMachine.settings = settings(max_examples=examples(600), stateful_step_count=40, deadline=None)

"""The session table: limits, queues, ends; by example, then against a simple model of it under any order of calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.outcomes import Outcome
from orchd.errors import Code, JobRefused
from orchd.sessions.session import Session, SessionKind
from orchd.sessions.slots import PendingSlot, QueuePlace
from orchd.sessions.table import SessionTable
from tests.soak import examples

KEY = ModelKey("image", "org/one")
ADDRESS = Address("127.0.0.1", 9000)


def idle_since(table: SessionTable, id: RunnerId) -> float:
    [found] = [replica.idle_since for replica in table.replicas(KEY) if replica.runner == id]
    return found


def runner(replica: int = 0, generation: str = "0123456789ab") -> RunnerId:
    return RunnerId(KEY, replica, generation)


class Told:
    """A table, and all that it tells."""

    def __init__(self, max_sessions: int = 2, hold_limit: int = 4) -> None:
        self.drained: list[RunnerId] = []
        self.wanted: list[ModelKey] = []
        self.counts: list[int] = []
        self.now = 0.0
        self.table = SessionTable(
            on_drained=self.drained.append,
            on_wanted=self.wanted.append,
            on_count=lambda key, active: self.counts.append(active),
            clock=lambda: self.now,
        )
        self.table.define(KEY, max_sessions, hold_limit)

    def begin(self) -> Session:
        session = self.table.begin(KEY, SessionKind.JOB)
        assert isinstance(session, Session)
        return session

    def wait(self) -> tuple[QueuePlace, list[Session | JobRefused]]:
        place = self.table.begin(KEY, SessionKind.JOB)
        assert isinstance(place, QueuePlace)
        results: list[Session | JobRefused] = []
        place.resolve = results.append
        return place, results

    def refused(self) -> JobRefused:
        with pytest.raises(JobRefused) as caught:
            self.table.begin(KEY, SessionKind.JOB)
        return caught.value

    def cold(self, *, startable: bool = True) -> None:
        self.table.set_closed(KEY, startable=startable, code=Code.NOT_READY, reason="it is cold")


def test_no_more_than_max_sessions_begin_and_an_end_makes_room() -> None:
    told = Told(max_sessions=2)
    told.table.open(runner(), ADDRESS, None)
    first, second = told.begin(), told.begin()
    assert told.refused().code is Code.CAPACITY_EXHAUSTED
    assert told.table.end(first, Outcome.OK)
    assert told.begin().id not in {first.id, second.id}
    assert told.counts == [1, 2, 1, 2]


def test_the_first_end_wins() -> None:
    told = Told()
    told.table.open(runner(), ADDRESS, None)
    session = told.begin()
    assert told.table.end(session, Outcome.TIMEOUT)
    assert not told.table.end(session, Outcome.OK)
    assert session.outcome is Outcome.TIMEOUT
    assert told.table.active(KEY) == 0


def test_sessions_go_to_the_least_loaded_replica_and_ties_to_the_lowest() -> None:
    told = Told(max_sessions=9)
    for replica in (2, 0, 1):
        told.table.open(runner(replica), ADDRESS, 2)
    assert [told.begin().runner.replica for _ in range(6)] == [0, 1, 2, 0, 1, 2]
    assert told.refused().code is Code.CAPACITY_EXHAUSTED, "each replica holds its limit"


def test_a_lowered_limit_cuts_nobody_and_lets_nobody_in_until_fewer_run() -> None:
    told = Told(max_sessions=3)
    told.table.open(runner(), ADDRESS, None)
    sessions = [told.begin() for _ in range(3)]
    told.table.define(KEY, 1, 4)
    assert told.table.active(KEY) == 3
    for session in sessions:
        assert told.refused().code is Code.CAPACITY_EXHAUSTED
        told.table.end(session, Outcome.OK)
    told.begin()


def test_a_closed_replica_keeps_its_sessions_which_still_count() -> None:
    told = Told(max_sessions=2)
    old, new = runner(generation="aaaaaaaaaaaa"), runner(generation="bbbbbbbbbbbb")
    told.table.open(old, ADDRESS, None)
    session = told.begin()
    told.table.close(old, Code.DRAINING, "it is replaced")
    assert told.refused().code is Code.DRAINING
    told.table.open(new, ADDRESS, None)
    assert told.begin().runner == new
    assert told.refused().code is Code.CAPACITY_EXHAUSTED
    assert told.table.active_on(old) == 1
    told.table.end(session, Outcome.OK)
    assert told.drained == [old]
    assert told.table.active_on(old) == 0


def test_a_cold_model_holds_jobs_in_order_and_seats_them_when_a_replica_opens() -> None:
    told = Told(max_sessions=2, hold_limit=9)
    told.cold()
    _, first = told.wait()
    _, second = told.wait()
    assert told.refused().code is Code.HOLD_FULL, "no more wait than could begin"
    assert told.wanted == [KEY, KEY]
    told.table.open(runner(), ADDRESS, 1)
    assert isinstance(first[0], Session)
    assert second == []
    assert told.refused().code is Code.CAPACITY_EXHAUSTED, "nobody overtakes"
    told.table.end(first[0], Outcome.OK)
    assert isinstance(second[0], Session)
    assert idle_since(told.table, runner()) == 0, "the slot went straight to the next"
    told.now = 7.0
    told.table.end(second[0], Outcome.OK)
    assert idle_since(told.table, runner()) == 7
    assert told.drained == [], "it takes more"


def test_who_leaves_the_queue_is_not_seated() -> None:
    told = Told()
    told.cold()
    place, left = told.wait()
    _, stayed = told.wait()
    told.table.leave(place)
    told.table.leave(place)
    told.table.open(runner(), ADDRESS, None)
    assert left == []
    assert isinstance(stayed[0], Session)


def test_a_start_that_failed_turns_the_queue_away() -> None:
    told = Told()
    told.cold()
    _, waiting = told.wait()
    told.cold(startable=False)
    (refusal,) = waiting
    assert isinstance(refusal, JobRefused)
    assert (refusal.code, refusal.status) == (Code.NOT_READY, 503)
    assert "it is cold" in refusal.message
    assert told.refused().code is Code.NOT_READY


def test_a_raised_limit_seats_who_waits() -> None:
    told = Told(max_sessions=2)
    told.cold()
    waits = [told.wait()[1] for _ in range(2)]
    told.table.define(KEY, 1, 4)
    told.table.open(runner(), ADDRESS, None)
    assert [len(results) for results in waits] == [1, 0]
    told.table.define(KEY, 2, 4)
    assert [len(results) for results in waits] == [1, 1]


def test_abort_tells_each_session_of_the_runner_once() -> None:
    told = Told(max_sessions=3)
    for replica in (0, 1):
        told.table.open(runner(replica), ADDRESS, None)
    cut: list[str] = []
    for session in (told.begin(), told.begin(), told.begin()):
        session.abort = cut.append
    assert told.table.abort(runner(0), "it goes") == 2
    assert told.table.abort(runner(0), "it goes") == 0
    assert told.table.abort(runner(7), "never was") == 0
    assert cut == ["it goes", "it goes"]
    assert told.table.active(KEY) == 3, "they end when their jobs do"


def test_a_forgotten_model_is_unknown_though_its_sessions_go_on() -> None:
    told = Told()
    told.cold()
    _, waiting = told.wait()
    told.table.open(runner(), ADDRESS, None)
    session = waiting[0]
    assert isinstance(session, Session)
    told.table.forget(KEY)
    assert told.refused().code is Code.UNKNOWN_MODEL
    assert not told.table.known(KEY)
    assert told.table.keys() == ()
    with pytest.raises(KeyError):
        told.table.open(runner(), ADDRESS, None)
    told.table.define(KEY, 1, 4)
    told.table.open(runner(1), ADDRESS, None)
    assert told.refused().code is Code.CAPACITY_EXHAUSTED, "the session of its former life counts"
    told.table.end(session, Outcome.OK)
    told.begin()


def test_progress_is_the_newest_of_a_runners_sessions() -> None:
    told = Told()
    told.table.open(runner(), ADDRESS, None)
    assert told.table.progress_at(runner()) is None
    told.now = 5.0
    first = told.begin()
    assert (first.began_at, told.table.progress_at(runner())) == (5.0, 5.0)
    told.now = 6.0
    told.begin()
    first.progress_at = 9.0
    assert told.table.progress_at(runner()) == 9.0


def expected_on(told: Told, which: RunnerId) -> tuple[QueuePlace, list[Session | JobRefused]]:
    results: list[Session | JobRefused] = []
    return told.table.expect(which, SessionKind.STREAM, results.append), results


def test_a_session_that_is_expected_counts_and_is_one_as_soon_as_its_runner_is_open() -> None:
    told = Told(max_sessions=2)
    _, results = expected_on(told, runner(1))
    told.table.open(runner(0), ADDRESS, None)
    told.begin()
    assert told.refused().code is Code.CAPACITY_EXHAUSTED
    assert results == []
    told.table.open(runner(1), ADDRESS, 1)
    (session,) = results
    assert isinstance(session, Session)
    assert (session.runner, session.kind, session.outcome) == (runner(1), SessionKind.STREAM, None)
    assert told.table.active(KEY) == 2
    assert told.table.active_on(runner(1)) == 1
    told.table.open(runner(1), ADDRESS, 1)
    assert len(results) == 1
    assert told.table.end(session, Outcome.OK)
    told.begin()


def test_an_expected_session_comes_before_those_that_wait() -> None:
    told = Told(max_sessions=1)
    told.cold()
    _, waiting = told.wait()
    _, results = expected_on(told, runner())
    told.table.open(runner(), ADDRESS, None)
    assert len(results) == 1
    assert waiting == []
    assert isinstance(results[0], Session)
    told.table.end(results[0], Outcome.OK)
    assert len(waiting) == 1


def test_who_is_no_longer_expected_makes_room_at_once() -> None:
    told = Told(max_sessions=1)
    place, results = expected_on(told, runner(1))
    told.cold()
    _, waiting = told.wait()
    told.table.open(runner(0), ADDRESS, None)
    assert waiting == []
    for _ in range(2):
        told.table.unexpect(runner(1), place)
    assert len(waiting) == 1
    told.table.open(runner(1), ADDRESS, None)
    assert results == []
    told.table.unexpect(runner(7), place)


def test_what_was_resolved_is_not_expected_any_more() -> None:
    told = Told(max_sessions=1)
    place, results = expected_on(told, runner())
    told.table.open(runner(), ADDRESS, None)
    told.table.unexpect(runner(), place)
    assert told.table.active(KEY) == 1
    assert isinstance(results[0], Session)
    told.table.end(results[0], Outcome.OK)
    told.begin()


def test_a_session_may_be_expected_before_its_model_is_known() -> None:
    told = Told()
    other = ModelKey("image", "org/two")
    which = runner()._replace(key=other)
    place, results = expected_on(told, which)
    assert not told.table.known(other)
    assert other not in told.table.keys()  # noqa: SIM118 - not a mapping
    told.table.define(other, 1, 0)
    told.table.open(which._replace(replica=5), ADDRESS, None)
    with pytest.raises(JobRefused):
        told.table.begin(other, SessionKind.JOB)
    told.table.open(which, ADDRESS, None)
    assert isinstance(results[0], Session)
    told.table.unexpect(which, place)


def test_a_model_that_is_forgotten_still_expects_and_then_is_gone() -> None:
    told = Told()
    place, results = expected_on(told, runner())
    told.table.forget(KEY)
    told.table.define(KEY, 1, 0)
    told.table.open(runner(1), ADDRESS, None)
    assert told.refused().code is Code.CAPACITY_EXHAUSTED
    told.table.forget(KEY)
    told.table.unexpect(runner(), place)
    assert results == []
    assert not told.table._models


class TableMachine(RuleBasedStateMachine):
    """Any calls in any order. The model of it: lists of sessions and of places, who is expected, and what is open."""

    def __init__(self) -> None:
        super().__init__()
        self.max_sessions, self.hold_limit = 2, 2
        self.startable = False
        self.open: dict[RunnerId, int | None] = {}
        self.running: list[Session] = []
        self.queue: list[QueuePlace] = []
        self.expected: list[tuple[RunnerId, QueuePlace]] = []
        self.pending: list[PendingSlot] = []
        self.drained: list[RunnerId] = []
        self.table = SessionTable(on_drained=self.drained.append, on_wanted=lambda key: None, clock=lambda: 0.0)
        self.table.define(KEY, 2, 2)

    def on(self, which: RunnerId) -> int:
        return sum(session.runner == which for session in self.running)

    def load(self, which: RunnerId) -> int:
        kept: list[Any] = [slot.replica for slot in self.pending if slot.replica is not None]
        return self.on(which) + [replica.runner for replica in kept].count(which)

    @property
    def taken(self) -> int:
        return len(self.running) + len(self.expected) + len(self.pending)

    def roomy(self) -> list[RunnerId]:
        return [] if self.taken >= self.max_sessions else self.with_room()

    def with_room(self) -> list[RunnerId]:
        return [r for r, limit in self.open.items() if limit is None or self.load(r) < limit]

    def took(self, session: Session) -> None:
        roomy = self.roomy()
        assert session.runner in roomy
        assert self.load(session.runner) == min(map(self.load, roomy))
        self.running.append(session)

    def resolver(self, place: QueuePlace) -> Callable[[Session | JobRefused], None]:
        def resolve(result: Session | JobRefused) -> None:
            assert self.queue[0] is place, "in order"
            self.queue.pop(0)
            if isinstance(result, Session):
                self.took(result)
            else:
                assert not self.open, "turned away though a replica is open"
                assert not self.startable

        return resolve

    @rule()
    def begin(self) -> None:
        self.begins_by(lambda: self.table.begin(KEY, SessionKind.JOB))

    def begins_by(self, call: Callable[[], Session | QueuePlace | None]) -> None:
        expected = None
        if not self.roomy():
            expected = Code.CAPACITY_EXHAUSTED if self.open else Code.HOLD_FULL if self.startable else Code.NOT_READY
        most = min(self.hold_limit, self.max_sessions - len(self.pending))
        if expected is Code.HOLD_FULL and len(self.queue) < most:
            place = call()
            assert isinstance(place, QueuePlace)
            self.queue.append(place)
            place.resolve = self.resolver(place)
        elif expected is not None:
            with pytest.raises(JobRefused) as caught:
                call()
            assert caught.value.code is expected
        else:
            session = call()
            assert isinstance(session, Session)
            self.took(session)

    @rule()
    def reserve(self) -> None:
        if self.open:
            expected = None if self.roomy() else Code.CAPACITY_EXHAUSTED
        elif not self.startable:
            expected = Code.NOT_READY
        else:
            expected = None if self.taken + len(self.queue) < self.max_sessions else Code.CAPACITY_EXHAUSTED
        if expected is None:
            self.pending.append(self.table.reserve(KEY))
        else:
            with pytest.raises(JobRefused) as caught:
                self.table.reserve(KEY)
            assert caught.value.code is expected

    @rule(n=st.integers(0, 9))
    def confirm(self, n: int) -> None:
        if not self.pending:
            return
        slot = self.pending.pop(n % len(self.pending))
        if slot.replica is None:
            self.begins_by(lambda: self.table.confirm(slot, SessionKind.JOB))
        else:
            kept: Any = slot.replica
            session = self.table.confirm(slot, SessionKind.JOB)
            assert isinstance(session, Session)
            assert session.runner == kept.runner
            assert session.runner in self.open
            self.running.append(session)
        self.only_once(slot)

    @rule(n=st.integers(0, 9))
    def release(self, n: int) -> None:
        if self.pending:
            slot = self.pending.pop(n % len(self.pending))
            assert self.table.release(slot)
            self.only_once(slot)

    def only_once(self, slot: PendingSlot) -> None:
        """Check that a slot that was confirmed or released can't be either again."""
        assert not self.table.release(slot)
        assert self.table.confirm(slot, SessionKind.JOB) is None

    @rule(n=st.integers(0, 9), outcome=st.sampled_from(Outcome))
    def end(self, n: int, outcome: Outcome) -> None:
        if self.running:
            session = self.running.pop(n % len(self.running))
            self.drained.clear()
            assert self.table.end(session, outcome)
            assert not self.table.end(session, Outcome.OK)
            gone = session.runner not in self.open and self.on(session.runner) == 0
            assert self.drained == [session.runner] * gone

    @rule(n=st.integers(0, 9))
    def leave(self, n: int) -> None:
        if self.queue:
            self.table.leave(self.queue.pop(n % len(self.queue)))

    @rule(replica=st.integers(0, 2), generation=st.sampled_from("ab"), limit=st.sampled_from((None, 1, 2)))
    def open_one(self, replica: int, generation: str, limit: int | None) -> None:
        which = runner(replica, generation * 12)
        self.open[which] = limit
        self.table.open(which, ADDRESS, limit)
        assert which not in {runner for runner, _ in self.expected}

    @rule(replica=st.integers(0, 2), generation=st.sampled_from("ab"))
    def expect(self, replica: int, generation: str) -> None:
        which = runner(replica, generation * 12)
        if which in self.open or self.taken >= self.max_sessions:
            return

        def resolve(result: Session | JobRefused) -> None:
            assert isinstance(result, Session)
            assert (result.runner, result.kind) == (which, SessionKind.STREAM)
            self.expected.remove((which, place))
            self.running.append(result)

        place = self.table.expect(which, SessionKind.STREAM, resolve)
        self.expected.append((which, place))

    @rule(n=st.integers(0, 9))
    def unexpect(self, n: int) -> None:
        if self.expected:
            which, place = self.expected.pop(n % len(self.expected))
            self.table.unexpect(which, place)
            self.table.unexpect(which, place)

    @rule(replica=st.integers(0, 2), generation=st.sampled_from("ab"))
    def close_one(self, replica: int, generation: str) -> None:
        which = runner(replica, generation * 12)
        if self.open.pop(which, 0) != 0 and not self.open:
            self.startable = False
        self.table.close(which, Code.NOT_READY, "it was closed")

    @rule(startable=st.booleans())
    def close_all(self, startable: bool) -> None:
        self.startable = startable
        self.table.set_closed(KEY, startable=startable, code=Code.NOT_READY, reason="it is cold")

    @rule(max_sessions=st.integers(1, 4), hold_limit=st.integers(0, 4))
    def resize(self, max_sessions: int, hold_limit: int) -> None:
        self.max_sessions, self.hold_limit = max_sessions, hold_limit
        self.table.define(KEY, max_sessions, hold_limit)

    @invariant()
    def counts_agree(self) -> None:
        assert self.table.active(KEY) == len(self.running)
        assert self.table.waiting(KEY) == len(self.queue)
        assert self.table.pending(KEY) == len(self.pending)
        assert not (self.with_room() and any(slot.replica is None for slot in self.pending)), "kept, but nowhere"
        for which in {session.runner for session in self.running} | set(self.open):
            assert self.table.active_on(which) == self.on(which)
        assert not (self.queue and self.roomy()), "somebody waits though there is room"


TestTableMachine = TableMachine.TestCase
TestTableMachine.settings = settings(max_examples=examples(1200), stateful_step_count=40, deadline=None)

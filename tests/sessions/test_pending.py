"""Slots that are kept for who may begin a session: each is confirmed, released or over its time, exactly once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.outcomes import Outcome
from orchd.errors import Code, JobRefused
from orchd.sessions.pending import PendingSlots
from orchd.sessions.session import Session, SessionKind
from orchd.sessions.slots import PendingSlot, QueuePlace
from orchd.sessions.table import SessionTable

KEY = ModelKey("image", "org/one")
RUNNER, OTHER = RunnerId(KEY, 0, "0123456789ab"), RunnerId(KEY, 1, "0123456789ab")
ADDRESS = Address("127.0.0.1", 9000)


@dataclass
class Alarm:
    """A call at a time to come."""

    at: float
    call: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class Rig:
    """A table with two slots, and a clock that moves when it is told to."""

    def __init__(self, *, is_open: bool = True, max_sessions: int = 2) -> None:
        self.now = 0.0
        self.alarms: list[Alarm] = []
        self.drained: list[RunnerId] = []
        self.expired: list[PendingSlot] = []
        self.table = SessionTable(on_drained=self.drained.append, on_wanted=lambda key: None, clock=lambda: self.now)
        self.table.define(KEY, max_sessions, 4)
        self.table.set_closed(KEY, startable=True, code=Code.NOT_READY, reason="it is cold")
        if is_open:
            self.table.open(RUNNER, ADDRESS, None)
        self.slots = PendingSlots(self.table, self.call_later)

    def call_later(self, seconds: float, call: Callable[[], None]) -> Alarm:
        self.alarms.append(Alarm(self.now + seconds, call))
        return self.alarms[-1]

    def reserve(self, seconds: float = 10.0) -> PendingSlot:
        slot = self.slots.reserve(KEY, seconds, lambda: self.expired.append(slot))
        return slot

    def begin(self) -> Session | QueuePlace:
        return self.table.begin(KEY, SessionKind.JOB)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        due = [alarm for alarm in self.alarms if alarm.at <= self.now]
        self.alarms = [alarm for alarm in self.alarms if alarm.at > self.now]
        for alarm in due:
            if not alarm.cancelled:
                alarm.call()


def test_a_pending_slot_counts_and_its_runner_knows_nothing_of_it() -> None:
    rig = Rig(max_sessions=1)
    rig.reserve()
    assert (rig.table.pending(KEY), rig.table.active(KEY), rig.table.active_on(RUNNER)) == (1, 0, 0)
    with pytest.raises(JobRefused, match="0 run, 1 pending") as caught:
        rig.begin()
    assert caught.value.code is Code.CAPACITY_EXHAUSTED
    with pytest.raises(JobRefused):
        rig.reserve()


def test_it_becomes_a_session_on_its_runner() -> None:
    rig = Rig(max_sessions=1)
    slot = rig.reserve()
    session = rig.slots.confirm(slot, SessionKind.STREAM)
    assert isinstance(session, Session)
    assert (session.runner, session.kind) == (RUNNER, SessionKind.STREAM)
    assert (rig.table.pending(KEY), rig.table.active(KEY)) == (0, 1)
    rig.pass_time(100)
    assert rig.expired == []
    assert rig.table.end(session, Outcome.OK)
    assert isinstance(rig.begin(), Session)


def test_when_its_time_is_up_it_is_free_and_whoever_asked_is_told_once() -> None:
    rig = Rig(max_sessions=1)
    slot = rig.reserve(10)
    rig.pass_time(9.9)
    assert rig.expired == []
    rig.pass_time(0.2)
    assert rig.expired == [slot]
    assert isinstance(rig.begin(), Session)
    assert rig.slots.confirm(slot, SessionKind.JOB) is None
    assert not rig.slots.release(slot)
    rig.pass_time(100)
    assert rig.expired == [slot]
    assert len(rig.slots) == 0


def test_one_that_is_released_makes_room_for_who_waits() -> None:
    rig = Rig(is_open=False, max_sessions=1)
    slot = rig.reserve()
    rig.table.define(KEY, 2, 4)
    place = rig.begin()
    assert isinstance(place, QueuePlace)
    results: list[Session | JobRefused] = []
    place.resolve = results.append
    rig.table.open(RUNNER, ADDRESS, 1)
    assert results == [], "the slot of the runner is kept"
    assert rig.slots.release(slot)
    assert isinstance(results[0], Session)


def test_a_drain_does_not_wait_for_it_and_it_moves_to_another_runner() -> None:
    rig = Rig()
    slot = rig.reserve()
    rig.table.close(RUNNER, Code.DRAINING, "it leaves")
    assert rig.table.active_on(RUNNER) == 0
    rig.table.open(OTHER, ADDRESS, 1)
    with pytest.raises(JobRefused):
        rig.begin()
    session = rig.slots.confirm(slot, SessionKind.JOB)
    assert isinstance(session, Session)
    assert session.runner == OTHER


def test_without_any_runner_left_it_is_refused_as_a_new_job_would_be() -> None:
    rig = Rig()
    slot = rig.reserve()
    rig.table.close(RUNNER, Code.DRAINING, "it leaves")
    with pytest.raises(JobRefused) as caught:
        rig.slots.confirm(slot, SessionKind.JOB)
    assert caught.value.code is Code.DRAINING
    assert rig.table.pending(KEY) == 0
    assert rig.slots.confirm(slot, SessionKind.JOB) is None


def test_a_model_that_is_forgotten_is_remembered_until_its_last_pending_slot_has_gone() -> None:
    rig = Rig()
    slot = rig.reserve(10)
    rig.table.forget(KEY)
    assert rig.table.pending(KEY) == 1
    with pytest.raises(JobRefused):
        rig.reserve()
    rig.pass_time(11)
    assert rig.expired == [slot]
    rig.table.define(KEY, 1, 4)
    rig.table.open(RUNNER, ADDRESS, None)
    assert isinstance(rig.begin(), Session)


def test_a_limit_that_is_lowered_takes_no_slot_away() -> None:
    rig = Rig(max_sessions=3)
    slots = [rig.reserve() for _ in range(3)]
    rig.table.define(KEY, 1, 4)
    assert all(isinstance(rig.slots.confirm(slot, SessionKind.JOB), Session) for slot in slots)


STEPS = st.lists(st.tuples(st.sampled_from(["reserve", "confirm", "release", "time"]), st.integers(0, 9)), max_size=40)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_each_slot_has_exactly_one_end(steps: list[tuple[str, int]]) -> None:
    rig = Rig(max_sessions=5)
    slots: list[PendingSlot] = []
    ends: dict[PendingSlot, list[str]] = {}
    sessions = 0
    for step, n in steps:
        if step == "time":
            before = len(rig.expired)
            rig.pass_time(n)
            for slot in rig.expired[before:]:
                ends[slot].append("expired")
        elif step == "reserve":
            try:
                slots.append(rig.reserve(seconds=1.0 + n))
            except JobRefused:
                assert sessions + rig.table.pending(KEY) == 5
            else:
                ends[slots[-1]] = []
        elif slots:
            slot = slots[n % len(slots)]
            if step == "release" and rig.slots.release(slot):
                ends[slot].append("released")
            elif step == "confirm" and rig.slots.confirm(slot, SessionKind.JOB) is not None:
                ends[slot].append("confirmed")
                sessions += 1
        assert all(len(end) == (not slot.is_pending) for slot, end in ends.items())
        assert rig.table.pending(KEY) == len(rig.slots) == sum(slot.is_pending for slot in slots)
        assert rig.table.active(KEY) == sessions
    rig.pass_time(100)
    assert not any(slot.is_pending for slot in slots)

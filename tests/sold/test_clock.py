"""The time for which a session could be served."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchd.sold.clock import NANOSECONDS, ServedClock


def a_clock(*, serves: bool = True) -> ServedClock:
    clock = ServedClock()
    clock.begin(100.0, serves=serves)
    return clock


def test_it_stands_still_until_it_begins_and_after_it_has_ended() -> None:
    clock = ServedClock()
    clock.look(50.0, serves=True, lost_s=0.0)
    assert (clock.ns, clock.runs) == (0, False)
    clock.begin(100.0, serves=True)
    clock.look(103.5, serves=True, lost_s=0.0)
    clock.end()
    clock.look(200.0, serves=True, lost_s=0.0)
    assert (clock.ns, clock.runs) == (3_500_000_000, False)


def test_to_begin_twice_changes_nothing() -> None:
    clock = a_clock()
    clock.look(102.0, serves=True, lost_s=0.0)
    clock.begin(105.0, serves=True)
    clock.look(106.0, serves=True, lost_s=0.0)
    assert clock.ns == 6 * NANOSECONDS


def test_what_lies_between_two_looks_counts_if_it_could_be_served_at_both() -> None:
    clock = a_clock(serves=False)
    for now, serves in ((101.0, True), (102.0, True), (103.0, False), (104.0, False), (105.0, True), (107.0, True)):
        clock.look(now, serves=serves, lost_s=0.0)
    assert clock.ns == 3 * NANOSECONDS


def test_time_in_which_orchd_stood_still_is_left_out() -> None:
    clock = a_clock()
    clock.look(110.0, serves=True, lost_s=7.0)
    assert clock.ns == 3 * NANOSECONDS


def test_whole_seconds_stay_whole_however_often_it_is_looked_at() -> None:
    clock = a_clock()
    for tenth in range(1, 10_001):
        clock.look(100.0 + tenth / 10, serves=True, lost_s=0.0)
    assert clock.ns == 1000 * NANOSECONDS


LOOKS = st.lists(st.tuples(st.floats(0, 1e4), st.booleans(), st.floats(0, 1e4)), max_size=20)


@given(LOOKS)
def test_it_never_goes_back_and_never_counts_more_than_has_passed(looks: list[tuple[float, bool, float]]) -> None:
    clock, now = a_clock(), 100.0
    for passed_s, serves, lost_s in looks:
        before, now = clock.ns, now + passed_s
        clock.look(now, serves=serves, lost_s=lost_s)
        assert before <= clock.ns <= before + round(passed_s * NANOSECONDS) + 1000

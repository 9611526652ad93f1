"""What is free of a model, as the node is told it: at once, not twice in a second, and never 0."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from orchd.advertise.live_runner.free_record import BEAT_GAP_S, FreeRecord
from orchd.advertise.live_runner.plan import RunnerRecord

FOUR = RunnerRecord("a/b", persistent=False, capacity=4, price=None)


def test_a_change_is_told_at_once_and_the_next_one_a_second_after_that() -> None:
    free = FreeRecord()
    assert free.look(FOUR, 4, -inf, 100.0) == FOUR
    assert free.look(FOUR, 3, 90.0, 100.0) == replace(FOUR, capacity=3)
    assert free.look(FOUR, 2, 100.0, 100.4) == replace(FOUR, capacity=3)
    assert free.again_at == 101.0
    assert free.look(FOUR, 2, 100.0, 101.0) == replace(FOUR, capacity=2)
    assert free.again_at == inf


def test_what_is_back_as_it_was_told_within_the_second_is_not_told_again() -> None:
    free = FreeRecord()
    free.look(FOUR, 4, -inf, 100.0)
    assert free.look(FOUR, 3, 100.0, 100.2) == FOUR
    assert free.look(FOUR, 4, 100.0, 100.3) == FOUR
    assert free.again_at == inf


def test_a_full_model_is_left_out_and_comes_back_with_what_is_free() -> None:
    free = FreeRecord()
    assert free.look(FOUR, 0, -inf, 100.0) is None
    assert free.full
    assert free.look(FOUR, 1, 99.0, 100.5) == replace(FOUR, capacity=1)
    assert not free.full


def test_everything_but_what_is_free_is_told_at_once() -> None:
    free = FreeRecord()
    free.look(FOUR, 4, -inf, 100.0)
    assert free.look(replace(FOUR, app="c/d"), 3, 100.0, 100.1) == replace(FOUR, app="c/d", capacity=3)
    assert free.look(None, 3, 100.0, 100.1) is None
    assert not free.full, "it is not offered"


@given(st.lists(st.tuples(st.integers(0, 6), st.floats(0.001, 0.7)), max_size=40))
def test_a_model_that_is_never_at_rest_is_told_once_a_second_and_in_the_end_what_is_true(
    moves: list[tuple[int, float]],
) -> None:
    free, now, told_at, told = FreeRecord(), 0.0, -inf, None
    calls = []

    def look(count: int) -> None:
        nonlocal told, told_at
        found = free.look(FOUR, count, told_at, now)
        if found != told:
            told, told_at = found, now
            calls.append(now)

    count = 4
    for count, later in moves:
        look(count)
        now += later
        if free.again_at <= now:
            look(count)
    rounding = 1e-9
    assert all(after - before >= BEAT_GAP_S - rounding for before, after in pairwise(calls))
    now = max(now, free.again_at if free.again_at < inf else now)
    look(count)
    assert told == (replace(FOUR, capacity=min(4, count)) if count else None)

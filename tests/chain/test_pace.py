"""How fast L1 blocks can come."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchd.chain.pace import MERGE_BLOCK, MERGED_AT, SLACK, L1Pace, believed, most_at


def test_nothing_is_taken_for_granted_before_a_block_was_believed() -> None:
    pace = L1Pace(bounded=True)
    assert not pace.allows(1, 0)
    pace.begin(1000, 0)
    assert pace.allows(1000, 0)


def test_one_block_a_dozen_seconds_and_some_at_once_are_allowed() -> None:
    pace = L1Pace(bounded=True)
    pace.begin(1000, 0)
    assert pace.allows(1000 + SLACK, 0)
    assert not pace.allows(1001 + SLACK, 11.9)
    assert pace.allows(1001 + SLACK, 12)


@given(st.lists(st.tuples(st.floats(0, 60), st.integers(0, 2 * SLACK)), max_size=60))
def test_a_liar_gets_no_further_ahead_however_often_it_lies(steps: list[tuple[float, int]]) -> None:
    pace, at, told = L1Pace(bounded=True), 0.0, 1000
    pace.begin(told, at)
    for wait_s, more in steps:
        at += wait_s
        if pace.allows(told + more, at):
            told += more
            pace.saw(told, at)
        assert told <= 1000 + at / 12 + SLACK


def test_a_slow_chain_draws_the_line_down() -> None:
    pace = L1Pace(bounded=True)
    pace.begin(1000, 0)
    pace.saw(1000, 1200)  # Not one block in twenty minutes.
    assert not pace.allows(1001 + SLACK, 1200)


def test_a_local_chain_may_jump() -> None:
    assert L1Pace(bounded=False).allows(10**9, 0)


def test_what_more_than_half_have_reached_is_believed() -> None:
    assert believed([7]) == 7
    assert believed([7, 10**6]) == 7
    assert believed([7, 10**6, 8]) == 8
    assert believed([7, 8, 9, 10**6]) == 8
    assert believed([0, 8, 9]) == 8, "one that has stopped holds nobody up"


def test_no_more_blocks_are_possible_than_ethereum_had_slots() -> None:
    assert most_at(MERGED_AT) == MERGE_BLOCK + SLACK
    assert most_at(MERGED_AT + 1200) == MERGE_BLOCK + SLACK + 100
    assert most_at(0) is None, "a clock that was never set tells nothing"

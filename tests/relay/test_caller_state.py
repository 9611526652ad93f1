"""The states of a caller's connection: every pair of state and event, and what must hold of the whole."""

from __future__ import annotations

import pytest

from orchd.relay.caller_state import (
    BUSY,
    MOVES,
    PARSED,
    CallerEvent,
    CallerState,
    IllegalCallerMove,
    next_caller_state,
)
from tests.lifecycle_diagram import RELAY, caller_diagram

S, E = CallerState, CallerEvent


@pytest.mark.parametrize("event", E)
@pytest.mark.parametrize("state", S)
def test_every_pair_is_a_legal_move_or_refused(state: CallerState, event: CallerEvent) -> None:
    if event in MOVES[state]:
        assert next_caller_state(state, event) is MOVES[state][event]
    else:
        with pytest.raises(IllegalCallerMove, match=f"{event} in state {state}"):
            next_caller_state(state, event)


def reached(start: CallerState, without: frozenset[CallerState] = frozenset()) -> set[CallerState]:
    seen: set[CallerState] = set()
    todo = [start]
    while todo:
        state = todo.pop()
        if state not in seen and state not in without:
            seen.add(state)
            todo += MOVES[state].values()
    return seen


def test_every_state_has_a_row_and_is_reached_from_the_first() -> None:
    assert set(MOVES) == set(S) == reached(S.AWAITING)


@pytest.mark.parametrize("state", S)
def test_every_state_can_be_closed_at_any_moment_and_nothing_follows(state: CallerState) -> None:
    assert next_caller_state(state, E.CLOSED) is S.CLOSED
    assert set(MOVES[S.CLOSED].values()) == {S.CLOSED}


def test_a_request_is_served_only_after_the_one_before_has_been_answered_and_read() -> None:
    assert {state for state, row in MOVES.items() if E.REQUEST in row} == {S.AWAITING}
    assert S.SERVING not in reached(S.DROPPING, without=frozenset({S.AWAITING}))


@pytest.mark.parametrize("state", [S.TUNNELLING, S.LEAVING, S.TURNED_AWAY, S.CLOSED])
def test_from_here_no_request_is_served_any_more(state: CallerState) -> None:
    assert S.SERVING not in reached(state)


def test_what_is_not_http_any_more_is_not_parsed() -> None:
    assert frozenset(S) - PARSED == {S.TUNNELLING, S.LEAVING, S.CLOSED}
    assert {S.SERVING, S.TUNNELLING} == BUSY


def test_the_diagram_in_the_design_page_is_the_table() -> None:
    assert caller_diagram() in RELAY.read_text(), "run: python -m tests.lifecycle_diagram"

"""The transition table: every state and event pair, and what must hold of the whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchd.domain.lifecycle import (
    ALIVE,
    PROBED,
    TRANSITIONS,
    IllegalMove,
    RunnerEvent,
    RunnerState,
    accepts,
    next_state,
)
from tests.lifecycle_diagram import diagram

S, E = RunnerState, RunnerEvent

PAIRS = [(state, event) for state in RunnerState for event in RunnerEvent]


@pytest.mark.parametrize(("state", "event"), PAIRS, ids=str)
def test_every_pair_is_a_legal_move_or_refused(state: RunnerState, event: RunnerEvent) -> None:
    if accepts(state, event):
        assert next_state(state, event) is TRANSITIONS[state][event]
    else:
        with pytest.raises(IllegalMove, match=f"{event} in state {state}"):
            next_state(state, event)


def _reach(start: RunnerState, without: set[RunnerState] = frozenset()) -> set[RunnerState]:  # type: ignore[assignment]
    seen, todo = set(), [start]
    while todo:
        state = todo.pop()
        if state in seen or state in without:
            continue
        seen.add(state)
        todo += TRANSITIONS[state].values()
    return seen


def test_every_state_has_a_row_and_is_reached_from_cold() -> None:
    assert set(TRANSITIONS) == set(RunnerState) == _reach(S.COLD)


@pytest.mark.parametrize("state", RunnerState)
def test_every_state_can_come_back_to_ready_and_to_cold(state: RunnerState) -> None:
    assert {S.READY, S.COLD} <= _reach(state)


@pytest.mark.parametrize("state", sorted(ALIVE))
def test_whatever_runs_goes_down_only_through_stopping(state: RunnerState) -> None:
    rest = {S.COLD, S.BACKOFF, S.FAILED}
    assert not rest & _reach(state, without={S.STOPPING})


@pytest.mark.parametrize("state", sorted(ALIVE))
def test_whatever_runs_can_die_at_any_moment(state: RunnerState) -> None:
    assert next_state(state, E.EXITED) is S.STOPPING


@pytest.mark.parametrize("state", sorted(PROBED))
def test_whatever_is_probed_takes_every_verdict(state: RunnerState) -> None:
    for event in (E.PROBE_READY, E.PROBE_LOADING, E.PROBE_FAILED):
        assert accepts(state, event)


def test_the_diagram_in_the_docs_is_the_table() -> None:
    docs = Path(__file__).parents[2] / "docs" / "explanation" / "lifecycle.md"
    assert diagram() in docs.read_text(), "run: python -m tests.lifecycle_diagram"

"""The phases of a realtime session: every pair of phase and event, and what must hold of the whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchd.domain.lifecycle import IllegalMove
from orchd.domain.phases import STREAM_MOVES, StreamEvent, StreamPhase, next_phase
from tests.lifecycle_diagram import DOCS, stream_diagram

S, E = StreamPhase, StreamEvent

PAIRS = [(phase, event) for phase in StreamPhase for event in StreamEvent]


@pytest.mark.parametrize(("phase", "event"), PAIRS, ids=str)
def test_every_pair_is_a_legal_move_or_refused(phase: StreamPhase, event: StreamEvent) -> None:
    if event in STREAM_MOVES[phase]:
        assert next_phase(phase, event) is STREAM_MOVES[phase][event]
    else:
        with pytest.raises(IllegalMove, match=f"{event} in phase {phase}"):
            next_phase(phase, event)


def test_every_phase_has_a_row_and_is_reached_from_held() -> None:
    reached, left = {S.HELD}, [S.HELD]
    while left:
        new = set(STREAM_MOVES[left.pop()].values()) - reached
        reached |= new
        left += new
    assert set(STREAM_MOVES) == set(StreamPhase) == reached


@pytest.mark.parametrize("phase", set(StreamPhase) - {S.ENDED})
def test_a_stream_can_be_over_at_any_moment(phase: StreamPhase) -> None:
    assert next_phase(phase, E.OVER) is S.ENDED


def test_what_has_ended_stays_so() -> None:
    assert STREAM_MOVES[S.ENDED] == {}


@pytest.mark.parametrize("phase", [S.STARTING, S.RUNNING])
def test_what_a_container_may_be_at_work_on_can_be_asked_to_stop(phase: StreamPhase) -> None:
    assert next_phase(phase, E.STOP_ASKED) is S.ENDING


def test_a_stop_that_was_asked_for_is_never_taken_back() -> None:
    assert STREAM_MOVES[S.ENDING] == {E.STOPPED: S.HELD, E.OVER: S.ENDED}, "it runs no more, in either case"


def test_the_diagram_in_the_docs_is_the_table() -> None:
    assert stream_diagram() in Path(DOCS).read_text(), "run: python -m tests.lifecycle_diagram"

"""The table of a segment's moves, state by state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product

import pytest

from orchd.channels.segment import SEGMENT_MOVES, SegmentEvent, SegmentState, TrickleSegment

S, E = SegmentState, SegmentEvent
DO: Mapping[SegmentEvent, Callable[[TrickleSegment], None]] = {
    E.BYTES: lambda segment: segment.append(b"x"),
    E.END: TrickleSegment.end,
    E.DROP: TrickleSegment.drop,
}
WAYS = {S.WAITING: (), S.FLOWING: (E.BYTES,), S.ENDED: (E.BYTES, E.END), S.DROPPED: (E.BYTES, E.DROP)}
"""How a segment comes to a state."""


def brought_to(state: SegmentState) -> TrickleSegment:
    segment = TrickleSegment(0)
    for event in WAYS[state]:
        DO[event](segment)
    assert segment.state is state
    return segment


@pytest.mark.parametrize(("state", "event"), list(product(S, E)))
def test_each_event_does_in_each_state_what_the_table_says(state: SegmentState, event: SegmentEvent) -> None:
    segment = brought_to(state)
    if event in SEGMENT_MOVES[state]:
        DO[event](segment)
        assert segment.state is SEGMENT_MOVES[state][event]
    else:
        with pytest.raises(KeyError):
            DO[event](segment)
        assert segment.state is state


def test_what_has_ended_never_begins_again() -> None:
    reached, more = set[SegmentState](), {S.ENDED}
    while more:
        reached |= more
        more = {after for state in more for after in SEGMENT_MOVES[state].values()} - reached
    assert reached == {S.ENDED, S.DROPPED}


def test_readers_are_woken_by_all_that_concerns_them_and_writers_by_what_ends_their_waiting() -> None:
    woken: list[tuple[SegmentEvent, str]] = []
    segment, now = TrickleSegment(0), E.BYTES
    segment.readers["reader"] = lambda: woken.append((now, "reader"))
    segment.writers["writer"] = lambda: woken.append((now, "writer"))
    for now in (E.BYTES, E.END, E.DROP):
        DO[now](segment)
    assert woken == [
        (E.BYTES, "reader"),
        (E.END, "reader"),
        (E.END, "writer"),
        (E.DROP, "reader"),
        (E.DROP, "writer"),
    ]

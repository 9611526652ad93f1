"""The life of a realtime session, as one table of legal moves. Pure.

`realtime/keeper.py` tells what has happened, and `Streams.move` looks up here what follows. A test walks every pair of
phase and event, and draws the diagram of docs from this table.

A stream holds its slot from HELD until ENDED. Two ideas carry the table:
- what was asked of the container decides how a stream ends: nothing was asked in HELD, so it is over at once; from
  STARTING on the container may be at work on it, so it is asked to stop first, in ENDING, and the slot stays taken;
- from each phase it can be over at once, because its runner may go at any moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from orchd.domain.lifecycle import IllegalMove


class StreamPhase(StrEnum):
    """How far a realtime session has come."""

    HELD = "held"
    """The slot is taken; the container was not asked to start anything."""
    STARTING = "starting"
    RUNNING = "running"
    ENDING = "ending"
    """The container is asked to stop, or is expected to; the slot is still taken."""
    ENDED = "ended"


class StreamEvent(StrEnum):
    """What may happen to a realtime session."""

    START_ASKED = "start_asked"
    """Somebody means to start it; nobody else may from now on."""
    STARTED = "started"
    """The container has said yes."""
    START_REFUSED = "start_refused"
    """The container has said no, or was not asked; the node's reservation stays."""
    FOUND = "found"
    """It runs already, since an earlier orchd."""
    STOP_ASKED = "stop_asked"
    """Its container has to stop first."""
    STOPPED = "stopped"
    """The container has stopped it; the node's reservation stays."""
    OVER = "over"


S, E = StreamPhase, StreamEvent

STREAM_MOVES: Mapping[StreamPhase, Mapping[StreamEvent, StreamPhase]] = {
    S.HELD: {E.START_ASKED: S.STARTING, E.FOUND: S.RUNNING, E.OVER: S.ENDED},
    S.STARTING: {E.STARTED: S.RUNNING, E.START_REFUSED: S.HELD, E.STOP_ASKED: S.ENDING, E.OVER: S.ENDED},
    S.RUNNING: {E.STOP_ASKED: S.ENDING, E.OVER: S.ENDED},
    S.ENDING: {E.STOPPED: S.HELD, E.OVER: S.ENDED},
    S.ENDED: {},
}


def next_phase(phase: StreamPhase, event: StreamEvent) -> StreamPhase:
    """Return the phase after `event`.

    Raises:
        IllegalMove: the table has no such move.
    """
    try:
        return STREAM_MOVES[phase][event]
    except KeyError:
        raise IllegalMove(f"cannot take {event} in phase {phase}") from None

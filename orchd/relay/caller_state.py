"""The states of one caller's connection, as one table of legal moves. Pure.

The diagram in design.md is drawn from MOVES; a test walks every pair of state and event.

A connection carries its caller's requests one after the other: AWAITING the next head, SERVING the request, AWAITING
again. Three ideas carry the rest:

- an answer may go out before its request has come whole. What is left of the body is then read and dropped (DROPPING),
  if it is short enough to be worth it, so that the connection can go on;
- where nothing may follow, only our half is closed, and what still comes is dropped (LEAVING): to close a socket with
  unread bytes in it resets the connection, and a reset may destroy the answer on its way;
- a connection for which there is no room (TURNED_AWAY) is told so once it asks for something: an answer that nobody
  has asked for could be taken for that to the next request.

There is one deadline for each connection; what it means that it passes follows from the state.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class CallerState(StrEnum):
    """What a caller's connection is doing."""

    AWAITING = "awaiting"
    SERVING = "serving"
    TUNNELLING = "tunnelling"
    DROPPING = "dropping"
    LEAVING = "leaving"
    TURNED_AWAY = "turned_away"
    CLOSED = "closed"


class CallerEvent(StrEnum):
    """What moves it on."""

    NO_ROOM = "no_room"
    """There are more connections than allowed."""
    REQUEST = "request"
    """The head of a request is there."""
    SWITCHED = "switched"
    """The request's answer was 101: both sides have switched protocols."""
    ANSWERED = "answered"
    """The answer is out, the request was whole, and another one may come."""
    ANSWERED_EARLY = "answered_early"
    """The answer is out, and the rest of the body is worth reading."""
    ANSWERED_LAST = "answered_last"
    """The answer is out, and nothing may follow on this connection."""
    BODY_ENDED = "body_ended"
    """All that was left of the body has been dropped."""
    BODY_GIVEN_UP = "body_given_up"
    """The rest of the body is broken, or takes too long."""
    REFUSED = "refused"
    """What came is not a request, or came too late: that was said, and nothing may follow."""
    CLOSED = "closed"
    """Nothing can be sent any more, whichever side ended it."""


S, E = CallerState, CallerEvent

MOVES: Mapping[CallerState, Mapping[CallerEvent, CallerState]] = {
    S.AWAITING: {
        E.NO_ROOM: S.TURNED_AWAY,
        E.REQUEST: S.SERVING,
        E.REFUSED: S.LEAVING,
        E.CLOSED: S.CLOSED,
    },
    S.SERVING: {
        E.SWITCHED: S.TUNNELLING,
        E.ANSWERED: S.AWAITING,
        E.ANSWERED_EARLY: S.DROPPING,
        E.ANSWERED_LAST: S.LEAVING,
        E.CLOSED: S.CLOSED,
    },
    S.TUNNELLING: {E.CLOSED: S.CLOSED},
    S.DROPPING: {
        E.BODY_ENDED: S.AWAITING,
        E.BODY_GIVEN_UP: S.LEAVING,
        E.CLOSED: S.CLOSED,
    },
    S.LEAVING: {E.CLOSED: S.CLOSED},
    S.TURNED_AWAY: {
        E.REFUSED: S.LEAVING,
        E.CLOSED: S.CLOSED,
    },
    # Told twice: by our code that closes, and by the loop.
    S.CLOSED: {E.CLOSED: S.CLOSED},
}

PARSED = frozenset({S.AWAITING, S.SERVING, S.DROPPING, S.TURNED_AWAY})
"""What comes is HTTP, and is looked at."""

BUSY = frozenset({S.SERVING, S.TUNNELLING})
"""There is a job, whose own deadline it is."""


class IllegalCallerMove(Exception):
    """A connection's state does not have this event: a bug of ours, never the caller's doing."""


def next_caller_state(state: CallerState, event: CallerEvent) -> CallerState:
    """Return the state after `event`.

    Raises:
        IllegalCallerMove: the table has no such move.
    """
    try:
        return MOVES[state][event]
    except KeyError:
        raise IllegalCallerMove(f"cannot take {event} in state {state}") from None

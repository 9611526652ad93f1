"""The life of one model in Live Runner's dynamic registry, as a table of legal moves. Pure.

The node knows a runner by its id, and who registered it by a secret that it tells once. So there are two ways to
speak to it: to register, with the node's own secret, and to send heartbeats, with the runner's. Three ideas carry the
table:
- which way is right is never guessed: a heartbeat secret is used until the node says that it is worth nothing;
- a model is never just dropped: its last heartbeats offer no free slot, and tell us whether the node has sessions on
  it. It is unregistered when there are none (docs/protocol/live-runner.md, 2.5: unregistering ends them, and so does
  every status but ready);
- where the node has a record whose secret we lost (its answer never came, or our store is new), we wait until that
  one expires, and keep the id: a second id would offer the model twice meanwhile, and leave its sessions as lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from orchd.domain.lifecycle import IllegalMove


class ListingState(StrEnum):
    ABSENT = "absent"
    """Nothing to say to the node."""
    REGISTERING = "registering"
    EXPIRED = "expired"
    """As REGISTERING, but the node has yet to sweep our former record."""
    LOCKED_OUT = "locked_out"
    """As REGISTERING, but the node has a record of our id under another secret, until that expires."""
    REFUSED = "refused"
    """As REGISTERING, but the node says no: a person must change something."""
    LISTED = "listed"
    DRAINING = "draining"
    """No longer offered; listed without a free slot, for its sessions."""
    LEAVING = "leaving"
    """To be unregistered."""


class ListingEvent(StrEnum):
    # What is wanted.
    OFFER = "offer"
    WITHDRAW = "withdraw"

    # What came of the last call.
    TAKEN = "taken"
    """And the node has sessions on it."""
    IDLE = "idle"
    """Taken, and the node has no session on it."""
    UNKNOWN = "unknown"
    """The node has forgotten us: it was restarted, or has swept us."""
    EXPIRED = "expired"
    OTHER_SECRET = "other_secret"  # noqa: S105 - a word, not a secret
    REFUSED = "refused"
    SILENCE = "silence"
    """No answer, or none that says anything: it may have been done or not."""
    GONE = "gone"
    """Unregistered, or was not there."""


S, E = ListingState, ListingEvent

_REGISTER = {
    E.OFFER: S.REGISTERING,
    E.WITHDRAW: S.ABSENT,
    E.TAKEN: S.LISTED,
    E.IDLE: S.LISTED,
    E.EXPIRED: S.EXPIRED,
    E.OTHER_SECRET: S.LOCKED_OUT,
    E.REFUSED: S.REFUSED,
}

TRANSITIONS: Mapping[ListingState, Mapping[ListingEvent, ListingState]] = {
    S.ABSENT: {E.OFFER: S.REGISTERING, E.WITHDRAW: S.ABSENT},
    S.REGISTERING: {**_REGISTER, E.SILENCE: S.REGISTERING},
    S.EXPIRED: {**_REGISTER, E.OFFER: S.EXPIRED, E.SILENCE: S.EXPIRED},
    S.LOCKED_OUT: {**_REGISTER, E.OFFER: S.LOCKED_OUT, E.SILENCE: S.LOCKED_OUT},
    S.REFUSED: {**_REGISTER, E.OFFER: S.REFUSED, E.SILENCE: S.REFUSED},
    S.LISTED: {
        E.OFFER: S.LISTED,
        E.WITHDRAW: S.DRAINING,
        E.TAKEN: S.LISTED,
        E.IDLE: S.LISTED,
        E.UNKNOWN: S.REGISTERING,
        E.EXPIRED: S.EXPIRED,
        E.OTHER_SECRET: S.LOCKED_OUT,
        # The node keeps what it had until that expires, and we keep the secret for when the refusal is mended.
        E.REFUSED: S.LISTED,
        E.SILENCE: S.LISTED,
    },
    S.DRAINING: {
        E.OFFER: S.LISTED,
        E.WITHDRAW: S.DRAINING,
        E.TAKEN: S.DRAINING,
        E.IDLE: S.LEAVING,
        E.UNKNOWN: S.ABSENT,
        E.EXPIRED: S.ABSENT,
        E.OTHER_SECRET: S.ABSENT,
        E.REFUSED: S.LEAVING,
        E.SILENCE: S.DRAINING,
    },
    S.LEAVING: {
        # If it was unregistered and only the answer was lost, the next heartbeat hears UNKNOWN.
        E.OFFER: S.LISTED,
        E.WITHDRAW: S.LEAVING,
        E.SILENCE: S.LEAVING,
        E.GONE: S.ABSENT,
    },
}


def next_state(state: ListingState, event: ListingEvent) -> ListingState:
    """Return the state after `event`.

    Raises:
        IllegalMove: the table has no such move.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalMove(f"cannot take {event} in state {state}") from None


BEATING = frozenset({S.LISTED, S.DRAINING, S.LEAVING})
"""We hold the runner's secret; in the other states the node's own is used."""

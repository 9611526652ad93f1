"""The life of one model in Live Runner's dynamic registry: a table of legal moves, and when to call next. Pure.

The node knows a runner by its id, and whoever registered it by a secret that it tells once. So there are two ways to
speak to it: to register, with the node's own secret, and to beat, with the runner's. Three ideas carry the table:
- which way is right is never guessed: a heartbeat secret is used until the node says that it is worth nothing;
- a model is never just dropped: its last heartbeats offer no free slot, and tell us whether the node has sessions on
  it; it is unregistered when there are none (2.5: unregistering ends them, and so does every status but ready);
- where the node has a record whose secret we lost (its answer never came, or our store is new), we wait until that
  one expires, and keep the id: a second id would offer the model twice meanwhile, and leave its sessions as lost.

Source: live-runner.md 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import floor, inf

from orchd.advertise.live_runner.prices import LivePrice
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
    # What shall be.
    OFFER = "offer"
    WITHDRAW = "withdraw"

    # What came of the last call.
    TAKEN = "taken"
    """And the node has sessions on it."""
    IDLE = "idle"
    """Taken, and the node has no session on it."""
    UNKNOWN = "unknown"
    """The node has forgotten us: it was started anew, or has swept us."""
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

RETRY_MIN_S = 1.0
RETRY_MAX_S = 30.0
EXPIRED_S = 1.0
"""Between two tries while the node has yet to sweep, which it does every 5 s."""
REFUSED_S = 30.0
"""Between two tries while the node says no; any change of what we ask for is tried at once."""


@dataclass(frozen=True, slots=True)
class RunnerRecord:
    """What the node shall know of a model; each heartbeat replaces the whole of it.

    Attributes:
        capacity: >= 1; the node makes 1 of 0.
        price: None = none is sent.
    """

    app: str
    persistent: bool
    capacity: int
    price: LivePrice | None


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the node wants to hear of a runner, and after how long a silence it forgets it; seconds."""

    interval_s: float = 5.0
    ttl_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Listing:
    """One model, as we believe the node to have it. Times are of the loop clock.

    Attributes:
        due: when to call; inf = when something changes.
        wanted: the last record that was wanted, also after it is no longer.
        tried: as in the last call; None = none was made.
        up_since: when the node was seen to come up, as of the last look; Unix time.
        taken_at: the last time that the node took a record as we wanted it; None = not since it was registered.
        silences: calls without an answer, in a row.
        sessions: those that the node has on it.
    """

    state: ListingState = ListingState.ABSENT
    due: float = inf
    wanted: RunnerRecord | None = None
    tried: RunnerRecord | None = None
    up_since: float = 0.0
    taken_at: float | None = None
    silences: int = 0
    sessions: frozenset[str] = frozenset()
    pace: Pace = field(default_factory=Pace)

    @property
    def published(self) -> bool:
        return self.state in BEATING and self.taken_at is not None

    @property
    def record(self) -> RunnerRecord | None:
        """What the next heartbeat says; None = it is not one."""
        if self.state in (S.ABSENT, S.LEAVING) or self.wanted is None:
            return None
        if self.state is S.DRAINING:
            return replace(self.wanted, capacity=max(1, len(self.sessions)))
        return self.wanted


def held(record: RunnerRecord) -> Listing:
    """Return the listing of a model that an earlier orchd registered, and whose secret is still there."""
    return Listing(S.LISTED, due=-inf, wanted=record)


def look(listing: Listing, wanted: RunnerRecord | None, up_since: float, now: float) -> Listing:
    """Return the listing when `wanted` (None = nothing) shall be listed.

    What has changed is due now, the rest when it was. A node that has come up is asked too: it may have forgotten us.
    """
    state = next_state(listing.state, E.OFFER if wanted else E.WITHDRAW)
    seen = replace(listing, state=state, wanted=wanted or listing.wanted, up_since=up_since)
    if state is S.ABSENT:
        return replace(seen, due=inf, tried=None, taken_at=None, sessions=frozenset())
    if up_since != listing.up_since:
        return replace(seen, due=now, silences=0)
    if state is not listing.state or (seen.record is not None and seen.record != listing.tried):
        return replace(seen, due=now)
    return seen


def tried(listing: Listing) -> Listing:
    """Return the listing with its call under way."""
    return replace(listing, tried=listing.record, due=inf)


def after(
    listing: Listing,
    event: ListingEvent,
    now: float,
    phase: float,
    sessions: frozenset[str] = frozenset(),
    pace: Pace | None = None,
) -> Listing:
    """Return the listing after what came of its call.

    Args:
        now: when the answer came, or was no longer waited for.
        phase: of `next_beat`.
        sessions, pace: as the node has answered; None = unchanged.
    """
    state, pace = next_state(listing.state, event), pace or listing.pace
    moved = replace(listing, state=state, pace=pace, silences=0)
    match event:
        case E.TAKEN | E.IDLE:
            moved = replace(moved, taken_at=now, sessions=sessions)
            return replace(moved, due=now if state is S.LEAVING else next_beat(now, pace.interval_s, phase))
        case E.SILENCE:
            pause_s = min(RETRY_MIN_S * 2 ** min(listing.silences, 9), RETRY_MAX_S)
            if listing.taken_at is not None and now - listing.taken_at < pace.ttl_s:
                pause_s = min(pause_s, pace.interval_s)  # The node may still have us, so be there when it wakes.
            return replace(moved, silences=listing.silences + 1, due=now + pause_s)
        case E.REFUSED if state is S.LISTED:
            return replace(moved, taken_at=None, due=now + REFUSED_S)
    moved = replace(moved, taken_at=None, sessions=frozenset())
    match state:
        case S.ABSENT:
            return replace(moved, due=inf, tried=None)
        case S.EXPIRED:
            return replace(moved, due=now + EXPIRED_S)
        case S.LOCKED_OUT:
            return replace(moved, due=now + pace.interval_s)
        case S.REFUSED:
            return replace(moved, due=now + REFUSED_S)
        case _:  # To be registered, or unregistered.
            return replace(moved, due=now)


def next_beat(now: float, interval_s: float, phase: float) -> float:
    """Return when to beat next: within `interval_s`, always at the same `phase` (0 to 1) of it.

    Models have phases of their own, so that a hundred that were registered at once do not beat at once for ever.
    """
    beat = (floor(now / interval_s - phase) + 1 + phase) * interval_s
    return beat if beat > now else beat + interval_s  # Rounding may give the beat that is just over.


def heard(status: int, text: str, *, beating: bool) -> ListingEvent:
    """Return what an answer to a heartbeat other than 200 means. Source: live-runner.md 2.1, 2.2.

    Args:
        beating: it was sent with the runner's secret, not the node's.
    """
    match status, text:
        case 401, "invalid heartbeat authorization":
            return E.OTHER_SECRET
        case 401, _:
            return E.UNKNOWN if beating else E.REFUSED
        case 404, "runner not found":
            return E.EXPIRED
        case ((400 | 404), _):
            return E.REFUSED
    return E.SILENCE


def told(listing: Listing, sessions: frozenset[str], now: float) -> Listing:
    """Return the listing when the node's sessions are these, as heard otherwise than by an answer."""
    if sessions == listing.sessions:
        return listing
    # The last one may have ended, which only an answer makes sure of.
    return replace(listing, sessions=sessions, due=now if listing.state is S.DRAINING else listing.due)

"""When to call the node about one model in the dynamic registry, and what comes of a call. Pure.

The legal moves are a table: `states`. Source: docs/protocol/live-runner.md, 2.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import floor, inf

from orchd.advertise.live_runner.prices import LivePrice
from orchd.advertise.live_runner.states import BEATING, E, ListingEvent, ListingState, S, next_state

RETRY_MIN_S = 1.0
RETRY_MAX_S = 30.0
EXPIRED_S = 1.0
"""Seconds between two tries while the node has yet to sweep, which it does every 5 s."""
REFUSED_S = 30.0
"""Seconds between two tries while the node says no; any change of what we ask for is tried at once."""


@dataclass(frozen=True, slots=True)
class RunnerRecord:
    """What the node is to know of a model; each heartbeat replaces the whole of it.

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
    """How often the node wants to hear of a runner, and after how much silence it forgets it; seconds."""

    interval_s: float = 5.0
    ttl_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Listing:
    """One model, as we believe the node to have it. Times are of the loop clock.

    Attributes:
        due: when to call; inf = when something changes.
        wanted: the last record that was wanted, also after it is no longer.
        tried: as in the last call; None = none was made.
        up_since: when the node was seen to come up, as of the last update; Unix time.
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


def update(listing: Listing, wanted: RunnerRecord | None, up_since: float, now: float) -> Listing:
    """Return the listing when `wanted` (None = nothing) is to be listed.

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
    """Return what an answer to a heartbeat other than 200 means. Source: docs/protocol/live-runner.md, 2.1, 2.2.

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

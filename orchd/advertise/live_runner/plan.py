"""When to call the node about one model in the dynamic registry, and what comes of a call. Pure.

The legal moves are a table: `states`. Source: docs/protocol/live-runner.md, 2.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import floor, inf

from orchd.advertise.live_runner.prices import LivePrice
from orchd.advertise.live_runner.states import BEATING, E, ListingEvent, ListingState, S, next_state
from orchd.domain.details import NO_DETAILS, Details

DRAIN_S = 1.0
"""Seconds between two beats of a model that leaves, since its last session may have ended."""
OVERDUE_S = 5.0
"""Seconds that a record whose secret is lost may be there after it should have expired."""
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
        ready: False = not to be found, by its status; its sessions can't be used either, but jobs under way go on.
    """

    app: str
    persistent: bool
    capacity: int
    price: LivePrice | None
    ready: bool = True
    details: Details = NO_DETAILS


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
        hides: a single-shot model that leaves is hidden by its status, which not every node program can do.
        locked_since: when the node was first seen to have a record whose secret is lost; None = it has none.
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
    hides: bool = False
    locked_since: float | None = None

    @property
    def published(self) -> bool:
        return self.state in BEATING and self.taken_at is not None

    @property
    def record(self) -> RunnerRecord | None:
        """What the next heartbeat says; None = it is not one."""
        if self.state in (S.ABSENT, S.LEAVING) or self.wanted is None:
            return None
        if self.state is not S.DRAINING:
            return self.wanted
        if self.hides and not self.wanted.persistent:
            return replace(self.wanted, ready=False)
        return replace(self.wanted, capacity=1)  # As many as there are would be one too many when the first ends.

    @property
    def held_until(self) -> float | None:
        """When a record whose secret is lost has expired, at the latest; None = there is no such record."""
        return None if self.locked_since is None else self.locked_since + self.pace.ttl_s + self.pace.interval_s


def held(record: RunnerRecord, pace: Pace) -> Listing:
    """Return the listing of a model that an earlier orchd registered, and whose secret is still there."""
    return Listing(S.LISTED, due=-inf, wanted=record, pace=pace)


def update(
    listing: Listing, wanted: RunnerRecord | None, up_since: float, now: float, *, hides: bool = False
) -> Listing:
    """Return the listing when `wanted` (None = nothing) is to be listed.

    What has changed is due now, the rest when it was. A node that has come up is asked too: it may have forgotten us.

    Args:
        hides: as in `Listing`.
    """
    state = next_state(listing.state, E.OFFER if wanted else E.WITHDRAW)
    seen = replace(listing, state=state, wanted=wanted or listing.wanted, up_since=up_since, hides=hides)
    if state is S.ABSENT:
        return replace(seen, due=inf, tried=None, taken_at=None, sessions=frozenset(), locked_since=None)
    if up_since != listing.up_since:
        return replace(seen, due=now, silences=0, locked_since=None)
    if state is not listing.state or _is_news(seen):
        return replace(seen, due=now)
    return seen


def _is_news(listing: Listing) -> bool:
    """Return whether the node is to be told now. Where it does not take what we say, a capacity is no reason to ask."""
    record, tried = listing.record, listing.tried
    if record is None or record == tried:
        return False
    is_heard = listing.state is S.LISTED and not listing.silences
    return is_heard or tried is None or replace(tried, capacity=record.capacity) != record


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
    if event is not E.SILENCE:
        locked_since = now if listing.locked_since is None else listing.locked_since
        moved = replace(moved, locked_since=locked_since if event is E.OTHER_SECRET else None)
    match event:
        case E.TAKEN | E.IDLE:
            moved = replace(moved, taken_at=now, sessions=sessions)
            interval_s = min(pace.interval_s, DRAIN_S) if state is S.DRAINING else pace.interval_s
            return replace(moved, due=now if state is S.LEAVING else next_beat(now, interval_s, phase))
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


def told(listing: Listing, sessions: frozenset[str], now: float) -> Listing:
    """Return the listing when the node's sessions are these, as heard otherwise than by an answer."""
    if sessions == listing.sessions:
        return listing
    # The last one may have ended, which only an answer makes sure of.
    return replace(listing, sessions=sessions, due=now if listing.state is S.DRAINING else listing.due)

"""What we believe go-livepeer's BYOC registry to hold under one name, and what becomes of that. Pure.

The node can't be asked for it (docs/protocol/byoc.md, 2.5), so what it was told is remembered, and whether that is
certain: a call without an answer may have been taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import inf
from typing import TypeAlias

from orchd.advertise.byoc.facts import ByocRules, Facts, Load, TokenSighting
from orchd.advertise.byoc.prices import ByocPrice
from orchd.domain.ids import ModelKey
from orchd.domain.money import Price
from orchd.errors import Code

HIDDEN_CAPACITY = -1_000_000
"""Offers nothing, whatever the node's own count says, and running streams can still be steered.

Source: docs/protocol/byoc.md, 2.5.
"""

RECHECK_S = 2.0
"""Seconds after which a token that shows other free slots than ours is asked for again: the node may only be slower."""

CERTAIN = 2
"""Tokens in a row that show the same before it counts."""

CONTEST_S = 3600.0
"""Within so many seconds the node must have offered more than all our slots twice, to be another program's doing. Once
may be a job that the node gave up late."""

BACKOFF_MIN_S, BACKOFF_MAX_S = 1.0, 30.0


@dataclass(frozen=True, slots=True)
class Capability:
    """A capability as the node is told it.

    Attributes:
        capacity: `HIDDEN_CAPACITY` while it is withdrawn and streams of it go on.
        period: of its token; see `RouteSecrets`.
        asked, eth_usd: what `price` was made from; None = not known (an earlier orchd made it; no rate).
    """

    name: str
    key: ModelKey
    capacity: int
    price: ByocPrice
    period: int
    asked: Price | None = None
    eth_usd: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Upsert:
    record: Capability
    why: str


@dataclass(frozen=True, slots=True)
class Unregister:
    why: str


@dataclass(frozen=True, slots=True)
class AskToken:
    """Ask for a token."""


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Do nothing now.

    Attributes:
        until: loop clock; decide again then at the latest.
    """

    until: float


ByocCall: TypeAlias = Upsert | Unregister
ByocStep: TypeAlias = ByocCall | AskToken | WaitUntil


@dataclass(frozen=True, slots=True)
class FailedCall:
    """A call that did not get its way.

    Attributes:
        final: the node will have none of that record.
        tries: in a row.
        until: loop clock; the same call waits until then.
    """

    call: ByocCall
    error: str
    code: Code
    final: bool
    tries: int
    epoch: int
    on_chain: bool | None
    until: float

    def stands(self, call: ByocCall, facts: Facts) -> bool:
        """Return whether `call` must wait."""
        if facts.now >= self.until or (facts.epoch, facts.on_chain) != (self.epoch, self.on_chain):
            return False
        return same_call(self.call, call)


@dataclass(frozen=True, slots=True)
class Registration:
    """What we believe the node to hold under one name.

    Attributes:
        record: as told last; None = nothing.
        sure: False = a call went out and we don't know whether it was taken.
        updated: that call changes what is on offer: whether it was taken or not, the model is.
        epoch, at, leaks: of `Facts`, when it was told last; -inf = never.
        check_at: when to ask for a token next.
        seen: what a token showed since; None = none was asked for yet.
        odd: tokens in a row that showed another count of slots than ours.
        starved: and it had no slot to give, though it should.
        overtaken, overtaken_at: how often, and when last (loop clock), the node offered more than all our slots.
        failures: of the last calls: one of each kind at most, the last one last.
    """

    record: Capability | None = None
    sure: bool = True
    updated: bool = False
    epoch: int = 0
    at: float = -inf
    leaks: int = 0
    check_at: float = inf
    seen: TokenSighting | None = None
    odd: int = 0
    starved: bool = False
    overtaken: int = 0
    overtaken_at: float = -inf
    failures: tuple[FailedCall, ...] = ()

    @property
    def empty(self) -> bool:
        """Nothing is there, and nothing is to be said about it."""
        return self.record is None and not self.failures

    @property
    def contested(self) -> bool:
        """Another program registers the same name: what the node holds is now theirs, now ours."""
        return self.overtaken >= CERTAIN

    @property
    def offered(self) -> bool:
        """The node has taken it, and gateways may find it."""
        return self.record is not None and (self.sure or self.updated) and self.record.capacity > 0

    @property
    def trouble(self) -> FailedCall | None:
        """What a person should know: what the node refuses, else what failed last."""
        return next(
            (failure for failure in self.failures if failure.final), self.failures[-1] if self.failures else None
        )

    def failure_of(self, call: ByocCall, facts: Facts) -> FailedCall | None:
        """Return why `call` must wait."""
        return next((failure for failure in self.failures if failure.stands(call, facts)), None)

    def retried(self) -> Registration:
        """Nothing waits any more but what the node refuses: it was gone, and is back."""
        return replace(self, failures=tuple(failure for failure in self.failures if failure.final))


def same_call(one: ByocCall, other: ByocCall) -> bool:
    """Return whether they tell the node the same; why does not matter, nor does the token."""
    if isinstance(one, Upsert) and isinstance(other, Upsert):
        return replace(one.record, period=0, eth_usd=None) == replace(other.record, period=0, eth_usd=None)
    return type(one) is type(other)


def _kind(call: ByocCall) -> str:
    if isinstance(call, Unregister):
        return "unregister"
    return "offer" if call.record.capacity > 0 else "hide"


def calling(registration: Registration, call: ByocCall) -> Registration:
    """A call goes out: from now on it may have been taken."""
    if isinstance(call, Upsert):
        updated = registration.offered and call.record.capacity > 0
        return replace(registration, record=registration.record or call.record, sure=False, updated=updated)
    return replace(registration, sure=False, updated=False)


def upserted(registration: Registration, record: Capability, facts: Facts) -> Registration:
    """The node has taken `record`; `facts` are those before the call."""
    return Registration(
        record,
        epoch=facts.epoch,
        at=facts.now,
        leaks=facts.leaks,
        check_at=facts.now if record.capacity > 0 else inf,
        overtaken=registration.overtaken if registration.epoch == facts.epoch else 0,
        overtaken_at=registration.overtaken_at,
        failures=() if record.capacity > 0 else registration.retried().failures,
    )


def unregistered(registration: Registration) -> Registration:
    """Nothing is there any more."""
    return Registration(epoch=registration.epoch, at=registration.at, failures=registration.retried().failures)


def failed(
    registration: Registration,
    call: ByocCall,
    facts: Facts,
    rules: ByocRules,
    error: str,
    code: Code,
    *,
    final: bool,
) -> Registration:
    """The call did not get its way.

    Args:
        registration: as it was before `calling`, if the node has answered.
        facts: those before the call.
        final: see `FailedCall`.
    """
    tries = 1 + sum(failure.tries for failure in registration.failures if same_call(failure.call, call))
    if code is Code.NODE_CURRENCY:
        # On chain its price feed may have failed; off-chain it has none, whatever we wait for.
        wait_s = rules.recount_s if facts.on_chain else inf
    elif code is Code.NOT_SPOKEN:
        wait_s = rules.recount_s  # The next start of the node may be another program; this one has no such route.
    else:
        wait_s = min(BACKOFF_MIN_S * 2 ** min(tries - 1, 10), BACKOFF_MAX_S)
    failure = FailedCall(call, error, code, final, tries, facts.epoch, facts.on_chain, facts.now + wait_s)
    others = (former for former in registration.failures if _kind(former.call) != _kind(call))
    return replace(registration, failures=(*others, failure))


def checked(
    registration: Registration, seen: TokenSighting, before: Load, after: Load, now: float, check_s: float
) -> Registration:
    """A token was seen.

    Args:
        before, after: when it was asked for, and when it came.
        now: loop clock.
        check_s: how long until the next one.
    """
    assert registration.record is not None
    due = max(0, registration.record.capacity - after.taken)
    if before != after or seen.free in (None, due):
        return replace(registration, seen=seen, odd=0, starved=False, check_at=now + check_s)
    if registration.odd + 1 == CERTAIN and (seen.free or 0) > registration.record.capacity:
        soon = now - registration.overtaken_at < CONTEST_S
        times = registration.overtaken + 1 if soon else 1
        registration = replace(registration, overtaken=times, overtaken_at=now)
    return replace(
        registration,
        seen=seen,
        odd=registration.odd + 1,
        starved=seen.free == 0,
        check_at=now + (check_s if registration.odd else RECHECK_S),
    )

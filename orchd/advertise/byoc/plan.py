"""What go-livepeer's BYOC registry must be told about one capability next. Pure.

An upsert sets the node's count of busy slots to 0, and jobs that run then push it below 0. So a busy model is upserted
only where something forces it, and once more when it is idle. The node also leaks slots by itself (5.2). A token shows
that, where it shows free slots at all (4.3), and an upsert repairs it. Such repairs are made at most once a minute,
since registering in a tight loop may crash the node (2.3). What is not certain is told again.

Source: docs/protocol/byoc.md, 2.3, 4.3 and 5.2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import inf

from orchd.advertise.byoc.prices import byoc_price
from orchd.advertise.byoc.registration import (
    HIDDEN_CAPACITY,
    AskToken,
    ByocCall,
    ByocRules,
    ByocStep,
    Capability,
    Facts,
    Registration,
    Unregister,
    Upsert,
    WaitUntil,
)
from orchd.advertise.prices import Unpublishable, moved
from orchd.domain.money import Currency
from orchd.domain.offer import Offer

HEAL_S = 60.0
"""Least seconds between two upserts of an idle model that only mend the node's count."""

GAP_S = 1.0
"""Least seconds between two upserts of a model that comes and goes."""

POLL_S = 1.0
"""How often it is checked whether a model is idle, or has no streams any more, where something waits for that."""


_byoc_price = lru_cache(maxsize=1024)(byoc_price)  # asked for every model at every turn


def record_of(offer: Offer, facts: Facts) -> Capability | Unpublishable:
    """Return what the node is to be told of an offer."""
    price = _byoc_price(offer.price, facts.eth_usd, on_chain=facts.on_chain)
    if isinstance(price, Unpublishable):
        return price
    return Capability(offer.capability, offer.key, offer.capacity, price, facts.period, offer.price, facts.eth_usd)


def step(registration: Registration, offer: Offer | None, facts: Facts, rules: ByocRules) -> ByocStep:
    """Return what to do now. An offer without a price that BYOC takes counts as none."""
    if not facts.up:
        return WaitUntil(inf)
    target = record_of(offer, facts) if offer else None
    if not isinstance(target, Capability):
        return _unless_failed(_withdraw(registration, facts, "it is no longer offered"), registration, facts)
    refusal = registration.failure_of(Upsert(target, ""), facts)
    if refusal and refusal.final:
        step = _unless_failed(_withdraw(registration, facts, "the node refuses its new terms"), registration, facts)
        return WaitUntil(min(step.until, refusal.until)) if isinstance(step, WaitUntil) else step
    step = _unless_failed(_tell(registration, target, facts, rules), registration, facts)
    if not isinstance(step, WaitUntil) or not registration.sure or registration.record is None:
        return step
    return AskToken() if registration.check_at <= facts.now else WaitUntil(min(step.until, registration.check_at))


def _tell(registration: Registration, target: Capability, facts: Facts, rules: ByocRules) -> Upsert | WaitUntil:
    """Return when and why the node is told `target`."""
    why = _forced(registration, target, facts, rules)
    if why:
        gap_until = registration.at + GAP_S if registration.epoch == facts.epoch else -inf
        return Upsert(target, why) if facts.now >= gap_until else WaitUntil(gap_until)
    cure = _cure(registration, facts, rules)
    if cure is None:
        return WaitUntil(inf)
    if cure.at > facts.now:
        return WaitUntil(cure.at)
    return WaitUntil(facts.now + POLL_S) if cure.when_idle and facts.active else Upsert(target, cure.why)


def _forced(registration: Registration, target: Capability, facts: Facts, rules: ByocRules) -> str:
    """Return why it must be told even while jobs run; empty = it need not."""
    held = registration.record
    if held is None:
        return "it is new"
    if not registration.sure:
        return "it is not known what the node holds"
    if registration.epoch != facts.epoch:
        return "the node was restarted"
    if (held.capacity, held.key) != (target.capacity, target.key):
        return "its capacity has changed" if held.key == target.key else "another model has taken its name"
    if not _same_price(held, target, rules.tolerance):
        return "its price has changed"
    return ""


@dataclass(frozen=True, slots=True)
class _Cure:
    """Attributes:
    at: loop clock; not before.
    when_idle: and not while sessions are open.
    """

    at: float
    why: str
    when_idle: bool = True


def _cure(registration: Registration, facts: Facts, rules: ByocRules) -> _Cure | None:
    """Return what speaks for telling the same again."""
    assert registration.record is not None
    soon = registration.at + HEAL_S
    certain = registration.odd >= 2
    if registration.seen and registration.seen.registered is False:
        return _Cure(soon, "the node has lost it", when_idle=False)
    if certain and registration.starved:
        return _Cure(soon, "the node gives out none of its free slots", when_idle=False)
    if registration.record.period != facts.period:
        return _Cure(registration.at + GAP_S, "its token is due for a new one")
    if registration.busy:
        return _Cure(soon, "it was busy when it was told")
    if certain:
        return _Cure(soon, "the node counts its slots otherwise")
    if registration.seen and registration.seen.free is None and facts.begun > registration.begun:
        return _Cure(registration.at + rules.recount_s, "the node may have lost slots")
    return None


def _withdraw(registration: Registration, facts: Facts, why: str) -> ByocCall | WaitUntil:
    """Return how it is taken back.

    Not whole while streams need it to be stopped and paid for (docs/protocol/byoc.md, 2.4).
    """
    held = registration.record
    if held is None:
        return WaitUntil(inf)
    hide = Upsert(replace(held, capacity=HIDDEN_CAPACITY, period=facts.period), f"{why}, and streams of it go on")
    refusal = registration.failure_of(hide, facts)
    if not facts.streams or (refusal and refusal.final):
        return Unregister(why)
    if held.capacity == HIDDEN_CAPACITY and registration.sure and registration.epoch == facts.epoch:
        return WaitUntil(facts.now + POLL_S)
    return hide


def _unless_failed(call: ByocCall | WaitUntil, registration: Registration, facts: Facts) -> ByocCall | WaitUntil:
    failure = None if isinstance(call, WaitUntil) else registration.failure_of(call, facts)
    return WaitUntil(failure.until) if failure else call


def _same_price(held: Capability, target: Capability, tolerance: Fraction) -> bool:
    """Return whether `held` is as good: equal, or off by the rate only, and that has hardly moved."""
    by_rate = target.asked is not None and target.asked.currency is Currency.USD
    known = held.eth_usd is not None and target.eth_usd is not None
    if by_rate and known:
        assert held.eth_usd is not None
        assert target.eth_usd is not None
        alike = (held.asked, held.price.currency) == (target.asked, target.price.currency)
        return alike and not moved(held.eth_usd, target.eth_usd, tolerance)
    return held.price == target.price

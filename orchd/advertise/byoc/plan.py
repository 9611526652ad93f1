"""What go-livepeer's BYOC registry must be told about one capability next. Pure.

An upsert also says how many slots are taken (`Load`), so jobs and streams that run do not stand in its way. The node
leaks slots (5.2). Where orchd knows that it has, an upsert repairs it at once; what only a token shows, where it shows
free slots at all (4.3), is repaired once a minute, since registering in a tight loop may crash the node (2.3). What is
not certain is told again.

Source: docs/protocol/byoc.md, 2.3, 4.3 and 5.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from math import inf
from typing import NamedTuple

from orchd.advertise.byoc.facts import ByocRules, Facts
from orchd.advertise.byoc.prices import byoc_price
from orchd.advertise.byoc.registration import (
    CERTAIN,
    HIDDEN_CAPACITY,
    AskToken,
    ByocCall,
    ByocStep,
    Capability,
    Registration,
    Unregister,
    Upsert,
    WaitUntil,
)
from orchd.advertise.prices import Unpublishable, moved
from orchd.domain.money import Currency
from orchd.domain.offer import Offer

HEAL_S = 60.0
"""Least seconds between two upserts that mend what a token has shown."""

GAP_S = 1.0
"""Least seconds between two upserts of a model. Source: docs/protocol/byoc.md, 2.3."""

POLL_S = 1.0
"""How often it is checked whether a hidden model has no streams any more."""


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
    cure = min(_cures(registration, facts, rules), key=lambda cure: cure.at, default=None)
    if cure is None:
        return WaitUntil(inf)
    return Upsert(target, cure.why) if cure.at <= facts.now else WaitUntil(cure.at)


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


class _Cure(NamedTuple):
    """Attributes:
    at: loop clock; not before.
    """

    at: float
    why: str


def _cures(registration: Registration, facts: Facts, rules: ByocRules) -> Iterator[_Cure]:
    """Yield what speaks for telling the same again."""
    record, seen = registration.record, registration.seen
    assert record is not None
    if facts.leaks > registration.leaks:
        yield _Cure(registration.at + GAP_S, "the node keeps the slot of a job or stream that is over")
    if record.period != facts.period:
        yield _Cure(registration.at + GAP_S, "its token is due for a new one")
    if seen is not None and seen.registered is False:
        yield _Cure(registration.at + HEAL_S, "the node has lost it")
    if registration.odd >= CERTAIN:
        how = "gives out none of its free slots" if registration.starved else "counts its slots otherwise"
        yield _Cure(registration.at + _patience(registration), f"the node {how}")
    if seen is None or seen.registered is None:
        yield _Cure(registration.at + rules.recount_s, "it can't be seen whether the node still has it")
    if record.price.currency is Currency.USD and facts.eth_usd is None:
        yield _Cure(registration.at + rules.recount_s, "the node's rate may have moved")


def _patience(registration: Registration) -> float:
    """Return after how many seconds what a token has shown is mended: ever later where another program undoes it."""
    return HEAL_S * 2 ** min(registration.overtaken - 1, 6) if registration.contested else HEAL_S


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

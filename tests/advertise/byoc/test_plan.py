"""What BYOC is told next: each rule of the issue, one by one."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import inf
from typing import Any

import pytest

from orchd.advertise.byoc import registration as registrations
from orchd.advertise.byoc.facts import ByocRules, Facts, Load, TokenSighting
from orchd.advertise.byoc.plan import GAP_S, HEAL_S, POLL_S, record_of, step
from orchd.advertise.byoc.registration import (
    HIDDEN_CAPACITY,
    RECHECK_S,
    AskToken,
    ByocCall,
    Capability,
    Registration,
    Unregister,
    Upsert,
    WaitUntil,
)
from orchd.advertise.byoc.standing import standing
from orchd.domain.money import Currency, Price
from orchd.domain.offer import Offer
from orchd.errors import Code
from tests.advertise.rig import offer

RULES = ByocRules(recount_s=600.0, tolerance=Fraction(1, 20))
NOW = 10_000.0
IDLE = Facts(now=NOW, up=True, epoch=1, on_chain=False, eth_usd=Fraction(3000), period=7, streams=0, leaks=0)
NO_LOAD = Load(0, 0)
OFFER = offer("a", capacity=2, price=5)
FREE = TokenSighting(True, 2)


def facts(**changes: Any) -> Facts:
    return replace(IDLE, **changes)


def record(found: Offer = OFFER, given: Facts = IDLE) -> Capability:
    made = record_of(found, given)
    assert isinstance(made, Capability)
    return made


def held(
    found: Offer = OFFER, given: Facts = IDLE, *, seen: TokenSighting | None = FREE, **changes: Any
) -> Registration:
    """Return the registration of an offer that was told at `given` and, unless None, seen."""
    registration = registrations.upserted(Registration(), record(found, given), given)
    if seen is not None:
        registration = registrations.checked(registration, seen, NO_LOAD, NO_LOAD, given.now, check_s=inf)
    return replace(registration, **changes)


def decided(
    registration: Registration, found: Offer | None = OFFER, given: Facts = IDLE
) -> ByocCall | AskToken | WaitUntil:
    return step(registration, found, given, RULES)


def why(made: object) -> str:
    assert isinstance(made, Upsert), made
    return made.why


def test_a_new_offer_is_told_at_once() -> None:
    made = decided(Registration())
    assert isinstance(made, Upsert)
    assert (made.record.name, made.record.capacity, made.record.period) == ("llm/a", 2, 7)
    assert (made.record.price.price_per_unit, made.record.price.currency) == (5, Currency.WEI)


def test_what_an_earlier_orchd_told_is_told_again() -> None:
    """Nobody knows whether the node still has it, nor with which token."""
    assert why(decided(Registration(record(), sure=False))) == "it is not known what the node holds"


def test_what_an_earlier_orchd_told_and_is_not_offered_is_unregistered() -> None:
    assert isinstance(decided(Registration(record(), sure=False), None), Unregister)


def test_nothing_is_told_twice() -> None:
    assert decided(held()) == WaitUntil(inf)
    assert decided(Registration(), None) == WaitUntil(inf)


def test_nothing_is_told_to_a_node_that_is_down() -> None:
    assert decided(Registration(), given=facts(up=False)) == WaitUntil(inf)
    assert decided(held(), None, facts(up=False)) == WaitUntil(inf)


def test_a_node_that_was_started_anew_is_told_again() -> None:
    assert why(decided(held(), given=facts(epoch=2))) == "the node was restarted"


def test_changes_are_told_at_once() -> None:
    later = facts(now=NOW + GAP_S)
    assert why(decided(held(), offer("a", 3, 5), later)) == "its capacity has changed"
    assert why(decided(held(), offer("a", 2, 6), later)) == "its price has changed"
    assert why(decided(held(), offer("b", 2, 5, capability="llm/a"), later)) == "another model has taken its name"


def test_what_is_no_longer_offered_is_unregistered_at_once() -> None:
    assert isinstance(decided(held(), None, facts(streams=0)), Unregister)


def test_a_model_that_comes_and_goes_is_told_once_a_second_at_most() -> None:
    gone = registrations.unregistered(held())
    assert decided(gone) == WaitUntil(NOW + GAP_S)
    assert isinstance(decided(gone, given=facts(now=NOW + GAP_S)), Upsert)
    assert isinstance(decided(gone, given=facts(epoch=2)), Upsert), "a new node has heard nothing"
    assert isinstance(decided(held(), None), Unregister), "withdrawals never wait"


def test_a_model_is_on_offer_while_the_node_is_told_of_a_change_and_not_while_it_comes_or_goes() -> None:
    change, hide = Upsert(record(offer("a", capacity=3)), ""), Upsert(replace(record(), capacity=HIDDEN_CAPACITY), "")
    under_way = registrations.calling(held(), change)
    assert under_way.offered
    assert registrations.calling(under_way, change).offered, "it is told again, as no answer came"
    assert not registrations.calling(Registration(), change).offered
    for leaving in (hide, Unregister("")):
        assert not registrations.calling(held(), leaving).offered
        assert not registrations.calling(under_way, leaving).offered


# Streams that go on.


def test_a_model_that_leaves_with_streams_is_hidden_and_unregistered_after_the_last() -> None:
    open_ = facts(streams=1)
    made = decided(held(), None, open_)
    assert isinstance(made, Upsert)
    assert made.record == replace(record(), capacity=HIDDEN_CAPACITY)
    hidden = registrations.upserted(held(), made.record, open_)
    assert not hidden.offered
    assert decided(hidden, None, open_) == WaitUntil(NOW + POLL_S)
    assert isinstance(decided(hidden, None), Unregister)


def test_hidden_models_are_hidden_again_in_a_new_node() -> None:
    """Their gateways can still stop them there."""
    hidden = registrations.upserted(held(), replace(record(), capacity=HIDDEN_CAPACITY), facts(streams=1))
    assert isinstance(decided(hidden, None, facts(streams=1, epoch=2)), Upsert)


def test_a_hidden_model_that_is_offered_again_is_told_at_once() -> None:
    hidden = registrations.upserted(held(), replace(record(), capacity=HIDDEN_CAPACITY), facts(streams=1))
    made = decided(hidden, OFFER, facts(streams=1, now=NOW + GAP_S))
    assert isinstance(made, Upsert)
    assert made.record.capacity == 2


def test_streams_of_a_model_that_an_earlier_orchd_told_keep_its_price() -> None:
    earlier = Registration(replace(record(), capacity=0, asked=None), sure=False)
    made = decided(earlier, None, facts(streams=1))
    assert isinstance(made, Upsert)
    assert (made.record.capacity, made.record.price) == (HIDDEN_CAPACITY, record().price)


def test_hiding_that_was_not_answered_is_done_again() -> None:
    unsure = replace(held(), sure=False)
    assert isinstance(decided(unsure, None, facts(streams=1)), Upsert)


def test_a_node_that_will_not_hide_it_is_told_to_drop_it() -> None:
    open_ = facts(streams=1)
    hide = decided(held(), None, open_)
    assert isinstance(hide, Upsert)
    registration = failed(held(), hide, open_, Code.NODE_REFUSED, final=True, answered=True)
    assert isinstance(decided(registration, None, open_), Unregister)


# Tokens for the node.


def test_a_new_token_is_told() -> None:
    made = decided(held(), given=facts(period=8, now=NOW + GAP_S))
    assert isinstance(made, Upsert)
    assert made.record.period == 8


# Prices that follow the rate.

USD = offer("a", 2, Price(Fraction(12), 36000, Currency.USD))


@pytest.mark.parametrize("on_chain", [True, False])
@pytest.mark.parametrize(("rate", "again"), [(3149, False), (3151, True), (2851, False), (2849, True)])
def test_a_usd_price_is_told_again_when_the_rate_has_moved(on_chain: bool, rate: int, again: bool) -> None:
    """On chain the text is the same, and the node converts it when it is told; off-chain we convert."""
    start = facts(on_chain=on_chain)
    later = facts(on_chain=on_chain, eth_usd=Fraction(rate), now=NOW + GAP_S)
    registration = held(USD, start)
    made = decided(registration, USD, later)
    if again:
        assert why(made) == "its price has changed"
    else:
        assert made == WaitUntil(inf)


def test_other_prices_do_not_follow_the_rate() -> None:
    for found in (OFFER, offer("a", 2, Price(Fraction(1, 10**6), 1, Currency.ETH))):
        assert decided(held(found), found, facts(eth_usd=Fraction(1))) == WaitUntil(inf)


def test_a_usd_price_is_told_otherwise_when_the_node_turns_out_to_be_off_chain() -> None:
    registration = held(USD, facts(on_chain=None))
    assert registration.record is not None
    assert registration.record.price.currency is Currency.USD
    made = decided(registration, USD, facts(on_chain=False, now=NOW + GAP_S))
    assert isinstance(made, Upsert)
    assert made.record.price.currency is Currency.WEI


def test_a_rate_that_becomes_known_or_is_lost_changes_nothing_on_chain() -> None:
    known, unknown = facts(on_chain=True), facts(on_chain=True, eth_usd=None)
    assert decided(held(USD, unknown), USD, known) == WaitUntil(inf)
    assert decided(held(USD, known), USD, unknown) == WaitUntil(NOW + 600)


def test_a_usd_price_whose_rate_only_the_node_knows_is_told_again_at_times() -> None:
    """The node converts it when it is told, and never again."""
    unknown = facts(on_chain=True, eth_usd=None)
    registration = held(USD, unknown)
    assert decided(registration, USD, unknown) == WaitUntil(NOW + 600)
    assert why(decided(registration, USD, replace(unknown, now=NOW + 600))) == "the node's rate may have moved"


def test_a_price_that_can_not_be_published_is_no_offer() -> None:
    """Off-chain a price in USD needs a rate."""
    unknown = facts(eth_usd=None)
    assert decided(Registration(), USD, unknown) == WaitUntil(inf)
    assert isinstance(decided(held(USD), USD, unknown), Unregister)


# Looks at tokens.


def test_it_is_looked_at_right_after_it_was_told_and_again_in_time() -> None:
    registration = held(seen=None)
    assert decided(registration) == AskToken()
    looked = registrations.checked(registration, FREE, NO_LOAD, NO_LOAD, NOW, check_s=60.0)
    assert decided(looked) == WaitUntil(NOW + 60)
    assert decided(looked, given=facts(now=NOW + 60)) == AskToken()


def test_what_is_hidden_or_not_sure_is_not_looked_at() -> None:
    hidden = registrations.upserted(held(), replace(record(), capacity=HIDDEN_CAPACITY), IDLE)
    assert decided(hidden, None, facts(streams=1)) == WaitUntil(NOW + POLL_S)
    assert decided(replace(held(seen=None), sure=False)) == WaitUntil(NOW + GAP_S)


@pytest.mark.parametrize("free", [0, 1, 3])
def test_other_free_slots_than_ours_are_told_again_a_minute_after(free: int) -> None:
    """The node leaks slots, and counts below zero after an upsert. One look may have come too early."""
    seen = TokenSighting(free > 0 or None, free)
    registration = registrations.checked(held(), seen, NO_LOAD, NO_LOAD, NOW, check_s=60.0)
    assert decided(registration) == WaitUntil(NOW + RECHECK_S)
    assert decided(registration, given=facts(now=NOW + RECHECK_S)) == AskToken()
    again = facts(now=NOW + RECHECK_S)
    registration = registrations.checked(registration, seen, NO_LOAD, NO_LOAD, again.now, check_s=60.0)
    assert decided(registration, given=again) == WaitUntil(NOW + HEAL_S)
    assert isinstance(decided(registration, given=facts(now=NOW + HEAL_S)), Upsert)


def test_one_odd_look_is_forgotten_after_a_good_one() -> None:
    registration = registrations.checked(held(), TokenSighting(True, 1), NO_LOAD, NO_LOAD, NOW, check_s=60.0)
    registration = registrations.checked(registration, FREE, NO_LOAD, NO_LOAD, NOW, check_s=inf)
    assert decided(registration, given=facts(now=NOW + HEAL_S)) == WaitUntil(inf)


def odd(seen: TokenSighting, taken: int = 0) -> Registration:
    registration, load = held(seen=None), Load(taken, taken)
    for _ in range(2):
        registration = registrations.checked(registration, seen, load, load, NOW, check_s=inf)
    return registration


@pytest.mark.parametrize(("taken", "free", "right"), [(1, 1, True), (1, 0, False), (1, 2, False), (2, 0, True)])
def test_free_slots_are_compared_with_those_that_jobs_leave(taken: int, free: int, right: bool) -> None:
    registration = odd(TokenSighting(True if free else None, free), taken)
    assert registration.odd == (0 if right else 2)


def test_a_model_whose_jobs_came_or_went_meanwhile_is_not_compared() -> None:
    registration = held(seen=None)
    for _ in range(3):
        registration = registrations.checked(
            registration, TokenSighting(True, 1), Load(0, 0), Load(0, 1), NOW, check_s=inf
        )
    assert decided(registration, given=facts(now=NOW + HEAL_S)) == WaitUntil(inf)


@pytest.mark.parametrize("taken", [0, 2])
def test_wrong_slots_are_mended_whether_jobs_run_or_not(taken: int) -> None:
    registration = odd(TokenSighting(True, 1), taken)
    assert decided(registration) == WaitUntil(NOW + HEAL_S)
    assert why(decided(registration, given=facts(now=NOW + HEAL_S))) == "the node counts its slots otherwise"


def test_a_model_that_the_node_offers_no_slot_of_is_told_again() -> None:
    """It is gone or has leaked all."""
    registration = odd(TokenSighting(None, 0), taken=1)
    assert why(decided(registration, given=facts(now=NOW + HEAL_S))) == "the node gives out none of its free slots"


def test_a_loss_that_the_token_proves_is_healed() -> None:
    registration = held(seen=TokenSighting(False, None))
    assert decided(registration) == WaitUntil(NOW + HEAL_S)
    assert why(decided(registration, given=facts(now=NOW + HEAL_S))) == "the node has lost it"


@pytest.mark.parametrize(
    "seen", [None, TokenSighting(None, None), TokenSighting(None, 0)], ids=["not asked", "says nothing", "full or gone"]
)
def test_what_can_not_be_seen_at_the_node_is_told_again_at_times_jobs_or_not(seen: TokenSighting | None) -> None:
    taken = Load(2, 2)  # All slots, so that a token for a full model is no sign of a leak.
    registration = held(seen=None)
    if seen is not None:
        registration = registrations.checked(registration, seen, taken, taken, NOW, check_s=inf)
    else:
        registration = replace(registration, check_at=inf)
    assert decided(registration) == WaitUntil(NOW + 600)
    made = decided(registration, given=facts(now=NOW + 600))
    assert why(made) == "it can't be seen whether the node still has it"
    assert standing(registration, registration.record, 1).confirmed is None


def test_what_is_seen_at_the_node_is_left_alone() -> None:
    assert decided(held(), given=facts(now=NOW + 10_000)) == WaitUntil(inf)


# Another program that registers the same name.


def overtaken(times: int, apart_s: float) -> tuple[Registration, float]:
    """Return what is known, and when, after the node has offered more than all our slots so often."""
    registration, now = held(seen=None), NOW
    for _ in range(times):
        now += apart_s
        registration = registrations.upserted(registration, record(), facts(now=now))
        for seen in (FREE, TokenSighting(True, 5), TokenSighting(True, 5)):
            registration = registrations.checked(registration, seen, NO_LOAD, NO_LOAD, now, check_s=inf)
    return registration, now


def test_a_second_program_of_the_same_name_is_named_and_not_fought() -> None:
    once, now = overtaken(1, 60.0)
    assert not standing(once, record(), 1).error, "a job that the node gave up late looks like this"
    assert decided(once, given=facts(now=now)) == WaitUntil(now + HEAL_S)
    again, now = overtaken(2, 60.0)
    assert "a second orchd, registers the same name" in standing(again, record(), 1).error
    assert decided(again, given=facts(now=now)) == WaitUntil(now + 2 * HEAL_S)
    often, now = overtaken(20, 60.0)
    assert decided(often, given=facts(now=now)) == WaitUntil(now + 64 * HEAL_S)


def test_a_second_program_is_forgotten_with_the_node_and_after_an_hour() -> None:
    contested, now = overtaken(2, 60.0)
    assert not registrations.upserted(contested, record(), facts(now=now, epoch=2)).contested
    assert not overtaken(5, 3601.0)[0].contested


# Slots that the node keeps although their jobs are over.


def test_a_leak_that_orchd_knows_of_is_mended_at_once_but_once_a_second() -> None:
    registration = held()
    assert decided(registration, given=facts(leaks=1)) == WaitUntil(NOW + GAP_S)
    later = facts(leaks=1, now=NOW + GAP_S)
    made = decided(registration, given=later)
    assert why(made) == "the node keeps the slot of a job or stream that is over"
    assert isinstance(made, Upsert)
    registration = registrations.checked(
        registrations.upserted(registration, made.record, later), FREE, NO_LOAD, NO_LOAD, later.now, check_s=inf
    )
    assert decided(registration, given=later) == WaitUntil(inf)
    assert decided(registration, given=replace(later, leaks=5)) == WaitUntil(later.now + GAP_S)


# Failures.


def failed(
    registration: Registration,
    call: ByocCall,
    given: Facts = IDLE,
    code: Code = Code.NODE_UNREACHABLE,
    *,
    final: bool = False,
    answered: bool = False,
) -> Registration:
    before = registration if answered else registrations.calling(registration, call)
    return registrations.failed(before, call, given, RULES, "cannot", code, final=final)


def test_a_call_that_fails_is_repeated_after_a_second_and_then_ever_later() -> None:
    registration, now, waits = Registration(), NOW, []
    for _ in range(8):
        call = decided(registration, given=facts(now=now))
        assert isinstance(call, Upsert)
        registration = failed(registration, call, facts(now=now))
        waited = decided(registration, given=facts(now=now))
        assert isinstance(waited, WaitUntil)
        waits.append(waited.until - now)
        now = waited.until
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_call_that_failed_does_not_hold_up_another() -> None:
    call = decided(Registration())
    assert isinstance(call, Upsert)
    registration = failed(Registration(), call)
    assert isinstance(decided(registration, None), Unregister), "it may have been taken"
    assert isinstance(decided(registration, offer("a", 3, 5)), Upsert)
    assert isinstance(decided(registration, given=facts(epoch=2)), Upsert)


def test_what_the_node_answered_was_not_taken() -> None:
    call = decided(Registration())
    assert isinstance(call, Upsert)
    assert decided(failed(Registration(), call, answered=True), None) == WaitUntil(inf)


def test_an_unregister_that_fails_is_repeated() -> None:
    registration = failed(held(), Unregister(""))
    assert decided(registration, None) == WaitUntil(NOW + 1)
    assert isinstance(decided(registration, None, facts(now=NOW + 1)), Unregister)
    assert isinstance(decided(registration, OFFER, facts(now=NOW + 1)), Upsert)


def test_what_the_node_refuses_for_good_takes_the_old_terms_back() -> None:
    dearer = offer("a", 2, 6)
    later = facts(now=NOW + GAP_S)
    call = decided(held(), dearer, later)
    assert isinstance(call, Upsert)
    registration = failed(held(), call, later, Code.NODE_REFUSED, final=True, answered=True)
    made = decided(registration, dearer, later)
    assert isinstance(made, Unregister)
    registration = registrations.unregistered(registration)
    assert decided(registration, dearer, later) == WaitUntil(later.now + 1)
    assert isinstance(decided(registration, dearer, facts(now=later.now + 1)), Upsert)
    assert isinstance(decided(registration, OFFER, later), Upsert), "the old terms were fine"


@pytest.mark.parametrize(("on_chain", "wait_s"), [(None, inf), (True, 600.0)])
def test_a_currency_problem_waits_for_a_reason(on_chain: bool | None, wait_s: float) -> None:
    """Off-chain it never works; on chain a price feed may have failed."""
    start = facts(on_chain=on_chain)
    call = decided(Registration(), USD, start)
    assert isinstance(call, Upsert)
    registration = failed(Registration(), call, start, Code.NODE_CURRENCY, final=True)
    assert isinstance(decided(registration, USD, start), Unregister), "the node was not seen to refuse it"
    registration = registrations.unregistered(registration)
    assert decided(registration, USD, start) == WaitUntil(NOW + wait_s)
    assert decided(registration, None, start) == WaitUntil(inf)
    assert decided(registration, USD, facts(on_chain=on_chain, now=NOW + 599)) == WaitUntil(NOW + wait_s)
    cheaper = offer("a", 2, Price(Fraction(11), 36000, Currency.USD))
    assert isinstance(decided(registration, cheaper, start), Upsert)
    assert isinstance(decided(registration, USD, replace(start, epoch=2)), Upsert)
    assert isinstance(decided(registration, USD, replace(start, on_chain=False)), Upsert)

"""Balances and charges, exactly."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.chain import PayerFacts, l1_block_after
from orchd.tickets.validation.credit import NS_PER_S, Balance, Meter, meter_of, minimum_units, rounded, units_of
from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.schemes import BYOC, LIVE_RUNNER, Rounding

PRICES = st.fractions(min_value=0, max_value=10**12, max_denominator=1000)
NANOSECONDS = st.integers(0, 10**13)


def test_byoc_charges_each_second_that_has_begun() -> None:
    assert [units_of(ns, BYOC.rounding) for ns in (0, 1, NS_PER_S, NS_PER_S + 1)] == [0, 1, 1, 2]
    after = meter_of(BYOC, Fraction(2_500_000)).after(12_300_000_000)
    assert after.units * after.price == 32_500_000


def test_live_runner_charges_each_second_that_is_over() -> None:
    assert [units_of(ns, LIVE_RUNNER.rounding) for ns in (0, NS_PER_S - 1, NS_PER_S, 2 * NS_PER_S)] == [0, 0, 1, 2]


def test_a_fixed_price_is_charged_once() -> None:
    meter = meter_of(LIVE_RUNNER, Fraction(9), fixed=True)
    first = meter.after(0)
    assert first.due_since(meter) == 1
    assert first.after(10**15).due_since(first) == 0


def test_five_tickets_of_the_recording_last_for_twelve_seconds() -> None:
    meter = meter_of(LIVE_RUNNER, Fraction(83_333_333_334))
    assert meter.ends_at_ns(Balance(Fraction(10**12))) == 12 * NS_PER_S


@given(PRICES, st.sampled_from(Rounding), st.lists(NANOSECONDS, max_size=8))
def test_how_often_it_is_charged_changes_nothing(price: Fraction, rounding: Rounding, times: list[int]) -> None:
    """A clock that steps back charges nothing and gives nothing back."""
    meter, balance = Meter(price, rounding), Balance()
    for elapsed in times:
        after = meter.after(elapsed)
        assert after.due_since(meter) >= 0
        balance = balance.charged(after.due_since(meter), price)
        meter = after
    assert balance.wei == -price * units_of(max(times, default=0), rounding)


@given(PRICES, st.sampled_from(Rounding), PRICES)
def test_a_session_ends_before_the_first_unit_that_is_not_covered(
    price: Fraction, rounding: Rounding, wei: Fraction
) -> None:
    meter, balance = Meter(price, rounding), Balance(wei)
    ends = meter.ends_at_ns(balance)
    if not price:
        assert ends is None
        return
    assert ends is not None
    before = ends if rounding is Rounding.STARTED else ends - 1
    assert balance.charged(units_of(before, rounding), price).wei >= 0
    assert balance.charged(units_of(before + 1, rounding), price).wei < 0


def test_the_minimum_is_a_minute_in_byoc_and_one_unit_of_a_fixed_price() -> None:
    price = Fraction(10**9)
    units = minimum_units(BYOC)
    Balance(price * 60).require(units, price)
    with pytest.raises(PaymentRefused, match="the balance is 16000000000 wei and must be 60000000000") as refused:
        Balance(Fraction(16 * 10**9)).require(units, price)
    assert refused.value.fault is Fault.CREDIT_SHORT
    assert BYOC.status(refused.value.fault.blame) == LIVE_RUNNER.status(refused.value.fault.blame) == 402
    assert (minimum_units(LIVE_RUNNER), minimum_units(LIVE_RUNNER, fixed=True)) == (0, 1)


def test_a_balance_is_shown_rounded_to_the_nearest_wei() -> None:
    shown = [rounded(Fraction(wei)) for wei in ("5/2", "-5/2", "7/3", "-7/3", "0", "12345678901234567891/2")]
    assert shown == [3, -3, 2, -2, 0, 6172839450617283946]


def test_debt_covers_nothing() -> None:
    assert Balance(Fraction(-5)).units_covered(Fraction(1)) == 0


def test_the_l1_block_is_guessed_rather_too_high_than_low() -> None:
    assert [l1_block_after(100, Fraction(s)) for s in ("0", "1/10", "12", "121/10", "24")] == [100, 101, 101, 102, 102]


def test_the_float_is_a_share_of_the_reserve_less_what_is_pending() -> None:
    def facts(deposit: int = 0, pending: int = 0, pool_size: int = 100) -> PayerFacts:
        return PayerFacts(deposit, 900, 100, 2, pool_size, 0, pending)

    assert facts().max_float == 8
    assert facts(pending=3).max_float == 5
    assert facts(deposit=9, pending=3).max_float == 8, "the deposit covers three times what is pending"
    assert facts(deposit=8, pending=3).max_float == 5
    assert facts(deposit=8, pending=3).available == 13
    assert facts(pool_size=0).max_float == 0


def test_a_sender_unlocks_soon_from_the_round_before_on() -> None:
    facts = PayerFacts(1, 1, 0, 0, 100, withdraw_round=10)
    assert [facts.unlocks_soon(round_) for round_ in (8, 9, 10)] == [False, True, True]
    assert not PayerFacts(1, 1, 0, 0, 100, withdraw_round=0).unlocks_soon(10)

"""Terms that senders sign and that are worth redeeming."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.chain import TermsOf
from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.keys import Basis
from orchd.tickets.validation.messages import OrchestratorInfo, QuotedPrice
from orchd.tickets.validation.payment import read_terms
from orchd.tickets.validation.schemes import MAX_BATCH_VALUE, MAX_TICKET_VALUE
from orchd.tickets.validation.signatures import MAX_U256
from orchd.tickets.validation.wire import decode, encode
from orchd.tickets.validation.worth import (
    Economics,
    face_value,
    make_terms,
    ticket_value_for,
    win_probability,
)
from tests.tickets.validation.made import ECONOMICS, PAYER, PRICE, RECIPIENT, terms
from tests.tickets.validation.receiver import FUNDED, KEY

GAS = Economics(ticket_value=8 * 10**9, gas_price=10**9)
COST = 1_200_000 * 10**9


@pytest.mark.parametrize(
    ("economics", "max_float", "value"),
    [
        (GAS, 10**20, COST * 100),
        (replace(GAS, ticket_value=COST * 200), 10**25, COST * 200 * 100),
        (GAS, COST * 50, COST * 50),
        (replace(GAS, max_face_value=COST * 2), 10**20, COST * 2),
        (replace(GAS, gas_price=10**10), 1_200_000 * 3 * 10**9, 1_200_000 * 3 * 10**9),
    ],
    ids=["by the cost", "cheap gas", "by the float", "by the operator", "gas above the usual"],
)
def test_the_face_value_follows_the_steps(economics: Economics, max_float: int, value: int) -> None:
    assert face_value(economics, max_float) == value


@pytest.mark.parametrize("max_float", [0, -1, 8 * 10**9 - 1, COST - 1])
def test_a_float_that_carries_no_ticket_gets_no_terms(max_float: int) -> None:
    with pytest.raises(PaymentRefused, match="insufficient sender reserve") as refused:
        face_value(GAS, max_float)
    assert refused.value.fault is Fault.SENDER_FUNDS


def test_a_ticket_that_always_wins_is_not_offered_since_no_sender_signs_it() -> None:
    dear = replace(GAS, ticket_value=COST)
    assert face_value(dear, COST + 1) == COST + 1
    with pytest.raises(PaymentRefused, match="insufficient sender reserve"):
        face_value(dear, COST)


def test_a_ticket_never_wins_more_than_its_payer_has_deposited() -> None:
    basis = Basis("live-runner", PAYER.address, PRICE)
    poor = replace(FUNDED, deposit=10**14)
    made = make_terms(KEY, bytes(28), basis, RECIPIENT, ECONOMICS, poor, TermsOf(100, 5, b"\1" * 32))
    assert made.face_value == 10**14


@given(st.integers(1, MAX_TICKET_VALUE), st.integers(2, 10**6), st.integers(1, 100))
def test_senders_sign_tickets_up_to_their_limits(value: int, times: int, count: int) -> None:
    """A hair above them, by rounding up, would be refused."""
    made = replace(terms(), face_value=value * times, win_prob=win_probability(value * times, value))
    worth = made.expected_value
    assert abs(worth - value) < 1
    assert made.win_prob < MAX_U256
    if value * count <= MAX_BATCH_VALUE:
        assert worth <= MAX_TICKET_VALUE
        assert worth * count <= MAX_BATCH_VALUE


@pytest.mark.parametrize("value", [MAX_TICKET_VALUE, 2 * 10**12, 2 * 10**11])
def test_the_win_probability_is_rounded_down_at_the_limits(value: int) -> None:
    face = 24 * 10**14 + 7
    worth = replace(terms(), face_value=face, win_prob=win_probability(face, value)).expected_value
    assert value - 1 < worth <= value


def test_without_a_price_terms_are_worth_nothing_and_ask_for_no_reserve() -> None:
    basis = Basis("byoc", PAYER.address, Fraction(0), "paint")
    poor = replace(FUNDED, reserve=0)
    when = TermsOf(100, 5, b"\1" * 32)
    made = make_terms(KEY, bytes(28), basis, RECIPIENT, ECONOMICS, poor, when)
    assert (made.face_value, made.win_prob) == (0, 0)
    assert made.expected_value == 0
    with pytest.raises(PaymentRefused):
        make_terms(KEY, bytes(28), replace(basis, price=PRICE), RECIPIENT, ECONOMICS, poor, when)


def test_terms_with_a_zero_round_hash_are_not_made() -> None:
    basis = Basis("byoc", PAYER.address, PRICE)
    with pytest.raises(ValueError, match="zero round hash"):
        make_terms(KEY, bytes(28), basis, RECIPIENT, ECONOMICS, FUNDED, TermsOf(100, 5, bytes(32)))


def test_terms_come_back_from_the_wire_as_they_were_made() -> None:
    info = OrchestratorInfo("https://o.example:8443", terms().on_wire(), QuotedPrice(5, 1), RECIPIENT)
    sent = decode(OrchestratorInfo, encode(info))
    assert sent == info
    assert sent.ticket_params is not None
    assert read_terms(sent.ticket_params, None) == terms()


@given(st.fractions(min_value=Fraction(1, 1000), max_value=2 * 10**12))
def test_a_ticket_is_worth_two_to_five_seconds_if_senders_let_it(price: Fraction) -> None:
    value = ticket_value_for(price)
    assert 1 <= value <= MAX_TICKET_VALUE
    if 10 <= price <= MAX_TICKET_VALUE * 2 // 5:
        assert 2 * price <= value <= 5 * price
        assert value >= 10 * price / 99, "a start of ten seconds takes fewer than a hundred tickets"

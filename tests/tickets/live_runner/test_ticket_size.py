"""Terms that signers with default limits can pay, at any price that any terms could be paid at."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchd.tickets.live_runner.ticket_size import Bound, payability, ticket_value
from orchd.tickets.payments import TicketRules
from orchd.tickets.prices import WorkPrice
from orchd.tickets.validation.schemes import MAX_BATCH_VALUE, MAX_TICKET_VALUE
from tests.doubles.signer.asked import Refused
from tests.doubles.signer.rules import GO_LIVEPEER, LIVEPEER_NODE, Rules
from tests.soak import examples
from tests.tickets.live_runner.paying_client import PayingClient, terms_at

SIGNERS = st.sampled_from([GO_LIVEPEER, LIVEPEER_NODE])
TOP = MAX_BATCH_VALUE // 10 - 1
"""The highest price in wei per second at which ten seconds can be paid for at once."""
DOLLARS = 83_333_333_334
"""0.90 USD an hour at 3,000 USD per ETH, rounded up."""
WEI = st.one_of(st.integers(1, 10**6), st.integers(10**9, TOP), st.integers(TOP - 10**9, TOP))
GAPS = st.integers(1, 480)


def client_of(signer: Rules, price: WorkPrice, rules: TicketRules) -> PayingClient:
    return PayingClient(signer, price, terms_at(price, rules))


@pytest.mark.soak
@settings(max_examples=examples(200), deadline=None)
@given(SIGNERS, WEI, GAPS, st.integers(1, 45))
def test_a_session_is_paid_for_45_rounds_and_after_the_longest_gap_that_was_promised(
    signer: Rules, wei: int, gap_s: int, rounds: int
) -> None:
    rules, price = TicketRules(longest_gap_s=gap_s), WorkPrice(wei)
    promised = payability(price, ticket_value(price, gap_s))
    assert promised.bound is None
    assert promised.longest_gap_s is not None
    client = client_of(signer, price, rules)
    assert client.pay() == promised.at_start
    assert client.seconds_paid >= 10
    for _ in range(rounds):
        client.cycle()
    client.pay(promised.longest_gap_s)
    for _ in range(45 - rounds):
        client.cycle()


@given(WEI, GAPS)
@example(5 * 10**9, 60)  # Rounded up, a hundred tickets would be worth 240 seconds.
def test_the_gap_asked_for_is_promised_as_far_as_signers_may_pay_for_it(wei: int, gap_s: int) -> None:
    price = WorkPrice(wei)
    longest = payability(price, ticket_value(price, gap_s)).longest_gap_s
    assert longest is not None
    assert longest >= min(gap_s, (MAX_BATCH_VALUE - 101) // wei)
    worth = terms_at(price, TicketRules(longest_gap_s=gap_s)).expected_value
    assert longest == min(100, MAX_BATCH_VALUE // worth) * worth // wei, "exactly what they sign at once"


@pytest.mark.parametrize("signer", [GO_LIVEPEER, LIVEPEER_NODE], ids=["go-livepeer", "node"])
@pytest.mark.parametrize("wei", [1, 1_000, DOLLARS, 333_333_333_334, TOP])
def test_a_second_more_than_was_promised_is_not_paid_by_who_has_paid_just_enough(signer: Rules, wei: int) -> None:
    price, rules = WorkPrice(wei), TicketRules()
    client = client_of(signer, price, rules)
    client.pay()
    left = client.seconds_paid - 10
    longest = payability(price, ticket_value(price, 60)).longest_gap_s
    assert longest is not None
    with pytest.raises(Refused) as refused:
        client.pay(longest + left // 1 + 2)
    assert refused.value.status in (400, 500)


@pytest.mark.soak
@settings(max_examples=examples(200), deadline=None)
@given(SIGNERS, st.integers(1, 10**11), st.integers(1, 3000))
def test_a_refresh_after_a_gap_brings_terms_on_which_all_of_it_can_be_paid(signer: Rules, wei: int, gap_s: int) -> None:
    price, rules = WorkPrice(wei), TicketRules()
    client = client_of(signer, price, rules)
    client.pay()
    client.terms = terms_at(price, rules, unpaid_s=gap_s)
    if (gap_s + 5) * wei < MAX_BATCH_VALUE - 101:
        client.pay(gap_s + 5)
    else:
        assert client.terms.expected_value * 100 > MAX_BATCH_VALUE - 101, "no terms would do"


@pytest.mark.soak
@settings(max_examples=examples(80), deadline=None)
@given(SIGNERS, WEI, GAPS, st.integers(1, 45))
def test_no_two_lost_rounds_end_a_session(signer: Rules, wei: int, gap_s: int, lost: int) -> None:
    """Tickets of a round that is refused or not answered are never sent again, and each second is charged."""
    client = client_of(signer, WorkPrice(wei), TicketRules(longest_gap_s=gap_s))
    client.pay()
    credit, now = client.seconds_paid, Fraction(0)
    for round_ in range(1, 46):
        now += Fraction(301, 100)
        assert credit >= now // 1, "it has ended before this payment"
        if client.cycle() and round_ not in (lost, lost + 1):
            credit += client.seconds_paid


@given(WEI, GAPS)
def test_a_ticket_is_worth_two_to_five_seconds_and_touches_no_bound(wei: int, gap_s: int) -> None:
    worth = terms_at(WorkPrice(wei), TicketRules(longest_gap_s=gap_s)).expected_value
    assert 0 < worth < MAX_TICKET_VALUE
    for count in range(1, 101):
        assert count * worth != MAX_BATCH_VALUE
    seconds = worth / wei
    assert seconds > Fraction(650, 599), "six hundred tickets outlast eight minutes"
    if 10 <= wei <= MAX_TICKET_VALUE * 10 // 24:
        assert 2 <= seconds <= 5


@pytest.mark.parametrize("signer", [GO_LIVEPEER, LIVEPEER_NODE], ids=["go-livepeer", "node"])
@pytest.mark.parametrize("wei", [1, 10**6, 2 * 10**12, 3 * 10**12 - 1, 3 * 10**12, 10**13, MAX_BATCH_VALUE - 1])
def test_a_session_that_costs_once_is_paid_with_one_payment_and_no_more_than_it_costs(signer: Rules, wei: int) -> None:
    price = WorkPrice(wei, fixed=True)
    promised = payability(price, ticket_value(price, 60))
    assert (promised.bound, promised.longest_gap_s) == (None, None)
    client = client_of(signer, price, TicketRules())
    assert client.pay() == promised.at_start
    assert 1 <= client.seconds_paid <= 1 + Fraction(10, wei)


@pytest.mark.parametrize("signer", [GO_LIVEPEER, LIVEPEER_NODE], ids=["go-livepeer", "node"])
@pytest.mark.parametrize(
    ("price", "value", "bound"),
    [
        (WorkPrice(TOP + 1), 0, Bound.BATCH),
        (WorkPrice(MAX_BATCH_VALUE, fixed=True), 0, Bound.BATCH),
        (WorkPrice(DOLLARS), MAX_TICKET_VALUE + 1, Bound.TICKET),
        (WorkPrice(DOLLARS), 8 * 10**9, Bound.COUNT),
        (WorkPrice(DOLLARS), 8_333_333_333, Bound.COUNT),
    ],
    ids=["a start too dear", "a session too dear", "a ticket too dear", "tickets too small", "by one ticket"],
)
def test_what_no_signer_pays_is_known_with_the_bound_that_it_breaks(
    signer: Rules, price: WorkPrice, value: int, bound: Bound
) -> None:
    assert payability(price, value or ticket_value(price, 60)).bound is bound
    with pytest.raises(Refused) as refused:
        client_of(signer, price, TicketRules(value=value)).pay()
    assert refused.value.status in (400, 500)


def test_tickets_so_small_that_their_nonces_run_out_are_known() -> None:
    price, rules = WorkPrice(DOLLARS), TicketRules(value=DOLLARS)
    assert payability(price, rules.value).bound is Bound.NONCES
    client, signed = client_of(GO_LIVEPEER, price, rules), 0
    signed += client.pay()
    for _ in range(round(480 / 3.01)):
        signed += client.cycle()
    assert signed > 599

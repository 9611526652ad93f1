"""What a better receiver does otherwise than the real ones, and what may change between two looks."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.keys import Basis, TermsKey, TermsKeys
from orchd.tickets.validation.messages import ExpirationParams, PaymentMessage, TicketSenderParams
from orchd.tickets.validation.payment import Payment, read_payment
from orchd.tickets.validation.schemes import BYOC, LIVE_RUNNER, MAX_NONCES, Scheme
from orchd.tickets.validation.signatures import MAX_U256
from orchd.tickets.validation.tickets import TicketTerms, commitment_to
from orchd.tickets.validation.validate import Expected, check_again, validate
from orchd.tickets.validation.wire import encode
from tests.tickets.validation.made import BLOCK, OTHER, PAYER, PRICE, RECIPIENT, ROUND, expected, terms
from tests.tickets.validation.receiver import FUNDED, KEY, Receiver
from tests.tickets.validation.sender import header
from tests.tickets.validation.vectors import TICKETS, message_of, raw, terms_of


def receiver() -> Receiver:
    return Receiver(l1_block=BLOCK, round=ROUND)


def paid(on: TicketTerms, nonces: Sequence[int], price: Fraction = PRICE) -> Payment:
    return read_payment(header(PAYER.payment(on, nonces, price)))


def fault_of(to: Receiver, payment: Payment, job: Expected | None = None) -> Fault:
    """Return why it is refused; nothing has changed then."""
    before = to.books()
    with pytest.raises(PaymentRefused) as refused:
        to.pay(payment, job or expected())
    assert to.books() == before
    return refused.value.fault


@given(
    st.lists(st.tuples(st.integers(1, 12), st.sampled_from(["good", "stranger", "v", "cut"])), min_size=1, max_size=6),
    st.sets(st.integers(1, 12), max_size=4),
)
@settings(max_examples=80, deadline=None)
def test_a_payment_is_taken_whole_or_not_at_all(tickets: list[tuple[int, str]], seen: set[int]) -> None:
    """Against a model that knows one rule: each ticket is good, and no nonce stands there twice."""
    on, to = terms(), receiver()
    to.nonces[on.commitment] = set(seen)
    before = to.books()
    made = []
    for nonce, kind in tickets:
        ticket = (OTHER if kind == "stranger" else PAYER).ticket(on, nonce, PAYER.address)
        sig = {"v": ticket.sig[:64] + b"\0", "cut": ticket.sig[:-1]}.get(kind, ticket.sig)
        made.append(TicketSenderParams(nonce, sig))
    payment = read_payment(header(replace(PAYER.payment(on, [], PRICE), ticket_sender_params=tuple(made))))
    nonces = [nonce for nonce, _ in tickets]
    good = all(kind == "good" for _, kind in tickets) and len(set(nonces)) == len(nonces) and not seen & set(nonces)
    if good:
        assert to.pay(payment, expected()).credit == on.expected_value * len(nonces)
        assert to.nonces[on.commitment] == seen | set(nonces)
        assert to.credit_of(PAYER.address, "paint") == on.expected_value * len(nonces)
    else:
        fault_of(to, payment)
        assert to.books() == before


def test_winners_are_those_of_the_tickets_that_were_taken() -> None:
    """A refused payment's winner is not kept: go-livepeer redeems what it has not credited."""
    on = replace(terms(), win_prob=MAX_U256 // 2)
    basis = Basis(BYOC.name, PAYER.address, PRICE, "paint")
    on = replace(on, commitment=commitment_to(KEY.rand(on, basis)))
    to = receiver()
    taken = to.pay(paid(on, range(1, 41)), expected())
    assert 5 < len(taken.winners) < 35
    assert all(winner.rand == KEY.rand(on, basis) for winner in taken.winners)
    assert "rand" not in repr(taken.winners)
    spoilt = replace(PAYER.payment(on, range(41, 81), PRICE))
    last = replace(spoilt.ticket_sender_params[-1], sig=b"\0" * 65)
    fault_of(to, read_payment(header(replace(spoilt, ticket_sender_params=(*spoilt.ticket_sender_params[:-1], last)))))
    assert to.winners == list(taken.winners)


def test_a_commitment_takes_six_hundred_tickets_over_any_number_of_payments() -> None:
    to, on = receiver(), terms()
    to.nonces[on.commitment] = set(range(1000, 1000 + MAX_NONCES - 3))
    to.pay(paid(on, [7, 0]), expected())
    assert fault_of(to, paid(on, [1, 2])) is Fault.NONCES_USED_UP
    to.pay(paid(on, [(1 << 32) - 1]), expected())
    assert fault_of(to, paid(on, [3])) is Fault.NONCES_USED_UP
    assert len(to.nonces[on.commitment]) == MAX_NONCES


def test_the_round_is_taken_from_either_place_and_must_be_the_same_in_both() -> None:
    sent = PAYER.payment(terms(), [1], PRICE)
    assert sent.ticket_params is not None
    only_terms = replace(sent, expiration_params=None)
    only_payment = replace(sent, ticket_params=replace(sent.ticket_params, expiration_params=None))
    for each in (sent, only_terms, only_payment):
        assert len(receiver().pay(read_payment(header(each)), expected()).nonces) == 1
    both = replace(sent, expiration_params=ExpirationParams(ROUND, b"\x6e" * 32))
    with pytest.raises(PaymentRefused) as refused:
        read_payment(header(both))
    assert refused.value.fault is Fault.EXPIRATION_DIFFERS


def test_terms_of_one_capability_are_worth_nothing_for_another() -> None:
    """Go-livepeer takes them (payments.md, quirk 22)."""
    assert fault_of(receiver(), paid(terms(work="cheap"), [1])) is Fault.COMMITMENT_DIFFERS


def test_terms_of_one_scheme_are_worth_nothing_in_the_other() -> None:
    assert fault_of(receiver(), paid(terms(BYOC), [1]), expected(LIVE_RUNNER)) is Fault.COMMITMENT_DIFFERS
    assert fault_of(receiver(), paid(terms(LIVE_RUNNER), [1]), expected(BYOC)) is Fault.COMMITMENT_DIFFERS


def test_a_live_runner_session_is_paid_on_the_terms_of_any_of_the_payers_challenges() -> None:
    """Terms are the payer's, so nonces count by commitment; the credit goes to the segment's manifest."""
    to = receiver()
    for number, work in ((1, "session_a"), (2, "session_a"), (2, "session_b")):
        on = terms(LIVE_RUNNER, number)
        nonce = 1 if work == "session_a" else 2
        to.pay(paid(on, [nonce]), expected(LIVE_RUNNER), work)
    assert to.credit_of(PAYER.address, "session_a") == 2 * terms(LIVE_RUNNER).expected_value
    assert to.credit_of(PAYER.address, "session_b") == terms(LIVE_RUNNER).expected_value


def test_the_quoted_price_is_honoured_in_byoc_and_pinned_in_live_runner() -> None:
    """The price has risen since: BYOC's payer still pays what its terms say; a session's own price stands."""
    assert receiver().pay(paid(terms(), [1]), expected()).price == PRICE
    risen = replace(expected(LIVE_RUNNER), price=PRICE + 1)
    assert fault_of(receiver(), paid(terms(LIVE_RUNNER), [1]), risen) is Fault.PRICE_DIFFERS


def test_a_price_that_was_not_quoted_is_refused_even_if_it_is_higher() -> None:
    for price in (PRICE - 1, PRICE + 1, PRICE / 3):
        assert fault_of(receiver(), paid(terms(), [1], price)) is Fault.COMMITMENT_DIFFERS
    assert len(receiver().pay(paid(terms(), [1], PRICE), expected()).nonces) == 1


@pytest.mark.parametrize("scheme", [BYOC, LIVE_RUNNER], ids=lambda scheme: scheme.name)
def test_a_payment_without_terms_pins_no_price_and_opens_no_session(scheme: Scheme) -> None:
    """In Live Runner it kept a session for ever; in BYOC it is worth nothing, and the balance decides."""
    payment = read_payment(header(PaymentMessage(sender=PAYER.address)))
    if scheme is LIVE_RUNNER:
        assert fault_of(receiver(), payment, expected(scheme)) is Fault.TERMS_MISSING
    else:
        taken = receiver().pay(payment, expected(scheme))
        assert taken.credit == 0
        assert (taken.price, taken.nonces) == (None, ())


def test_terms_survive_a_change_of_keys_as_long_as_the_former_key_is_kept() -> None:
    new = TermsKey(8, b"n" * 32)
    to = receiver()
    to.rands = TermsKeys({new.id: new, KEY.id: KEY})
    to.pay(paid(terms(), [1]), expected())
    to.rands = TermsKeys({new.id: new})
    assert fault_of(to, paid(terms(), [2])) is Fault.COMMITMENT_KEY, "so fresh terms help, and 503 says so"


def test_no_secret_is_shown() -> None:
    assert KEY.secret.hex() not in repr(KEY) + repr(TermsKeys({7: KEY}))
    assert "secret" not in repr(KEY) + repr(TermsKeys({7: KEY}))


def test_each_part_of_terms_and_of_what_they_hold_for_is_committed_to() -> None:
    on, basis = terms(), Basis(BYOC.name, PAYER.address, PRICE, "paint")
    others: list[tuple[TicketTerms, Basis]] = [
        *((replace(on, **{name: getattr(on, name) + 1}), basis) for name in NUMBERS),
        (replace(on, recipient=OTHER.address), basis),
        (replace(on, round_hash=b"\1" * 32), basis),
        (on, replace(basis, scheme=LIVE_RUNNER.name)),
        (on, replace(basis, payer=OTHER.address)),
        (on, replace(basis, work="draw")),
        (on, replace(basis, work="")),
        (on, replace(basis, price=PRICE * 2)),
        (on, replace(basis, price=PRICE / 3)),
    ]
    rands = [KEY.rand(*each) for each in [(on, basis), *others]]
    rands += [TermsKey(KEY.id + 1, KEY.secret).rand(on, basis), TermsKey(KEY.id, b"o" * 32).rand(on, basis)]
    assert len(set(rands)) == len(rands)


NUMBERS = ("face_value", "win_prob", "seed", "expiration_block", "creation_round")


def test_two_terms_never_share_a_message() -> None:
    """Go-livepeer's numbers have no fixed width: the vector's two terms have one random number there."""
    typical, split = (
        each
        for each in TICKETS["recipient_rand_vectors"]
        if each["name"] == "typical" or each["name"].startswith("ambiguous split")
    )
    first, second = (
        terms_of(
            each | {"recipient": TICKETS["keys"]["recipient"], "recipient_rand_hash": "0x" + "00" * 32},
            each["seed"],
            each["expiration_block"],
        )
        for each in (typical, split)
    )
    basis = Basis(BYOC.name, raw(typical["sender"]), PRICE)
    assert first != second
    assert message_of(first, basis) == message_of(second, basis)
    assert KEY.rand(first, basis) != KEY.rand(second, basis)


def test_the_second_look_finds_what_has_changed_and_looks_at_no_signature() -> None:
    to, on = receiver(), terms()
    payment = paid(on, [1, 2])
    taken = validate(payment, expected(), to.rands, to.facts(payment))
    facts = to.facts(payment)
    check_again(taken, BYOC, facts)
    changed = {
        Fault.RECIPIENT_INACTIVE: replace(facts, chain=replace(facts.chain, active=False)),
        Fault.TERMS_EXPIRED: replace(facts, chain=replace(facts.chain, l1_block=on.expiration_block)),
        Fault.ROUND_PASSED: replace(facts, chain=replace(facts.chain, round=ROUND + 2)),
        Fault.SENDER_UNKNOWN: replace(facts, payer=None),
        Fault.SENDER_FUNDS: replace(facts, payer=replace(FUNDED, unredeemed=FUNDED.available + 1)),
        Fault.SENDER_UNLOCKING: replace(facts, payer=replace(FUNDED, withdraw_round=1)),
        Fault.FACE_VALUE_ABOVE_FLOAT: replace(facts, payer=replace(FUNDED, claimed_by_us=FUNDED.reserve // 100)),
        Fault.NONCE_SEEN: replace(facts, book=replace(facts.book, seen={2})),
        Fault.NONCES_USED_UP: replace(facts, book=replace(facts.book, seen=range(100, 700))),
        Fault.COMMITMENT_PUBLISHED: replace(facts, book=replace(facts.book, published=True)),
    }
    for fault, now in changed.items():
        for look in (
            lambda now=now: check_again(taken, BYOC, now),
            lambda now=now: validate(payment, expected(), to.rands, now),
        ):
            with pytest.raises(PaymentRefused) as refused:
                look()
            assert refused.value.fault is fault


def test_terms_of_the_round_before_are_taken_until_their_block() -> None:
    to = receiver()
    to.round = ROUND + 1
    to.pay(paid(terms(), [1]), expected())
    to.l1_block = terms().expiration_block - 1
    to.pay(paid(terms(), [2]), expected())
    to.l1_block += 1
    assert fault_of(to, paid(terms(), [3])) is Fault.TERMS_EXPIRED


def test_our_address_and_the_payers_are_part_of_the_terms() -> None:
    elsewhere = replace(expected(), recipient=OTHER.address)
    assert fault_of(receiver(), paid(replace(terms(), recipient=OTHER.address), [1]), elsewhere) is (
        Fault.COMMITMENT_DIFFERS
    )
    stolen = OTHER.payment(terms(), [1], PRICE)
    assert fault_of(receiver(), read_payment(header(stolen)), expected(payer=OTHER)) is Fault.COMMITMENT_DIFFERS
    assert OTHER.address != RECIPIENT


def test_unknown_fields_are_skipped() -> None:
    data = encode(PAYER.payment(terms(), [1], PRICE))
    more = b"\xf8\x01\x05" + b"\xfa\x01\x02hi" + b"\xf9\x01" + b"8" * 8 + b"\xfd\x01" + b"4" * 4
    assert read_payment(base64.b64encode(data + more)) == read_payment(base64.b64encode(data))

"""Each thing that can be wrong with what somebody sends has its own code, a 4xx, and leaves no trace."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchd.domain.chain import PayerFacts
from orchd.tickets.validation import credentials
from orchd.tickets.validation.credentials import read_job, read_payer, read_payer_credentials
from orchd.tickets.validation.faults import Blame, Fault, PaymentRefused
from orchd.tickets.validation.grants import check_grant, read_auth_token
from orchd.tickets.validation.messages import AuthToken, ExpirationParams, PaymentMessage, QuotedPrice, TicketParams
from orchd.tickets.validation.payment import MAX_HEADER, read_payment
from orchd.tickets.validation.schemes import BYOC, LIVE_RUNNER, Occasion, Scheme
from orchd.tickets.validation.segments import check_segment, read_segment
from orchd.tickets.validation.wire import encode
from tests.tickets.validation.made import (
    AUTH_KEY,
    BLOCK,
    GRANT,
    OTHER,
    PAYER,
    ROUND,
    as_header,
    expected,
    good,
    segment,
    terms,
)
from tests.tickets.validation.receiver import FUNDED, Receiver
from tests.tickets.validation.sender import header, high_s

Change = Callable[[PaymentMessage], PaymentMessage]
TERMS = good().ticket_params
assert TERMS is not None
NOW = 1_790_000_001


def receiver(**changes: Any) -> Receiver:
    return Receiver(**{"l1_block": BLOCK, "round": ROUND} | changes)


def in_terms(**changes: Any) -> Change:
    return lambda sent: replace(sent, ticket_params=replace(sent.ticket_params or TicketParams(), **changes))


def signature(change: Callable[[bytes], bytes]) -> Change:
    def changed(sent: PaymentMessage) -> PaymentMessage:
        first, second = sent.ticket_sender_params
        return replace(sent, ticket_sender_params=(first, replace(second, sig=change(second.sig))))

    return changed


def nonces(*wanted: int) -> Change:
    return lambda sent: replace(sent, ticket_sender_params=tuple(PAYER.ticket(terms(LIVE_RUNNER), n) for n in wanted))


PAYMENTS: Mapping[Fault, tuple[Scheme, Change]] = {
    Fault.SENDER_LENGTH: (BYOC, lambda sent: replace(sent, sender=b"\0" + sent.sender)),
    Fault.SENDER_MISSING: (BYOC, lambda sent: replace(sent, sender=b"")),
    Fault.SENDER_ZERO: (BYOC, lambda sent: replace(sent, sender=bytes(20))),
    Fault.SENDER_DIFFERS: (BYOC, lambda sent: replace(sent, sender=OTHER.address)),
    Fault.RECIPIENT_LENGTH: (BYOC, in_terms(recipient=b"\1" * 21)),
    Fault.RECIPIENT_DIFFERS: (BYOC, in_terms(recipient=OTHER.address)),
    Fault.FACE_VALUE_LENGTH: (BYOC, in_terms(face_value=b"\0" * 33)),
    Fault.WIN_PROB_LENGTH: (BYOC, in_terms(win_prob=b"\1" * 33)),
    Fault.COMMITMENT_LENGTH: (BYOC, in_terms(recipient_rand_hash=b"\1" * 31)),
    Fault.COMMITMENT_DIFFERS: (BYOC, in_terms(recipient_rand_hash=b"\1" * 32)),
    Fault.COMMITMENT_KEY: (BYOC, in_terms(seed=b"\x09" * 32)),
    Fault.SEED_LENGTH: (BYOC, in_terms(seed=b"\1" * 33)),
    Fault.EXPIRATION_LENGTH: (BYOC, in_terms(expiration_block=b"\1" * 33)),
    Fault.ROUND_HASH_LENGTH: (BYOC, in_terms(expiration_params=ExpirationParams(ROUND, b"\1" * 33))),
    Fault.ROUND_NEGATIVE: (BYOC, in_terms(expiration_params=ExpirationParams(-ROUND, b"\1" * 32))),
    Fault.EXPIRATION_DIFFERS: (BYOC, in_terms(expiration_params=ExpirationParams(ROUND - 1, b"\1" * 32))),
    Fault.EXPIRATION_MISSING: (
        BYOC,
        lambda sent: replace(in_terms(expiration_params=None)(sent), expiration_params=None),
    ),
    Fault.PRICE_MISSING: (BYOC, lambda sent: replace(sent, expected_price=None)),
    Fault.PRICE_DENOMINATOR: (BYOC, lambda sent: replace(sent, expected_price=QuotedPrice(1, 0))),
    Fault.PRICE_NEGATIVE: (BYOC, lambda sent: replace(sent, expected_price=QuotedPrice(-1, 1))),
    Fault.PRICE_DIFFERS: (LIVE_RUNNER, lambda sent: replace(sent, expected_price=QuotedPrice(2_500_001, 1))),
    Fault.TERMS_MISSING: (LIVE_RUNNER, lambda sent: PaymentMessage(sender=sent.sender)),
    Fault.TICKETS_MISSING: (LIVE_RUNNER, lambda sent: replace(sent, ticket_sender_params=())),
    Fault.TICKETS_TOO_MANY: (
        LIVE_RUNNER,
        lambda sent: replace(sent, ticket_sender_params=sent.ticket_sender_params[:1] * 101),
    ),
    Fault.SIGNATURE_LENGTH: (BYOC, signature(lambda sig: sig[:64])),
    Fault.SIGNATURE_HIGH_S: (BYOC, signature(high_s)),
    Fault.SIGNATURE_V: (BYOC, signature(lambda sig: sig[:64] + bytes((sig[64] - 27,)))),
    Fault.SIGNATURE_INVALID: (BYOC, signature(lambda sig: b"\xff" * 32 + sig[32:])),
    Fault.SIGNER_DIFFERS: (BYOC, signature(lambda sig: OTHER.sign(b"\1" * 32))),
    Fault.NONCE_RANGE: (LIVE_RUNNER, nonces(1, 600)),
    Fault.NONCE_SEEN: (LIVE_RUNNER, nonces(1, 2, 1)),
}

RAW_PAYMENTS: Mapping[Fault, bytes] = {
    Fault.HEADER_LENGTH: b"A" * (MAX_HEADER + 4),
    Fault.PAYMENT_BASE64: b"!!!=",
    Fault.PAYMENT_PROTOBUF: base64.b64encode(encode(good())[:-1]),
}

NO_FUNDS: PayerFacts = replace(FUNDED, deposit=0)
AT_HAND: Mapping[Fault, Receiver] = {
    Fault.RECIPIENT_INACTIVE: receiver(active=False),
    Fault.SENDER_UNKNOWN: receiver(payer=None),
    Fault.SENDER_UNLOCKING: receiver(payer=replace(FUNDED, withdraw_round=ROUND + 1)),
    Fault.SENDER_FUNDS: receiver(payer=NO_FUNDS),
    Fault.FACE_VALUE_ABOVE_FLOAT: receiver(payer=replace(FUNDED, reserve=10**17)),
    Fault.ROUND_PASSED: receiver(round=ROUND + 2),
    Fault.TERMS_EXPIRED: receiver(l1_block=BLOCK + 40),
    Fault.COMMITMENT_PUBLISHED: receiver(published=True),
    Fault.NONCES_USED_UP: receiver(),
}
"""What is wrong is not the payment's fault, but that of the moment."""
AT_HAND[Fault.NONCES_USED_UP].nonces[terms().commitment] = set(range(10, 609))

SEGMENTS: Mapping[Fault, Callable[[], object]] = {
    Fault.SEGMENT_MISSING: lambda: read_segment(b""),
    Fault.SEGMENT_BASE64: lambda: read_segment(b"_-__"),
    Fault.SEGMENT_PROTOBUF: lambda: read_segment(base64.b64encode(encode(segment())[:-1])),
    Fault.SEGMENT_MANIFEST: lambda: read_segment(as_header(replace(segment(), manifest_id=b"\xff"))),
    Fault.SEGMENT_SEQUENCE: lambda: read_segment(as_header(replace(segment(), sequence=-1))),
    Fault.SEGMENT_HASH: lambda: read_segment(as_header(replace(segment(), hash=b"short"))),
    Fault.SEGMENT_SIGNATURE: lambda: check_segment(read_segment(as_header(segment())), OTHER.address),
    Fault.AUTH_MISSING: lambda: read_segment(as_header(replace(segment(), auth_token=None))),
    Fault.MANIFEST_DIFFERS: lambda: read_segment(as_header(replace(segment(), manifest_id=b"session_b"))),
    Fault.AUTH_TOKEN: lambda: read_auth_token(AuthToken(b"\1" * 32, "session_a", 1), {}),
    Fault.AUTH_KEY: lambda: read_auth_token(auth(), {}),
    Fault.AUTH_EXPIRED: lambda: check_grant(GRANT, auth(), runner="xl", payer=PAYER.address, now=auth().expiration),
    Fault.MANIFEST_FOREIGN: lambda: check_grant(GRANT, auth(), runner="xs", payer=PAYER.address, now=NOW),
}


def auth() -> AuthToken:
    found = segment().auth_token
    assert found is not None
    return found


JOB = {
    "id": "1",
    "request": '{"run":"echo"}',
    "parameters": "{}",
    "capability": "paint",
    "sender": "0x" + PAYER.address.hex(),
    "sig": "0x" + PAYER.sign_text('{"run":"echo"}{}').hex(),
    "timeout_seconds": 60,
}


def job(**changes: object) -> bytes:
    return base64.b64encode(json.dumps(JOB | changes).encode())


CREDENTIALS: Mapping[Fault, Callable[[], object]] = {
    Fault.PAYER_MISSING: lambda: read_payer(b""),
    Fault.PAYER_ADDRESS: lambda: read_payer(b"0x0"),
    Fault.PAYER_ZERO: lambda: read_payer(b"0x" + b"0" * 40),
    Fault.JOB_MISSING: lambda: read_job(b""),
    Fault.JOB_BASE64: lambda: read_job(b"{}"),
    Fault.JOB_JSON: lambda: read_job(base64.b64encode(b"[1")),
    Fault.JOB_MEMBER: lambda: read_job(job(capability=None)),
    Fault.JOB_TIMEOUT: lambda: read_job(job(timeout_seconds=0)),
    Fault.JOB_REQUEST: lambda: read_job(job(request="[]")),
    Fault.JOB_SENDER: lambda: read_job(job(sender="0x12")),
    Fault.JOB_SIGNATURE: lambda: credentials.check_signed(read_job(job(sig="0x" + "00" * 65)).signed),
}
ELSEWHERE = {
    Fault.CREDIT_SHORT,  # With the balances.
    *(Fault.PRICE_UNKNOWN, Fault.PRICE_UNSAYABLE),  # With the prices.
    *(Fault.CHAIN_UNKNOWN, Fault.STORE_BUSY),  # With those who ask the chain and write to the ledger.
    *(Fault.OFF_CHAIN, Fault.CREDIT_GONE),  # With the hook.
    Fault.CAPABILITY_MISSING,  # With the tokens.
    # With the sessions that are sold here.
    *(Fault.MANIFEST_USED, Fault.REFRESH_BODY, Fault.SESSION_UNKNOWN, Fault.SESSION_LIVES, Fault.SESSION_FIXED),
    *(Fault.SESSION_PENDING, Fault.ANSWER_LATE, Fault.PRICE_RAISED),
}
"""Tested where they come about."""


def refused(call: Callable[[], object]) -> Fault:
    """Return why a call refuses; its message says what can't be done."""
    with pytest.raises(PaymentRefused, match=r"^cannot ") as found:
        call()
    fault = found.value.fault
    ours = fault.blame in (Blame.STALE, Blame.OURS)
    for scheme in (BYOC, LIVE_RUNNER):
        for occasion in Occasion:
            status = scheme.status(fault.blame, occasion)
            assert 400 <= status <= 499 or (ours and status == 503)
            assert status != 401, "a node that reads it drops the model"
    return fault


@pytest.mark.parametrize("fault", PAYMENTS)
def test_a_bad_payment_has_its_code_and_leaves_no_trace(fault: Fault) -> None:
    scheme, change = PAYMENTS[fault]
    to = receiver()
    assert refused(lambda: to.pay(read_payment(header(change(good(scheme)))), expected(scheme))) is fault
    assert to.books() == receiver().books()
    assert len(to.pay(read_payment(header(good(scheme))), expected(scheme)).nonces) == 2, "the good one then passes"


@pytest.mark.parametrize("fault", AT_HAND)
def test_a_good_payment_at_a_bad_moment_has_its_code_and_leaves_no_trace(fault: Fault) -> None:
    to = AT_HAND[fault]
    before = to.books()
    assert refused(lambda: to.pay(read_payment(header(good())), expected())) is fault
    assert to.books() == before


@pytest.mark.parametrize("fault", RAW_PAYMENTS)
def test_an_unreadable_payment_has_its_code(fault: Fault) -> None:
    assert refused(lambda: read_payment(RAW_PAYMENTS[fault])) is fault


@pytest.mark.parametrize("fault", [*SEGMENTS, *CREDENTIALS])
def test_bad_credentials_have_their_code(fault: Fault) -> None:
    assert refused((SEGMENTS | CREDENTIALS)[fault]) is fault  # type: ignore[operator]


def test_each_code_is_tested() -> None:
    assert {*PAYMENTS, *AT_HAND, *RAW_PAYMENTS, *SEGMENTS, *CREDENTIALS, *ELSEWHERE} == set(Fault)


def test_good_input_passes() -> None:
    """So that the tests above refuse what they change, and not what they begin with."""
    sent = read_segment(as_header(segment()))
    check_segment(sent, PAYER.address)
    grant = read_auth_token(sent.auth, {AUTH_KEY.id: AUTH_KEY})
    assert grant == GRANT
    check_grant(grant, sent.auth, runner="xl", payer=PAYER.address, now=NOW)
    credentials.check_signed(read_job(job()).signed)
    assert read_payer(b"0X" + PAYER.address.hex().upper().encode()) == PAYER.address


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for reader in (read_payment, read_segment, read_job, read_payer_credentials, read_payer):
        for header_value in (data, base64.b64encode(data)):
            with suppress(PaymentRefused):
                reader(header_value)


@given(st.integers(min_value=0, max_value=400), st.integers(min_value=0, max_value=255))
@settings(max_examples=200, deadline=None)
def test_a_payment_with_one_byte_changed_is_refused_or_worth_the_same(at: int, value: int) -> None:
    """Whoever changes it on its way gains nothing."""
    data = bytearray(encode(good(LIVE_RUNNER)))
    data[at % len(data)] = value
    to = receiver()
    try:
        taken = to.pay(read_payment(base64.b64encode(data)), expected(LIVE_RUNNER))
    except PaymentRefused:
        assert to.books() == receiver().books()
    else:
        assert taken.credit <= receiver().pay(read_payment(header(good(LIVE_RUNNER))), expected(LIVE_RUNNER)).credit


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(JOB)), inner, max_size=7),
    max_leaves=8,
)


@given(JSON)
@settings(max_examples=150, deadline=None)
def test_any_json_is_a_job_or_refused(value: object) -> None:
    sent = JOB | value if isinstance(value, dict) else value
    with suppress(PaymentRefused):
        credentials.check_signed(read_job(base64.b64encode(json.dumps(sent).encode())).signed)

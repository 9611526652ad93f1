"""Every vector passes, except where the better outcome is named."""

from __future__ import annotations

import base64
import hmac
from fractions import Fraction
from typing import Any

import pytest

from orchd.tickets.validation.credentials import check_signed, read_job, read_payer_credentials
from orchd.tickets.validation.faults import Fault, Grade, PaymentRefused
from orchd.tickets.validation.keys import Basis
from orchd.tickets.validation.messages import PaymentMessage
from orchd.tickets.validation.payment import read_payment
from orchd.tickets.validation.schemes import BYOC, MAX_NONCES
from orchd.tickets.validation.signatures import keccak256, signed_digest, signer_of, u256
from orchd.tickets.validation.tickets import TicketTerms, commitment_to, ticket_hash, ticket_preimage, wins
from orchd.tickets.validation.validate import Expected, Taken
from orchd.tickets.validation.wire import decode, encode
from orchd.tickets.validation.worth import Economics, face_value, win_probability
from tests.tickets.validation.receiver import Receiver
from tests.tickets.validation.vectors import REAL, TICKETS, address, message_of, raw, terms_of

SENDER = address(TICKETS["keys"]["sender"])
RECIPIENT = address(TICKETS["keys"]["recipient"])


class GoLivepeer:
    """Finds random numbers as go-livepeer does, since the vectors' payments are on its terms."""

    def rand(self, terms: TicketTerms, basis: Basis) -> int:
        return int.from_bytes(hmac.digest(raw(TICKETS["keys"]["recipient_secret"]), message_of(terms, basis), "sha256"))


def receiver(l1_block: int = 23_500_000) -> Receiver:
    """Return one whose terms are the vectors'; what depends on the chain alone passes."""
    return Receiver(GoLivepeer(), l1_block=l1_block, round=4321)


def pay(to: Receiver, header: str, payer: bytes | None = None) -> Taken:
    """Pay by BYOC's rules; who has signed the job is the payment's sender, if it is not said."""
    payment = read_payment(header.encode())
    return to.pay(payment, Expected(BYOC, RECIPIENT, payer or payment.sender, "work"))


def named(vectors: list[dict[str, Any]]) -> pytest.MarkDecorator:
    """Return them as parameters of a test."""
    return pytest.mark.parametrize("vector", vectors, ids=lambda vector: vector.get("name", "")[:40])


@named(TICKETS["upstream_ticket_hashes"])
def test_a_ticket_has_the_published_hash(vector: dict[str, Any]) -> None:
    ticket = vector["ticket"]
    args = terms_of(ticket), address(ticket["sender"]), int(ticket["sender_nonce"])
    assert len(ticket_preimage(*args)) == vector["preimage_length"]
    assert ticket_hash(*args) == raw(vector["expected_hash"])


@named(TICKETS["upstream_aux_data"])
def test_the_round_enters_the_hash_unless_it_is_zero_with_a_zero_hash(vector: dict[str, Any]) -> None:
    empty = {"recipient": "0x" + "00" * 20, "face_value": "0", "win_prob": "0", "recipient_rand_hash": "0x" + "00" * 32}
    assert terms_of(empty | vector).aux_data == raw(vector["aux_data"])


@named(TICKETS["upstream_signatures"])
def test_a_signature_names_its_signer_or_what_is_wrong_with_it(vector: dict[str, Any]) -> None:
    faults = {
        "64-byte signature": Fault.SIGNATURE_LENGTH,
        "high s": Fault.SIGNATURE_HIGH_S,
        "v outside {27,28}": Fault.SIGNATURE_V,
    }
    expected = vector["expected_address"]
    found = signer_of(raw(vector["message32"]), raw(vector["sig"]))
    assert found == (address(expected) if expected else faults[vector["name"]])


@named(TICKETS["win_prob_vectors"])
def test_the_win_probability_makes_the_ticket_worth_its_value(vector: dict[str, Any]) -> None:
    assert win_probability(int(vector["face_value"]), int(vector["ev"])) == int(vector["win_prob"])


def test_terms_have_the_face_value_that_pays_for_their_redemption() -> None:
    vector = TICKETS["params_generation"]
    economics = Economics(
        ticket_value=int(vector["ev"]),
        redeem_gas=int(vector["redeem_gas"]),
        gas_price=int(vector["gas_price_wei"]),
        cost_multiplier=int(vector["tx_cost_multiplier"]),
    )
    value = face_value(economics, int(vector["max_float"]))
    assert value == int(vector["face_value"])
    assert win_probability(value, economics.ticket_value) == int(vector["win_prob"])


@named(TICKETS["recipient_rand_vectors"])
def test_a_random_number_is_found_again_from_go_livepeers_message(vector: dict[str, Any]) -> None:
    """So that the vectors' payments are judged on what they commit to; our own message is another."""
    ticket = vector | {"recipient": TICKETS["keys"]["recipient"], "recipient_rand_hash": "0x" + "00" * 32}
    terms = terms_of(ticket, vector["seed"], vector["expiration_block"])
    basis = Basis("byoc", address(vector["sender"]), Fraction(int(vector["price_num"]), int(vector["price_den"])))
    assert message_of(terms, basis) == raw(vector["hmac_message"])
    rand = GoLivepeer().rand(terms, basis)
    assert u256(rand) == raw(vector["recipient_rand"])
    assert commitment_to(rand) == raw(vector["recipient_rand_hash"])


@named(TICKETS["tickets"])
def test_a_ticket_is_signed_wins_and_is_worth_as_the_vector_says(vector: dict[str, Any]) -> None:
    ticket, rand, sig = vector["ticket"], int(vector["recipient_rand"], 16), raw(vector["sig"])
    terms = terms_of(ticket, vector["seed"], vector["expiration_block"])
    sender, nonce = address(ticket["sender"]), int(ticket["sender_nonce"])
    hashed = ticket_hash(terms, sender, nonce)
    assert terms.aux_data == raw(vector["aux_data"])
    assert ticket_preimage(terms, sender, nonce) == raw(vector["preimage"])
    assert hashed == raw(vector["ticket_hash"])
    assert signed_digest(hashed) == raw(vector["eip191_digest"])
    assert signer_of(hashed, sig) == address(vector["recovered_signer"])
    assert keccak256(sig + u256(rand)) == raw(vector["winning_hash"])
    assert wins(sig, rand, terms.win_prob) is vector["wins"]
    assert terms.expected_value == Fraction(int(vector["ev_num"]), int(vector["ev_den"]))


def test_a_ticket_wins_below_its_probability_and_not_at_it() -> None:
    vector = next(each for each in TICKETS["tickets"] if "winning nonce" in each["name"])
    sig, rand = raw(vector["sig"]), int(vector["recipient_rand"], 16)
    at = int(vector["winning_hash"], 16)
    for boundary in TICKETS["win_predicate_boundaries"]:
        assert wins(sig, rand, at + int(boundary["win_prob"]) - int(boundary["winning_hash"], 16)) is boundary["wins"]


@named(TICKETS["payments"])
def test_a_good_payment_is_taken_for_what_it_is_worth(vector: dict[str, Any]) -> None:
    sent = decode(PaymentMessage, raw(vector["protobuf"]))
    assert encode(sent) == raw(vector["protobuf"])
    assert base64.b64encode(encode(sent)).decode() == vector["base64"]
    taken = pay(receiver(), vector["base64"], SENDER)
    expect = vector["expect"]
    assert taken.credit == Fraction(int(expect["credit"]["num"]), int(expect["credit"]["den"]))
    assert (len(taken.nonces), len(taken.winners)) == (expect["tickets"], expect["winners"])


FAULTS = {
    "invalid_recipient_rand": {Fault.COMMITMENT_DIFFERS},
    "invalid_recipient": {Fault.RECIPIENT_DIFFERS},
    "invalid_sender": {Fault.SENDER_ZERO},
    "invalid_signature": {
        *(Fault.SIGNATURE_LENGTH, Fault.SIGNATURE_HIGH_S, Fault.SIGNATURE_V, Fault.SIGNER_DIFFERS),
    },
    "invalid_price": {Fault.PRICE_MISSING, Fault.PRICE_DENOMINATOR},
    "missing_sender": {Fault.SENDER_MISSING},
    "nonce_already_seen": {Fault.NONCE_SEEN},
    "params_expired": {Fault.TERMS_EXPIRED},
}


@named([each for each in TICKETS["negative_payments"] if each["name"] != "outer expiration params absent"])
def test_a_bad_payment_is_refused_for_its_reason(vector: dict[str, Any]) -> None:
    to = receiver()
    with pytest.raises(PaymentRefused) as refused:
        pay(to, vector["base64"])
    assert refused.value.fault in FAULTS[vector["error"]]
    assert refused.value.fault.grade is Grade(vector["class"])
    assert to.books() == receiver().books()


def test_a_payment_with_the_round_in_its_terms_alone_is_taken() -> None:
    """Go-livepeer reads field 3 only, and dies without it; Livepeer Node's signers fill both."""
    (vector,) = [each for each in TICKETS["negative_payments"] if each["name"] == "outer expiration params absent"]
    sent = decode(PaymentMessage, base64.b64decode(vector["base64"]))
    assert sent.expiration_params is None
    assert len(pay(receiver(), vector["base64"]).nonces) == 1


@named(TICKETS["base64_rules"])
def test_a_header_is_padded_base64_of_the_standard_alphabet(vector: dict[str, Any]) -> None:
    if vector["accepted"]:
        assert read_payment(vector["value"].encode()).terms is None
    else:
        with pytest.raises(PaymentRefused) as refused:
            read_payment(vector["value"].encode())
        assert refused.value.fault is Fault.PAYMENT_BASE64


def test_a_sequence_of_payments_each_whole_or_not_at_all() -> None:
    """Steps 3 and 5 differ from go-livepeer: of a refused payment nothing is credited, used up or redeemed."""
    (sequence,) = TICKETS["sequences"]
    to = receiver(0)
    for number, step in enumerate(sequence["steps"], 1):
        to.l1_block, before = int(step["last_l1_block"]), to.books()
        if step["expect"]["result"] == "ok":
            taken = pay(to, step["payment_base64"])
            assert int(taken.credit) == int(step["expect"].get("credit_floor", 8_000_000_000)) * len(taken.nonces)
            assert to.books() != before
            continue
        with pytest.raises(PaymentRefused) as refused:
            pay(to, step["payment_base64"])
        assert refused.value.fault in FAULTS[step["expect"]["result"]]
        assert refused.value.fault.grade is Grade(step["expect"]["class"])
        assert to.books() == before, f"step {number}"
    assert number == 5
    assert to.winners == []


def test_the_cap_on_nonces_is_that_of_the_vector() -> None:
    assert TICKETS["nonce_cap"]["max_nonces_per_recipient_rand"] == MAX_NONCES


@named([each for each in TICKETS["job_signatures"] if "header_base64" in each])
def test_a_credential_is_read_and_its_signature_holds(vector: dict[str, Any]) -> None:
    header = vector["header_base64"].encode()
    signed = read_job(header).signed if "Livepeer header" in vector["name"] else read_payer_credentials(header)
    assert (signed.sender, signed.text) == (address(vector["signer"]), vector["signed_text"])
    check_signed(signed)


@named(TICKETS["job_signatures"])
def test_a_text_is_signed_by_whom_the_vector_names_or_not(vector: dict[str, Any]) -> None:
    found = signer_of(keccak256(vector["signed_text"].encode()), raw(vector["sig"]))
    assert (found == address(vector["signer"])) is vector["valid"]


def test_selectors_and_topics_are_keccak_hashes() -> None:
    """And no NIST SHA-3, which differs in its padding alone."""
    for name, selector in TICKETS["selectors"].items():
        assert keccak256(name.encode())[:4] == raw(selector)
    for name, topic in TICKETS["event_topics"].items():
        assert keccak256(name.encode()) == raw(topic)


# Payments of a stock gateway, as they were sent.


@pytest.mark.parametrize("vector", REAL["payments"], ids=lambda vector: vector["step"][:40])
def test_a_real_gateways_payment_is_read_signed_and_round_trips(vector: dict[str, Any]) -> None:
    header = vector["livepeer_payment"].encode()
    payment, decoded = read_payment(header), vector["decoded"]
    assert base64.b64encode(encode(decode(PaymentMessage, base64.b64decode(header)))) == header
    assert payment.terms is not None
    assert payment.terms.face_value == int(decoded["ticket_params"]["face_value"])
    assert payment.terms.creation_round == decoded["expiration_params"]["creation_round"]
    assert payment.sender == raw(decoded["sender"])
    assert len(payment.tickets) == decoded["n_tickets"]
    for ticket in payment.tickets:
        assert signer_of(ticket_hash(payment.terms, payment.sender, ticket.sender_nonce), ticket.sig) == payment.sender
    job = read_job(vector["livepeer"].encode())
    check_signed(job.signed)
    assert job.signed.sender == payment.sender


@pytest.mark.parametrize("vector", REAL["winning_tickets"], ids=lambda vector: str(vector["senderNonce"]))
def test_a_real_winner_is_one_by_the_random_number_that_was_stored(vector: dict[str, Any]) -> None:
    rand, sig = int(vector["recipientRand"], 16), raw(vector["sig"])
    assert commitment_to(rand) == raw(vector["recipientRandHash"])
    assert wins(sig, rand, int(vector["winProb"], 16)) is vector["check_wins"]
    assert int.from_bytes(keccak256(sig + u256(rand))) == int(vector["check_winningHash"])
    terms = TicketTerms(
        recipient=address(vector["recipient"]),
        face_value=int(vector["faceValue"], 16),
        win_prob=int(vector["winProb"], 16),
        commitment=raw(vector["recipientRandHash"]),
        seed=0,
        expiration_block=vector["paramsExpirationBlock"],
        creation_round=vector["creationRound"],
        round_hash=raw(vector["creationRoundBlockHash"]),
    )
    sender = address(vector["sender"])
    assert signer_of(ticket_hash(terms, sender, vector["senderNonce"]), sig) == sender

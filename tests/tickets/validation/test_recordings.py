"""Payments of real senders, played against our receiver: it takes and refuses what the real ones do, or better."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from orchd.tickets.validation.credit import NS_PER_S, meter_of
from orchd.tickets.validation.faults import Fault, Grade, PaymentRefused
from orchd.tickets.validation.schemes import BYOC, LIVE_RUNNER, Occasion
from tests.tickets.validation.recordings import EXTRACTS, FILES, ORIGINALS, Recorded, load, text
from tests.tickets.validation.stage import Stage

AT_THE_DOOR = {
    "an empty Payment (0 bytes, header empty) with a segment",
    "order: full + bad tickets",
    "order: full + bad segment",
    "full: valid payment",
    "payment and segment of M2, posted to M",
    "payment and segment of payerB, posted to M",
    "fixed session: top-up",
    "general POST /payment with payment and segment of M",
}
"""Steps that are decided before a payment is looked at, by slot or path. So is what gets a 404: its session is over."""

TAKEN = None
WANTED: Mapping[str, tuple[Fault | None, str]] = {
    # Both schemes.
    "outer expiration_params missing": (TAKEN, "terms in field 7 alone are taken (payments.md, 3.3)"),
    "capacity 1: expiration params only inside TicketParams (field 7)": (TAKEN, "case 32"),
    "then: a valid payment": (TAKEN, "no slot leaks by the payment before it"),
    "12 s later: a valid payment": (TAKEN, "no slot leaks"),
    "inner expiration_params different from outer": (Fault.EXPIRATION_DIFFERS, "case 32: both must agree"),
    "after: payment on terms issued before the restart, used once before (nonce 2)": (
        TAKEN,
        "keys and nonces are kept",
    ),
    "after: payment on terms issued before the restart, never used": (TAKEN, "keys are kept"),
    # A payment is taken whole or not at all, and a refused one uses up no nonce.
    "nonce 3 again (was it consumed?)": (TAKEN, "its first payment was refused whole"),
    "3 tickets with the same nonces, all well signed": (TAKEN, "the payment before it was refused whole"),
    "expired again, same nonce 3 (was it burnt? then the error is the nonce)": (Fault.TERMS_EXPIRED, "not used up"),
    "the same request again": (Fault.TERMS_EXPIRED, "not used up"),
    # BYOC.
    "expected price negative": (Fault.PRICE_NEGATIVE, "it would be a credit for the work (16, quirk 21)"),
    "sender of 21 bytes (last 20 right)": (Fault.SENDER_LENGTH, "3.3: addresses have 20 bytes"),
    "payment sender differs from the job's sender (job by gw, payment by s2)": (Fault.SENDER_DIFFERS, "quirk 7"),
    # Live Runner (paid-live-runner.md, 14).
    "zero tickets, expected price present": (Fault.TICKETS_MISSING, "case 11"),
    "zero tickets, no expected price": (Fault.TICKETS_MISSING, "case 11"),
    "paid reserve, 0 ticket(s)": (Fault.TICKETS_MISSING, "case 11"),
    "leftover: reserve again, same manifest, zero tickets": (Fault.TICKETS_MISSING, "case 11"),
    "zero tickets": (Fault.TICKETS_MISSING, "case 11"),
    "a Payment with the sender only (no terms, no tickets, no price)": (Fault.TERMS_MISSING, "case 11: free for ever"),
    "101 tickets": (Fault.TICKETS_TOO_MANY, "case 11"),
    "paid reserve of payerA (tu1), 300 ticket(s)": (Fault.TICKETS_TOO_MANY, "case 11"),
    "paid reserve of payerB (tu1), 300 ticket(s)": (Fault.TICKETS_TOO_MANY, "case 11"),
    "expected_price twice numerator and denominator 2": (Fault.PRICE_DENOMINATOR, "case 11"),
    "nonce 0": (Fault.NONCE_RANGE, "case 13"),
    "nonce 600": (Fault.NONCE_RANGE, "case 13"),
    "nonce 4294967295": (Fault.NONCE_RANGE, "case 13"),
    "segment: seq 7, signed over it": (TAKEN, "it is signed; go-livepeer takes it, Livepeer Node does not"),
    "wrong sender: payerB pays (his sender, his tickets, his segment) on terms issued to payerA": (
        Fault.MANIFEST_FOREIGN,
        "case 8: a new challenge helps",
    ),
    "order: bad payment base64 + bad segment": (Fault.SEGMENT_BASE64, "credentials first, as Livepeer Node does"),
    "manifest and terms of another runner (challenge of rr2, reserve at rr1, same price)": (
        Fault.MANIFEST_FOREIGN,
        "case 8",
    ),
    "payerB pays for M: terms of his own challenge, segment names M and its token but is signed by payerB": (
        Fault.MANIFEST_FOREIGN,
        "case 8",
    ),
}
"""Where our receiver is to do otherwise than a real one: what it does, and why."""

SAID: Mapping[str, tuple[Grade, set[Fault]]] = {
    "already seen": (Grade.ACCEPTABLE, {Fault.NONCE_SEEN}),
    "too many values": (Grade.ACCEPTABLE, {Fault.TICKETS_TOO_MANY}),
    "invalid ticket signature": (
        Grade.ACCEPTABLE,
        {Fault.SIGNATURE_LENGTH, Fault.SIGNATURE_HIGH_S, Fault.SIGNATURE_V, Fault.SIGNER_DIFFERS},
    ),
    "TicketParams expired": (Grade.ACCEPTABLE, {Fault.TERMS_EXPIRED}),
    "invalid recipientRand": (Grade.FATAL, {Fault.COMMITMENT_DIFFERS, Fault.PRICE_DIFFERS}),
    "is inactive": (Grade.FATAL, {Fault.RECIPIENT_DIFFERS}),
    "price is nil": (Grade.REJECT, {Fault.PRICE_MISSING}),
    "pixels per unit is 0": (Grade.REJECT, {Fault.PRICE_DENOMINATOR}),
    "Could not find Sender": (Grade.REJECT, {Fault.SENDER_MISSING}),
    "base64 decode error": (Grade.UNREADABLE, {Fault.PAYMENT_BASE64}),
    "ErrorSegEncoding": (Grade.UNREADABLE, {Fault.SEGMENT_BASE64}),
    "proto: cannot parse": (Grade.UNREADABLE, {Fault.PAYMENT_PROTOBUF, Fault.SEGMENT_PROTOBUF}),
    "missing auth token": (Grade.REJECT, {Fault.AUTH_MISSING}),
    "invalid auth token": (Grade.REJECT, {Fault.AUTH_TOKEN}),
    "mismatched manifest and auth token": (Grade.REJECT, {Fault.MANIFEST_DIFFERS}),
}
"""Words of go-livepeer's for a fault, with its class: which of ours they are."""


def played(file: str) -> Iterator[tuple[Recorded, Fault | None]]:
    """Yield each step that the core decides, and what our receiver found wrong with it; None = it has taken it."""
    stage = Stage(live=file.startswith("paid-"))
    scheme = LIVE_RUNNER if stage.live else BYOC
    for step in load(file):
        if (step.payment is None and step.segment is None) or step.step in AT_THE_DOOR or step.status == 404:
            stage.learn(step)
            continue
        before = stage.receiver.books()
        fault: Fault | None = TAKEN
        try:
            stage.play(step)
        except PaymentRefused as exc:
            fault = exc.fault
        if fault is not None:
            assert stage.receiver.books() == before, f"{step.step}: a refused payment leaves no trace"
            assert {scheme.status(fault.blame, occasion) for occasion in Occasion} <= {400, 402, 403, 503}
        yield step, fault


@pytest.mark.parametrize("file", FILES)
def test_our_receiver_does_what_the_real_one_did_or_better(file: str) -> None:
    seen = 0
    for step, done in played(file):
        seen += 1
        if step.step in WANTED:
            assert done == WANTED[step.step][0], step.step
            continue
        # A balance that is short is another matter: the payment itself was taken.
        taken = step.status == 200 or "Insufficient balance" in step.said
        assert (done is TAKEN) == taken, f"{step.step}: {step.status} {step.said}, ours: {done}"
        for words, (grade, faults) in SAID.items():
            if words in step.said:
                assert done is not None
                assert done in faults, f"{step.step}: {step.said}"
                assert done.grade is grade
    assert seen >= 1


def test_a_whole_session_of_the_sdk_leaves_the_surplus_of_the_recording() -> None:
    """Of 76 tickets in 130 s the payer has 52 s left, which stay his (paid-live-runner.md, 8)."""
    stage, tickets = Stage(live=True), 0
    for step in load("paid-node-sdk-session"):
        if step.payment is None:
            stage.learn(step)
        else:
            tickets += len(stage.play(step).nonces)
    (balance,) = stage.receiver.balances.values()
    assert stage.last is not None
    price = stage.last.price
    meter = meter_of(LIVE_RUNNER, price)
    left = balance.charged(meter.after(130 * NS_PER_S).due_since(meter), price)
    assert (tickets, left.units_covered(price)) == (76, 52)


def test_each_wanted_deviation_is_one() -> None:
    """Where all receivers do as ours does, there is nothing to name."""
    real: dict[str, set[bool]] = {}
    words: dict[str, set[bool]] = {}
    for file in FILES:
        for step in load(file):
            if step.payment is not None or step.segment is not None:
                real.setdefault(step.step, set()).add(step.status == 200)
                agreed = any(said in step.said and WANTED.get(step.step, (None,))[0] in SAID[said][1] for said in SAID)
                words.setdefault(step.step, set()).add(agreed)
    idle = {step for step, (done, _) in WANTED.items() if real[step] == {done is TAKEN} and words[step] == {True}}
    assert idle == set()
    assert real.keys() >= AT_THE_DOOR


@pytest.mark.parametrize("file", FILES)
def test_the_extract_is_that_of_the_recording_where_it_is_at_hand(file: str) -> None:
    kept = (EXTRACTS / f"{file}.json").read_text()
    if ORIGINALS.is_dir():
        assert kept == text(ORIGINALS / f"{file}.json")
    assert load(file)

"""Payments of real senders, played against our receiver: it takes and refuses what the real ones do, or better."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby

import pytest

from orchd.tickets.validation.credit import NS_PER_S, meter_of
from orchd.tickets.validation.faults import Fault, Grade, PaymentRefused
from orchd.tickets.validation.schemes import BYOC, LIVE_RUNNER, Occasion
from tests.tickets.validation.recordings import FILES, Recorded, load
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
    "full: paid reserve of payerB",
    "persistent runner asked as single-shot",
    "top-up held half-sent while the session is stopped",
    *(
        f"{signal}, node down: top-up {how}"
        for signal in ("SIGKILL", "SIGTERM")
        for how in ("(through the relay: its upstream refuses)", "directly at the closed port")
    ),
}
"""Steps that are decided before a payment is looked at, by slot or path, or because nobody is there."""
BEFORE_PAYMENT = {404, 405, 409}
"""So is what gets one of these: its session is over, or its slot is another's."""

TERMS_UNSEEN = {"paid-node-races"}
"""Recordings that show payments without the challenges before them."""

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
    # Who gets terms at all.
    "payer without 0x": (Fault.PAYER_ADDRESS, "as Livepeer Node"),
    "payer without any deposit": (Fault.SENDER_FUNDS, "terms for it would be worth nothing"),
    "payer with a reserve of 1000 wei": (Fault.SENDER_FUNDS, "terms for it would be worth nothing"),
    # Livepeer Node forgets its challenges when it ends.
    **{
        f"{signal}: paid reserve of the {which}": (TAKEN, "keys are kept, and terms need no memory")
        for signal in ("SIGKILL", "SIGTERM")
        for which in ("second challenge (issued before the restart)", "first manifest with the unused payment")
    },
    "RPC refused: top-up": (TAKEN, "what is known of the payer is recent enough"),
    "RPC refused: paid reserve of a challenge issued before": (TAKEN, "what is known of the payer is recent enough"),
    "RPC back: the refused paid reserve again": (Fault.NONCE_SEEN, "it was taken without an RPC server"),
    # What real signers sign, on terms that we never make, or not then.
    "state, other manifest id": (Fault.MANIFEST_DIFFERS, "case 7"),
    "paid-gl-signer: no state, no manifest id": (Fault.MANIFEST_DIFFERS, "go-livepeer's signer makes up a manifest"),
    "terms: manifest differs from the auth session": (Fault.MANIFEST_DIFFERS, "case 7"),
    "terms without auth_token.session_id": (Fault.MANIFEST_DIFFERS, "case 7"),
    "terms without ticket_params.recipient": (Fault.AUTH_TOKEN, "not our terms"),
    "terms without ticket_params.expiration_params": (Fault.AUTH_TOKEN, "not our terms"),
    "terms: price denominator 2": (Fault.PRICE_DENOMINATOR, "case 11"),
    "terms: round hash zero": (Fault.COMMITMENT_DIFFERS, "go-livepeer's signer fills in its own round"),
    "terms: creation round 0": (Fault.COMMITMENT_DIFFERS, "go-livepeer's signer fills in its own round"),
    "terms: creation round long ago": (Fault.ROUND_PASSED, "its winners could not be redeemed"),
    "terms: expiration block +0 from now": (Fault.TERMS_EXPIRED, "go-livepeer's signer looks one block late"),
    "terms: face value 10 ETH (the deposit)": (Fault.FACE_VALUE_ABOVE_FLOAT, "the reserve does not cover it"),
    "terms: seed 40 bytes": (Fault.AUTH_TOKEN, "not our terms"),
    "terms: recipient rand hash 31 bytes": (Fault.AUTH_TOKEN, "go-livepeer's signer pads it: not our terms"),
    "nonce run: payment 13, 4.05 s later": (Fault.NONCE_RANGE, "go-livepeer's signer goes past 599"),
    "nonce run: payment 14, 4.05 s later": (Fault.NONCE_RANGE, "go-livepeer's signer goes past 599"),
}
"""Where our receiver is to do otherwise than a real one: what it does, and why. By step, or recording and step."""


def wanted(file: str, step: Recorded) -> str | None:
    """Return under what a step stands there; None = our receiver does as the real one."""
    return next((name for name in (f"{file}: {step.step}", step.step) if name in WANTED), None)


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


WORKED = ("Insufficient balance", "insufficient payment balance", "runner destination unavailable", '{"said"')
"""How answers begin or go on where the payment itself was taken: the balance is short, or the runner has failed."""
CUT = {"SSE of 20 s, 12 s paid, no top-up", "client leaves after 2 s of a 20 s job"}
"""Steps whose answer broke off, as told: the payment was taken."""


def taken(step: Recorded) -> bool:
    """Return whether the real receiver took the payment; or gave terms, if it was asked for some."""
    if step.payment is None and step.segment is None:
        return step.challenge is not None
    return step.status == 200 or step.step in CUT or any(words in step.said for words in WORKED)


def in_order(steps: list[Recorded]) -> Iterator[Recorded]:
    """Yield the steps as they were decided: of one payment that was sent twice at once, first that which was taken."""
    for (at_once, _), group in groupby(steps, key=lambda step: (step.at_once, step.payment)):
        same = list(group)
        yield from sorted(same, key=lambda step: not taken(step)) if at_once else same


def judged(file: str, step: Recorded) -> bool:
    """Return whether the core has a say in a step."""
    if step.step in AT_THE_DOOR or step.status in BEFORE_PAYMENT:
        return False
    return step.payment is not None or step.segment is not None or file.endswith("-challenge")


def played(file: str) -> Iterator[tuple[Recorded, Fault | None]]:
    """Yield each step that the core decides, and what our receiver found wrong with it; None = it has taken it."""
    stage = Stage(file.startswith("paid-"), file not in TERMS_UNSEEN, apart=file.endswith("-signer"))
    scheme = LIVE_RUNNER if stage.live else BYOC
    for step in in_order(load(file)):
        if not judged(file, step):
            stage.learn(step)
            continue
        asks = step.payment is None and step.segment is None
        before = stage.receiver.books()
        fault: Fault | None = TAKEN
        try:
            stage.ask(step) if asks else stage.play(step)
        except PaymentRefused as exc:
            fault = exc.fault
        if fault is not None:
            assert stage.apart or stage.receiver.books() == before, f"{step.step}: a refused payment leaves no trace"
            assert {scheme.status(fault.blame, occasion) for occasion in Occasion} <= {400, 402, 403, 503}
        yield step, fault


@pytest.mark.parametrize("file", FILES)
def test_our_receiver_does_what_the_real_one_did_or_better(file: str) -> None:
    seen = 0
    for step, done in played(file):
        seen += 1
        if name := wanted(file, step):
            assert done == WANTED[name][0], name
            continue
        assert (done is TAKEN) == taken(step), f"{step.step}: {step.status} {step.said}, ours: {done}"
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
    named: set[str] = set()
    for file in FILES:
        for step in load(file):
            named.add(step.step)
            name = wanted(file, step)
            if name and judged(file, step):
                real.setdefault(name, set()).add(taken(step))
                agreed = any(said in step.said and WANTED[name][0] in SAID[said][1] for said in SAID)
                words.setdefault(name, set()).add(agreed)
    idle = {step for step, (done, _) in WANTED.items() if real[step] == {done is TAKEN} and words[step] == {True}}
    assert idle == set()
    assert named >= AT_THE_DOOR | CUT

"""Which recordings say something to the validation core, and what of each: none is left out without a reason."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest

from orchd.domain.chain import TermsOf
from orchd.tickets.validation.credit import NS_PER_S, BalanceKey, meter_of
from orchd.tickets.validation.faults import Blame, Fault, PaymentRefused
from orchd.tickets.validation.keys import Basis
from orchd.tickets.validation.payment import read_payment
from orchd.tickets.validation.schemes import LIVE_RUNNER, Occasion
from orchd.tickets.validation.validate import Expected
from orchd.tickets.validation.worth import Economics, face_value, make_terms, win_probability
from tests.doubles.gateway.tokens import read_token
from tests.doubles.shared.recordings import load as load_transcript
from tests.tickets.validation.made import PAYER, RECIPIENT, ROUND_HASH
from tests.tickets.validation.receiver import FUNDED, KEY, Receiver
from tests.tickets.validation.recordings import EXTRACTS, FILES, ORIGINALS, TICKET_SIZES, text
from tests.tickets.validation.sender import header

UNPAID = "off-chain: nothing is paid, and no payment is read"
CLI = "the node's own port, which no payer reaches"
NODE_STUB = "before a stub chain; what its payments show, paid-node-* shows before a real one"
ELSEWHERE: dict[str, str] = {
    TICKET_SIZES: "tables of rounds: played below",
    "paid-gl-sdk-reactions": "what the SDK does on a status; the choice of ours is held to it below",
    "onchain-token": "terms for who has a reserve and who has not: below; the double of a gateway pays on them",
    "onchain-token-noadjust": "as onchain-token; the price without the overhead is go-livepeer's own choice",
    "onchain-gateway-limits": "which terms a gateway refuses: the double of a gateway is held to it",
    "gateway-job": "a gateway off-chain: the double of a gateway is held to it",
    "onchain-price": "prices below 0 and between 0 and 1 wei, at jobs without a payment; the double of a node has them",
    "onchain-redeemer": "what is done with winners once they are kept; nothing of it is sent by a payer",
    "onchain-grpc": "prices by gRPC, which we don't serve",
    "onchain-node-failures": "how a node starts and waits without a chain",
    **dict.fromkeys(("onchain-cli", "onchain-hot-wallet", "onchain-ai-registry", "cli"), CLI),
    "onchain-set-orchestrator-config": CLI,
    **dict.fromkeys(("node-challenge", "node-paid"), NODE_STUB),
    **dict.fromkeys(
        (
            *("byoc-connections", "byoc-job", "byoc-job-paths", "byoc-register", "byoc-sse", "byoc-stream"),
            *("byoc-token", "restart", "live-runner-dynamic", "live-runner-dynamic-more", "live-runner-expiry"),
            *("live-runner-session", "live-runner-static"),
            *("node-callbacks", "node-discovery", "node-expiry", "node-grants", "node-heartbeat", "node-limits"),
            *("node-o2r", "node-restart", "node-secrets", "node-session", "node-single-shot", "node-static"),
            "node-streams",
        ),
        UNPAID,
    ),
}
"""Recordings of which the player of `test_recordings` plays no step, and why."""


def test_every_recording_is_played_or_left_out_for_a_reason() -> None:
    assert not ELSEWHERE.keys() & set(FILES)
    if ORIGINALS.is_dir():
        assert {path.stem for path in ORIGINALS.glob("*.json")} == ELSEWHERE.keys() | set(FILES)


@pytest.mark.parametrize("file", [*FILES, TICKET_SIZES])
def test_the_extract_is_that_of_the_recording_where_it_is_at_hand(file: str) -> None:
    kept = (EXTRACTS / f"{file}.json").read_text()
    if ORIGINALS.is_dir():
        assert kept == text(ORIGINALS / f"{file}.json")
    assert json.loads(kept)


# Tickets of many sizes, paid round by round.

RUNS: list[dict[str, Any]] = json.loads((EXTRACTS / f"{TICKET_SIZES}.json").read_text())
SECOND = Fraction(83_333_333_334)
"""Its price."""
BY_RECORDED_CLOCK_S = 1.0
"""The recording's end was measured from outside."""


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run["step"])
def test_tickets_of_each_size_carry_a_session_as_far_as_they_did(run: dict[str, Any]) -> None:
    """Fields: seconds, status of the signer, tickets, nonces, status of the receiver."""
    worth, receiver = int(run["step"].split()[1]), Receiver(l1_block=1000, round=7)
    meter, key, tickets, made = meter_of(LIVE_RUNNER, SECOND), BalanceKey(PAYER.address, "session"), 0, 0
    for seconds, _, _, nonces, status in run["rows"]:
        now = meter.after(int(seconds * NS_PER_S))
        receiver.balances[key] = receiver.balances[key].charged(now.due_since(meter), SECOND)
        meter = now
        if status is None:
            continue
        first, last = map(int, nonces.split(".."))
        made += first == 1
        basis = Basis(LIVE_RUNNER.name, PAYER.address, SECOND)
        at = TermsOf(receiver.l1_block, receiver.round, ROUND_HASH)
        terms = make_terms(
            KEY, made.to_bytes(28, "big"), basis, RECIPIENT, Economics(worth, gas_price=20_000_000), FUNDED, at
        )
        payment = read_payment(header(PAYER.payment(terms, range(first, last + 1), SECOND)))
        expected = Expected(LIVE_RUNNER, RECIPIENT, PAYER.address)
        if status == 200:
            tickets += len(receiver.pay(payment, expected, "session").nonces)
            assert receiver.balances[key].wei >= 0
        else:
            with pytest.raises(PaymentRefused) as refused:
                receiver.pay(payment, expected, "session")
            assert (status, refused.value.fault) == (403, Fault.NONCE_RANGE)
    assert tickets == run["tickets_credited"]
    credit = receiver.balances[key].charged(-meter.units, SECOND)
    assert round(float(credit.wei / SECOND), 1) == run["seconds_paid"]
    ends_at = meter.ends_at_ns(receiver.balances[key])
    assert ends_at is not None
    if gone := run["session_gone_after"]:
        assert abs(ends_at / NS_PER_S - gone) <= BY_RECORDED_CLOCK_S


# What the SDK does on our statuses.

GIVES_UP_ON = {400, 401, 402, 403, 404, 409, 410, 425, 481}
"""Answers to one top-up at which the SDK ends its funding for good; the session then ends with its credit."""


def test_a_top_up_that_may_pass_later_gets_an_answer_on_which_the_payer_goes_on() -> None:
    passing = {Blame.STALE, Blame.OURS}
    for blame in Blame:
        gives_up = LIVE_RUNNER.status(blame, Occasion.TOP_UP) in GIVES_UP_ON
        assert not (gives_up and blame in passing), blame


def test_the_answers_on_which_it_gives_up_are_the_recorded_ones() -> None:
    recording = ORIGINALS / "paid-gl-sdk-reactions.json"
    assert 503 not in GIVES_UP_ON
    if recording.is_file():
        ends = {}
        for case in json.loads(recording.read_text()):
            words = case["step"].split()
            if words[:3] == ["3rd", "top-up", "answered"] and words[3].isdigit() and words[4:] == ["(once)"]:
                ends[int(words[3])] = case["sdk_saw"]["funding_task_done"]
        assert {status for status, done in ends.items() if done} == GIVES_UP_ON


# Terms that BYOC's receivers made.


def test_the_recorded_terms_of_byoc_follow_from_our_rules() -> None:
    """Gas at 0.02 gwei, tickets worth 8e9: `onchain-token`."""
    economics, seen = Economics(ticket_value=8 * 10**9, gas_price=20_000_000), 0
    for step in load_transcript("onchain-token.json"):
        if step.get("request", {}).get("target") != "/process/token" or step["response"]["status"] != 200:
            continue
        token = read_token(step["response"]["body"])
        assert token.params is not None
        value = face_value(economics, FUNDED.max_float) if token.price.price_per_unit else 0
        assert int.from_bytes(token.params.face_value, "big") == value
        assert int.from_bytes(token.params.win_prob, "big") == win_probability(value, economics.ticket_value)
        seen += bool(value)
    assert seen

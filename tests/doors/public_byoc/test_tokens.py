"""Tokens: what a gateway is told before it pays."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from orchd.domain.chain import ChainFacts
from orchd.domain.money import Price, PriceUnit
from orchd.tickets.validation.payment import read_terms
from tests.doubles.gateway.credentials import Identity
from tests.doubles.gateway.tokens import read_token
from tests.jobs.messages import answer, request
from tests.jobs.model import KEY, a_model
from tests.relay.transport import FakeTransport
from tests.tickets.till import PAID, PRICE, URL, WORK, Till, job, job_header, paid_on, refusal_of, token_request
from tests.tickets.validation.made import BLOCK, OTHER, PAYER, RECIPIENT, ROUND, ROUND_HASH
from tests.tickets.validation.receiver import FUNDED
from tests.tickets.validation.sender import Signer
from tests.virtual_time import virtual_time

RECORDED = Path(__file__).parents[2] / "doubles" / "transcripts" / "onchain-token.json"
STRANGER = Signer(b"\x77" * 32)


def said(caller: FakeTransport) -> dict[str, Any]:
    assert caller.messages[0].status == 200, caller.messages[0]
    assert caller.messages[0].header("Content-Type") == "application/json"
    found = json.loads(caller.messages[0].body)
    assert isinstance(found, dict)
    return found


@virtual_time
async def test_a_token_holds_price_terms_and_free_slots_in_go_livepeer_s_words() -> None:
    till = Till()
    token = said(await till.asked(token_request(PAYER)))
    assert token.keys() == {
        *("sender_address", "ticket_params", "price", "service_addr", "available_capacity", "LastNonce")
    }
    assert token["price"] == {"pricePerUnit": PRICE, "pixelsPerUnit": 1}
    assert (token["service_addr"], token["available_capacity"], token["LastNonce"]) == (URL, 4, 0)
    params = token["ticket_params"]
    assert params.keys() == {
        *("recipient", "face_value", "win_prob", "recipient_rand_hash", "seed", "expiration_block"),
        "expiration_params",
    }
    sent = read_token(json.dumps(token)).params
    assert sent is not None
    terms = read_terms(sent, None)
    assert (terms.recipient, terms.expiration_block) == (RECIPIENT, BLOCK + 40)
    assert (terms.creation_round, terms.round_hash) == (ROUND, ROUND_HASH)
    assert 0 <= terms.expected_value - 60 * PRICE < 1000


@virtual_time
async def test_each_token_has_terms_of_its_own() -> None:
    till = Till()
    first, second = [await till.token() for _ in range(2)]
    assert first.params is not None
    assert second.params is not None
    assert first.params.recipient_rand_hash != second.params.recipient_rand_hash
    assert first.params.seed != second.params.seed


@virtual_time
async def test_the_asker_is_named_as_it_has_named_itself() -> None:
    till = Till()
    text = f"0x{PAYER.address.hex()}"
    sent = {"addr": text, "sig": PAYER.sign_text(text).hex()}
    header = base64.b64encode(json.dumps(sent).encode()).decode()
    headers = (("Livepeer-Eth-Address", header), ("Livepeer-Capability", WORK))
    token = said(await till.asked(request(*headers, method="GET", target="/process/token")))
    assert token["sender_address"] == sent


@virtual_time
async def test_an_unknown_capability_has_no_slots_and_no_price() -> None:
    till = Till()
    token = said(await till.asked(token_request(PAYER, "image/nobody")))
    assert "available_capacity" not in token
    assert token["price"] == {"pixelsPerUnit": 1}
    assert token["ticket_params"].keys() == {
        *("recipient", "recipient_rand_hash", "seed", "expiration_block", "expiration_params")
    }


@virtual_time
async def test_a_free_capability_needs_no_funds() -> None:
    till = Till(a_model(price=Price(Fraction(0))))
    token = said(await till.asked(token_request(STRANGER)))
    assert token["price"] == {"pixelsPerUnit": 1}
    assert token["available_capacity"] == 1


@virtual_time
async def test_slots_are_told_as_they_are_free() -> None:
    till = Till(replace(PAID, max_sessions=2))
    till.network.reply = None
    await till.asked(job(await till.paid(300)))
    assert (await till.token()).capacity == 1
    await till.asked(job())
    assert (await till.token()).capacity == 0
    for end in till.network.ends:
        end.say(answer(b"made"))
    await till.idle()
    assert (await till.token()).capacity == 2


@virtual_time
async def test_a_cold_model_can_be_had_and_one_that_cannot_start_can_t() -> None:
    till = Till(is_open=False)
    assert (await till.token()).capacity == 0
    till.cold()
    assert (await till.token()).capacity == 4


@virtual_time
async def test_the_balance_is_told_in_whole_wei_and_fits_into_64_bits() -> None:
    till = Till()
    await till.served(job(await till.paid(120)))
    assert (await till.token()).balance == till.credit().__floor__()
    key = next(iter(till.ledger.balances))
    till.ledger.balances[key] = till.ledger.balances[key].credited(Fraction(2**70))
    assert (await till.token()).balance == 2**63 - 1
    till.ledger.balances[key] = till.ledger.balances[key].credited(Fraction(-(2**71)))
    assert (await till.token()).balance == -(2**63 - 1)


@virtual_time
async def test_a_price_in_other_units_is_told_by_the_second() -> None:
    till = Till(a_model(price=Price(Fraction(3601), unit=PriceUnit.HOUR)))
    assert (await till.token()).price.price_per_unit == 2


@pytest.mark.parametrize(
    ("payer", "facts", "told", "expected"),
    [
        (STRANGER, None, True, (503, "sender_unknown")),
        (OTHER, replace(FUNDED, reserve=1000), True, (503, "sender_funds")),
        (OTHER, replace(FUNDED, deposit=0), True, (503, "sender_funds")),
        (OTHER, replace(FUNDED, withdraw_round=ROUND + 1), True, (402, "sender_unlocking")),
        (PAYER, None, False, (503, "chain_unknown")),
    ],
)
@virtual_time
async def test_who_could_not_pay_gets_no_terms(
    payer: Signer, facts: Any, told: bool, expected: tuple[int, str]
) -> None:
    till = Till()
    till.chain.told = told
    if facts is not None:
        till.chain.payers[payer.address] = facts
    assert refusal_of(await till.asked(token_request(payer))) == expected


@virtual_time
async def test_what_is_free_has_terms_while_nothing_is_known_of_the_chain() -> None:
    till = Till(a_model(price=Price(Fraction())))
    till.chain.told = False
    token = await till.token(STRANGER)
    assert token.params is not None
    assert (token.params.face_value, token.capacity) == (b"", 1)
    assert (await till.served(job(livepeer=job_header(STRANGER)))).messages[0].status == 200


@virtual_time
async def test_an_orchestrator_that_is_not_active_sells_nothing() -> None:
    till = Till()
    till.chain.facts = ChainFacts(BLOCK, ROUND, active=False)
    assert refusal_of(await till.asked(token_request(PAYER))) == (503, "recipient_inactive")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Livepeer-Eth-Address": ""}, (400, "job_missing")),
        ({"Livepeer-Eth-Address": "%"}, (400, "job_base64")),
        ({"Livepeer-Eth-Address": base64.b64encode(b"[]").decode()}, (400, "job_json")),
        ({"Livepeer-Eth-Address": base64.b64encode(b'{"addr": "0x12", "sig": ""}').decode()}, (400, "job_sender")),
        ({"Livepeer-Capability": ""}, (400, "capability_missing")),
    ],
)
@virtual_time
async def test_a_request_that_is_not_as_it_must_be_is_told_so(
    headers: dict[str, str], expected: tuple[int, str]
) -> None:
    till = Till()
    all_headers = {**Identity(PAYER).token_headers(WORK), **headers}
    caller = await till.asked(request(*all_headers.items(), method="GET", target="/process/token"))
    assert refusal_of(caller) == expected


@virtual_time
async def test_off_chain_a_gateway_that_cannot_sign_gets_terms_that_are_worth_nothing() -> None:
    till = Till(backed=False)
    token = said(await till.asked(token_request(None)))
    assert token["price"] == {"pricePerUnit": PRICE, "pixelsPerUnit": 1}
    assert "face_value" not in token["ticket_params"]
    assert token["available_capacity"] == 4
    on_chain = Till()
    assert refusal_of(await on_chain.asked(token_request(None))) == (400, "job_signature")


@virtual_time
async def test_tokens_are_limited_by_address_and_payer() -> None:
    till = Till()
    till.keeper_of_own.limited = {f"0x{PAYER.address.hex()}"}
    assert refusal_of(await till.asked(token_request(PAYER))) == (429, "rate_limited")
    assert (await till.token(OTHER)).capacity == 4
    assert [status for _, _, status in till.keeper_of_own.counted] == [429, 200]


@virtual_time
async def test_only_get_asks_for_a_token_and_only_post_for_work() -> None:
    till = Till()
    caller = await till.asked(request(method="POST", target="/process/token"))
    assert (caller.messages[0].status, caller.messages[0].header("Allow")) == (405, "GET")
    caller = await till.asked(request(method="GET", target="/process/request/x"))
    assert (caller.messages[0].status, caller.messages[0].header("Allow")) == (405, "POST")


@pytest.mark.parametrize("call", ["start", "stop", "update", "payment", "anything"])
@virtual_time
async def test_streams_are_refused_before_any_payment_is_looked_at(call: str) -> None:
    till = Till()
    caller = await till.asked(
        request(("Livepeer", "no"), ("Livepeer-Payment", "no"), target=f"/ai/stream/{call}", body=b"{}")
    )
    assert refusal_of(caller) == (503, "streams_need_channels")


@virtual_time
async def test_a_job_for_an_unknown_capability_is_sent_elsewhere() -> None:
    till = Till()
    caller = await till.asked(job(livepeer=job_header(work="image/nobody")))
    assert refusal_of(caller) == (503, "not_offered")


@virtual_time
async def test_paying_on_a_token_of_the_day_before_yesterday_is_stale() -> None:
    till = Till()
    token = await till.token()
    till.chain.facts = ChainFacts(BLOCK + 7200, ROUND + 1, active=True)
    assert refusal_of(await till.served(job(paid_on(token, 60)))) == (503, "terms_expired")
    assert till.table.begun(KEY) == 0


CASES = {
    "token: funded sender (deposit 10 ETH, reserve 5 ETH), price 2500000": (PAYER, WORK),
    "token: price 0, funded sender": (PAYER, "image/org/free"),
    "token: price 0, sender without deposit and reserve": (STRANGER, "image/org/free"),
    "token: capability never registered, funded sender": (PAYER, "image/nobody"),
}


@virtual_time
async def test_tokens_have_the_members_of_go_livepeer_s() -> None:
    free = a_model(KEY._replace(model_id="org/free"), price=Price(Fraction(0)))
    till = Till(PAID, free)
    recorded = {step["step"]: step for step in json.loads(RECORDED.read_text())}
    for name, (payer, work) in CASES.items():
        theirs = json.loads(recorded[name]["response"]["body"])
        ours = said(await till.asked(token_request(payer, work)))
        assert shape(ours) == shape(theirs), name


def shape(value: Any) -> Any:
    """Return names and types."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    return type(value)

"""Jobs at BYOC's public door, paid with tickets: what is taken, what is charged, what is refused."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace
from fractions import Fraction

import pytest
from structlog.testing import capture_logs

from orchd.domain.chain import ChainFacts
from orchd.domain.model import StreamSpec
from orchd.domain.money import Price, PriceUnit
from orchd.hooks.hook import HookOptions, JobHook, Waits
from orchd.hooks.job import Job
from orchd.node.route_secrets import RouteSecrets
from orchd.tickets.node_token import NodeToken
from orchd.tickets.payments import TicketRules
from orchd.tickets.signed_job import SignedJob, SignedJobOptions
from orchd.tickets.validation.payment import read_terms
from tests.jobs.messages import answer
from tests.jobs.model import KEY, a_model
from tests.tickets.till import PAID, PRICE, Till, job, job_header, paid_on, refusal_of
from tests.tickets.validation.made import BLOCK, OTHER, PAYER, ROUND
from tests.virtual_time import virtual_time


def about(wei: Fraction, seconds: float) -> bool:
    """Return whether it is so many seconds of work, but for what a ticket is worth by more than it should be."""
    return abs(wei - Fraction(seconds) * PRICE) < 1000


@virtual_time
async def test_a_paid_job_is_served_and_charged_for_each_second_that_has_begun() -> None:
    till = Till()
    till.network.reply = None
    caller = till.caller(job(await till.paid(60)))
    await till.settle()
    assert about(till.credit(), 60)
    await asyncio.sleep(2.5)
    till.network.end.say(answer(b"made", ("X-Metadata", "m1"), ("X-Other", "o"), ("Content-Type", "image/png")))
    await till.idle()
    message = caller.messages[0]
    assert (message.status, message.body) == (200, b"made")
    assert about(till.credit(), 57)
    assert message.header("Livepeer-Balance") == message.header("Livepeer-Payment-Balance")
    assert about(Fraction(message.header("Livepeer-Balance") or 0), 57)
    assert (message.header("X-Metadata"), message.header("X-Other")) == ("m1", None)
    assert till.ledger.running == {}
    assert len(till.sessions) == 0
    assert till.chain.credit == [(PAYER.address, till.credit() + 3 * PRICE)]


@virtual_time
async def test_the_runner_sees_the_work_and_nothing_of_who_pays() -> None:
    till = Till()
    await till.served(job(await till.paid(60), path="/image"))
    sent = till.network.requests[0]
    names = {name.lower() for name, _ in sent.headers}
    assert names == {"host", "content-type", "content-length", "connection"}
    assert sent.body == b"{}"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/image"),
        ("/", "/image"),
        ("/image", "/image"),
        ("/image/org/one", "/image"),
        ("/image%2Forg%2Fone", "/image"),
        ("/v1/paint?seed=7", "/v1/paint?seed=7"),
        ("/a%20b//c", "/a%20b//c"),
    ],
)
@virtual_time
async def test_the_path_behind_the_request_is_the_runner_s(path: str, target: str) -> None:
    till = Till()
    await till.served(job(await till.paid(60), path=path))
    assert till.network.requests[0].first == f"POST {target} HTTP/1.1"


@pytest.mark.parametrize("path", ["/stream/start", "/api/stream/stop", "/stream/%73tart"])
@virtual_time
async def test_no_stream_begins_by_a_job(path: str) -> None:
    till = Till(replace(PAID, stream=StreamSpec(route_prefix="")))
    payment = await till.paid(60)
    assert refusal_of(await till.served(job(payment, path=path))) == (403, "stream_route")
    assert till.credit() == 0
    assert till.table.begun(KEY) == 0


@virtual_time
async def test_credit_is_used_before_anything_is_paid_again() -> None:
    till = Till()
    await till.served(job(await till.paid(120)))
    before = till.credit()
    caller = await till.served(job())
    assert caller.messages[0].status == 200
    assert till.credit() == before - PRICE
    token = await till.token()
    assert token.balance == till.credit().__floor__()


@virtual_time
async def test_less_than_a_minute_s_credit_is_no_beginning_and_stays_the_payer_s() -> None:
    till = Till(rules=TicketRules(value=PRICE))
    payment = await till.paid(40)
    assert refusal_of(await till.served(job(payment))) == (402, "credit_short")
    assert about(till.credit(), 40)
    assert till.table.begun(KEY) == 0
    assert till.network.dialled == []
    assert refusal_of(await till.served(job(payment))) == (402, "nonce_seen")
    assert (await till.served(job(await till.paid(40)))).messages[0].status == 200
    assert about(till.credit(), 79)


@virtual_time
async def test_one_ticket_is_enough_to_begin() -> None:
    till = Till()
    token = await till.token()
    assert token.params is not None
    assert read_terms(token.params, None).expected_value >= 60 * PRICE
    assert (await till.served(job(paid_on(token, 1)))).messages[0].status == 200
    assert about(till.credit(), 59)


@virtual_time
async def test_without_credit_and_payment_nothing_begins() -> None:
    till = Till()
    assert refusal_of(await till.served(job())) == (402, "credit_short")
    assert till.table.begun(KEY) == 0


@virtual_time
async def test_when_the_credit_is_used_up_the_job_ends() -> None:
    till = Till(a_model(price=Price(Fraction(PRICE)), inference=replace(PAID.inference, timeout_s=500)))
    till.network.reply = None
    caller = till.caller(job(await till.paid(60), livepeer=job_header(timeout_s=400)))
    await asyncio.sleep(100)
    await till.idle()
    assert refusal_of(caller) == (402, "credit_gone")
    assert -2 * PRICE < till.credit() < 0
    assert till.counts._refused["credit_gone"] == 1


@virtual_time
async def test_when_the_credit_is_used_up_an_event_stream_says_so_and_ends() -> None:
    till = Till()
    till.network.reply = None
    caller = till.caller(job(await till.paid(60)))
    await till.settle()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    till.network.end.say(head + b"9\r\ndata: 1\n\n\r\n")
    for _ in range(70):
        await asyncio.sleep(1)
        if not till.network.end.over:
            till.network.end.say(b"3\r\n:\n\n\r\n")
    await till.idle()
    message = caller.messages[0]
    assert message.header("Cache-Control") == "no-cache"
    assert message.body.startswith(b"data: 1\n\n:\n\n")
    assert message.body.endswith(b'event: insufficient balance\ndata: {"balance": 0}\n\ndata: [DONE]\n\n')
    assert till.codes == ["payment_required"]


@virtual_time
async def test_an_event_stream_tells_the_balance_before_its_end() -> None:
    till = Till()
    events = answer(b"data: 1\n\ndata: [DONE]\n\n", ("Content-Type", "text/event-stream"))
    caller = await till.served(job(await till.paid(60)), reply=events)
    body = caller.messages[0].body.decode()
    assert body.startswith('data: 1\n\ndata: {"balance": ')
    assert body.endswith("}\n\ndata: [DONE]\n\n")
    told = Fraction(body.partition('"balance": ')[2].partition("}")[0])
    assert abs(told - till.credit()) < 1


@virtual_time
async def test_a_free_job_needs_no_payment_and_its_payment_is_not_looked_at() -> None:
    till = Till(a_model(price=Price(Fraction(0))))
    caller = await till.served(job("this is no payment"))
    assert caller.messages[0].status == 200
    assert caller.messages[0].header("Livepeer-Balance") == "0"
    assert till.ledger.balances == {}


@virtual_time
async def test_an_entry_without_a_price_is_not_given_away() -> None:
    till = Till(a_model())
    assert refusal_of(await till.served(job())) == (503, "price_unknown")
    assert till.table.begun(KEY) == 0


@virtual_time
async def test_a_payment_is_taken_once() -> None:
    till = Till()
    payment = await till.paid(60)
    await till.served(job(payment))
    before = till.credit()
    assert refusal_of(await till.served(job(payment))) == (402, "nonce_seen")
    assert till.credit() == before


@virtual_time
async def test_two_jobs_with_the_same_payment_at_once_are_one_job_and_one_refusal() -> None:
    till = Till()
    payment = await till.paid(60)
    till.network.reply = None
    callers = [till.caller(job(payment)) for _ in range(2)]
    await till.settle()
    await asyncio.sleep(0.5)
    till.network.end.say(answer(b"made"))
    await till.idle()
    assert sorted(caller.messages[0].status for caller in callers) == [200, 402]
    assert about(till.credit(), 59)


@virtual_time
async def test_two_jobs_at_once_share_the_credit_and_each_begins_with_a_minute() -> None:
    till = Till(rules=TicketRules(value=PRICE))
    till.network.reply = None
    first = till.caller(job(await till.paid(130)))
    await till.settle()
    second = till.caller(job())
    await till.settle()
    third = await till.asked(job())
    assert refusal_of(third) == (402, "credit_short"), "two minutes are kept for those that run"
    assert len(till.sessions) == 2
    token = await till.token()
    assert about(Fraction(token.balance), 10)
    await asyncio.sleep(10.5)
    assert about(till.credit(), 130 - 20)
    for end in till.network.ends:
        end.say(answer(b"made"))
    await till.idle()
    assert [caller.messages[0].status for caller in (first, second)] == [200, 200]
    assert about(till.credit(), 130 - 22)


@virtual_time
async def test_what_only_the_node_knows_is_not_asked_of_payers() -> None:
    till = Till(before=[NodeToken(RouteSecrets("11" * 32, 3600.0), direct=False)])
    assert (await till.served(job(await till.paid(60)))).messages[0].status == 200


@virtual_time
async def test_who_signs_and_who_pays_are_one() -> None:
    till = Till(before=[SignedJob(SignedJobOptions())])
    assert (await till.served(job(await till.paid(60)))).messages[0].status == 200


@virtual_time
async def test_payers_and_capabilities_have_credit_of_their_own() -> None:
    till = Till()
    await till.served(job(await till.paid(60)))
    assert till.credit(OTHER) == 0
    assert refusal_of(await till.served(job(livepeer=job_header(OTHER)))) == (402, "credit_short")


@virtual_time
async def test_who_pays_must_be_who_asks() -> None:
    till = Till()
    payment = await till.paid(60, OTHER)
    assert refusal_of(await till.served(job(payment))) == (403, "sender_differs")
    assert till.credit() == till.credit(OTHER) == 0


@virtual_time
async def test_terms_of_one_capability_are_worth_nothing_for_another() -> None:
    other = a_model(KEY._replace(model_id="org/two"), price=Price(Fraction(PRICE)))
    till = Till(PAID, other)
    payment = await till.paid(60, work="image/org/two")
    assert refusal_of(await till.served(job(payment))) == (402, "commitment_differs")


@virtual_time
async def test_a_price_that_was_quoted_is_honoured_while_the_terms_are() -> None:
    till = Till()
    payment = await till.paid(60)
    dear = replace(PAID, price=Price(Fraction(10 * PRICE)))
    till.models = {KEY: dear}
    assert (await till.served(job(payment))).messages[0].status == 200
    assert about(till.credit(), 59)
    assert refusal_of(await till.served(job())) == (402, "credit_short"), "without terms it is the price of now"


@virtual_time
async def test_the_price_of_now_counts_where_it_is_lower_than_the_quoted_one() -> None:
    till = Till()
    payment = await till.paid(60)
    till.models = {KEY: replace(PAID, price=Price(Fraction(PRICE, 2)))}
    await till.served(job(payment))
    assert about(till.credit(), 59.5)


class Cheap(JobHook):
    """Sells at half the price."""

    def identify(self, job: Job) -> Waits:
        job.set_price(Fraction(PRICE, 2))
        return None


@virtual_time
async def test_a_hook_may_set_the_price() -> None:
    till = Till(before=[Cheap(HookOptions())])
    await till.served(job(await till.paid(60)))
    assert about(till.credit(), 59.5)


@virtual_time
async def test_what_is_refused_after_the_slot_leaves_the_credit_and_charges_nothing() -> None:
    till = Till()
    till.ledger.broken = True
    payment = await till.paid(60)
    assert refusal_of(await till.served(job(payment))) == (503, "store_busy")
    assert till.table.active(KEY) == 0
    assert till.credit() == 0
    till.ledger.broken = False
    assert (await till.served(job(payment))).messages[0].status == 200, "its nonces are still free"


@virtual_time
async def test_a_job_that_the_runner_fails_is_charged_nothing_and_keeps_its_credit() -> None:
    till = Till()
    till.network.fails = ConnectionRefusedError(111, "refused")
    caller = await till.served(job(await till.paid(60)))
    assert caller.messages[0].status == 502
    assert about(till.credit(), 60)


@virtual_time
async def test_a_payer_who_does_not_wait_pays_for_the_time() -> None:
    till = Till()
    till.network.reply = None
    caller = till.caller(job(await till.paid(60)))
    await asyncio.sleep(3.5)
    caller.lose()
    await till.idle()
    assert about(till.credit(), 56)


@virtual_time
async def test_an_answer_that_begins_later_than_the_payer_waits_is_a_timeout_that_is_charged() -> None:
    till = Till()
    till.network.reply = None
    caller = till.caller(job(await till.paid(60), livepeer=job_header(timeout_s=7)))
    await asyncio.sleep(20)
    await till.idle()
    assert refusal_of(caller) == (504, "backend_timeout")
    assert b"its caller waits no longer for one to begin" in caller.messages[0].body
    assert about(till.credit(), 53) or about(till.credit(), 52)


@virtual_time
async def test_a_price_for_a_job_is_charged_once_and_given_back_if_no_answer_came() -> None:
    till = Till(a_model(price=Price(Fraction(PRICE), unit=PriceUnit.FIXED), max_sessions=2))
    till.network.reply = None
    caller = till.caller(job(await till.paid(2)))
    await asyncio.sleep(5)
    assert till.credit() == credited(till) - PRICE
    caller.lose()
    await till.idle()
    assert till.credit() == credited(till)
    caller = await till.served(job())
    assert caller.messages[0].status == 200
    assert till.credit() == credited(till) - PRICE


def credited(till: Till) -> Fraction:
    """Return what the payment was worth."""
    return till.chain.credit[0][1]


@virtual_time
async def test_a_full_model_and_one_that_cannot_start_take_nothing() -> None:
    till = Till(a_model(price=Price(Fraction(PRICE)), max_sessions=1))
    till.network.reply = None
    first = await till.asked(job(await till.paid(240)))
    assert (await till.token()).capacity == 0
    before = till.credit()
    payment = await till.paid(60)
    assert refusal_of(await till.asked(job(payment))) == (503, "capacity_exhausted")
    assert till.credit() == before
    till.network.end.say(answer(b"made"))
    await till.idle()
    assert first.messages[0].status == 200
    assert (await till.served(job(payment))).messages[0].status == 200, "its nonces are still free"


@virtual_time
async def test_a_payment_for_a_cold_model_is_taken_when_it_has_started() -> None:
    till = Till(is_open=False)
    till.network.reply = None
    till.cold()
    payment = await till.paid(60)
    caller = await till.asked(job(payment))
    assert till.credit() == 0
    till.open()
    await till.settle()
    await asyncio.sleep(0.5)
    till.network.end.say(answer(b"made"))
    await till.idle()
    assert caller.messages[0].status == 200
    assert about(till.credit(), 59)


@pytest.mark.parametrize(
    ("facts", "told", "expected"),
    [
        (ChainFacts(BLOCK + 40, ROUND, active=True), True, (503, "terms_expired")),
        (ChainFacts(BLOCK, ROUND + 2, active=True), True, (503, "round_passed")),
        (ChainFacts(BLOCK, ROUND, active=False), True, (503, "recipient_inactive")),
        (ChainFacts(BLOCK, ROUND, active=True), False, (503, "chain_unknown")),
    ],
)
@virtual_time
async def test_what_is_not_the_payer_s_fault_sends_it_elsewhere(
    facts: ChainFacts, told: bool, expected: tuple[int, str]
) -> None:
    till = Till()
    payment = await till.paid(60)
    till.chain.facts, till.chain.told = facts, told
    assert refusal_of(await till.served(job(payment))) == expected
    assert till.table.begun(KEY) == 0


@virtual_time
async def test_off_chain_only_free_work_is_done_unless_payers_are_trusted() -> None:
    till = Till(backed=False)
    assert refusal_of(await till.served(job(livepeer=job_header(None)))) == (503, "off_chain")
    trusting = Till(backed=False, trusting=True)
    with capture_logs() as logs:
        for _ in range(2):
            assert (await trusting.serve(job(livepeer=job_header(None)))).messages[0].status == 200
    assert [each["event"] for each in logs if each["log_level"] == "warning"] == ["gateway_will_crash"]
    assert (await trusting.serve(job())).messages[0].status == 200, "one that signs is checked, and served"
    other = {**json.loads(base64.b64decode(job_header(OTHER))), "sender": f"0x{PAYER.address.hex()}"}
    forged = base64.b64encode(json.dumps(other).encode()).decode()
    assert refusal_of(await trusting.serve(job(livepeer=forged))) == (400, "job_signature")


@virtual_time
async def test_on_chain_nobody_may_leave_the_signature_out() -> None:
    till = Till()
    assert refusal_of(await till.served(job(livepeer=job_header(None)))) == (400, "job_signature")

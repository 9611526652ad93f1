"""What no recording shows of the gateway, as byoc.md 7 and payments.md 8 tell it."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from orchd.tickets.validation.payment import read_payment
from tests.doubles.gateway.credentials import ANSWER_S, SEARCH_S
from tests.doubles.gateway.kit import (
    FUNDED,
    GW,
    RICH,
    S2,
    TERMS,
    TOKEN,
    Answering,
    Orchestrator,
    done,
    drop,
    gateway_before,
)
from tests.doubles.gateway.purse import MAX_TICKETS, CannotPay, Funds
from tests.doubles.gateway.tokens import Token, read_token
from tests.doubles.shared.recordings import eventually
from tests.tickets.validation.sender import checksummed

PRICE = 2525000


def token(**said: Any) -> Token:
    return read_token(json.dumps(TOKEN | said))


def refuses(status: int) -> Answering:
    return lambda _request: web.Response(status=status, text="no")


# Whom it asks, and whom it takes.


async def test_it_asks_all_and_takes_whoever_answers_first() -> None:
    late, quick = Orchestrator(late=asyncio.Event()), Orchestrator()
    async with gateway_before(late, quick) as before:
        running = asyncio.get_running_loop().create_task(before.job())
        await eventually(lambda: len(late.asked) == len(quick.asked) == 1, "both are asked")
        assert not running.done()
        assert late.late is not None
        late.late.set()
        assert (await running).header("X-Orchestrator-Url") == quick.url


async def test_who_answers_late_is_not_waited_for() -> None:
    assert ANSWER_S < SEARCH_S
    late, quick = Orchestrator(late=asyncio.Event()), Orchestrator()
    async with gateway_before(late, quick) as before:
        running = asyncio.get_running_loop().create_task(before.job())
        await eventually(lambda: len(late.asked) == len(quick.asked) == 1, "both are asked")
        await eventually(lambda: before.clock.next_timer() is not None, "it waits")
        await before.clock.advance(ANSWER_S)
        assert (await running).header("X-Orchestrator-Url") == quick.url


@pytest.mark.parametrize("said", [TOKEN | {"available_capacity": 0}, {"price": 7}, 400])
async def test_who_has_no_slot_or_no_token_is_passed_over(said: Any) -> None:
    full, free = Orchestrator(said), Orchestrator()
    async with gateway_before(full, free) as before:
        assert (await before.job()).text == "done"
        assert full.jobs == []


async def test_nobody_is_an_error_of_the_caller() -> None:
    async with gateway_before(Orchestrator(503)) as before:
        answer = await before.job(capability="a/b")
        assert (answer.status, answer.text) == (400, "No orchestrators found for capability a/b\n")


# What is tried elsewhere.


@pytest.mark.parametrize("failing", [refuses(500), refuses(503), drop])
async def test_a_5xx_and_a_dropped_connection_are_tried_elsewhere(failing: Answering) -> None:
    tried: list[web.Request] = []

    def first_fails(request: web.Request) -> web.StreamResponse:
        tried.append(request)
        return failing(request) if len(tried) == 1 else done(request)

    async with gateway_before(*(Orchestrator(answering=first_fails) for _ in range(2))) as before:
        assert (await before.job()).text == "done"
    assert len({request.host for request in tried}) == 2
    assert all("Livepeer-Payment" in request.headers for request in tried)


@pytest.mark.parametrize("status", [400, 402, 403, 429, 480])
async def test_a_4xx_is_the_last_word(status: int) -> None:
    first, second = Orchestrator(answering=refuses(status)), Orchestrator(answering=refuses(status))
    async with gateway_before(first, second) as before:
        answer = await before.job()
        assert (answer.status, answer.text) == (status, "no\n")
        assert len(first.jobs) + len(second.jobs) == 1


async def test_when_all_were_tried_the_caller_gets_200_and_nothing() -> None:
    async with gateway_before(*(Orchestrator(answering=refuses(503)) for _ in range(3))) as before:
        answer = await before.job()
        assert (answer.status, answer.body) == (200, b"")
        assert before.gateway.log == ["503: no"] * 3


async def test_a_job_whose_answer_does_not_begin_in_time_is_tried_elsewhere() -> None:
    hung = asyncio.Event()

    async with gateway_before(Orchestrator(answering=_never(hung))) as before:
        running = asyncio.get_running_loop().create_task(before.job(timeout_seconds=3))
        await asyncio.wait_for(hung.wait(), 60)
        await before.clock.advance(8)
        assert (await running).body == b""
        assert "context canceled" in before.gateway.log[0]


def _never(hung: asyncio.Event) -> Answering:
    class Never(web.StreamResponse):
        async def prepare(self, request: web.BaseRequest) -> Any:
            hung.set()
            await asyncio.Event().wait()

    return lambda _request: Never()


# What callers must say.


@pytest.mark.parametrize(
    ("livepeer", "said"),
    [
        ("{", "Unable to parse job request"),
        ('{"request": "{}", "parameters": "{}", "timeout_seconds": "1"}', "Unable to parse job request"),
        ('{"parameters": "{}"}', "Unable to unmarshal job request err=unexpected end of JSON input"),
        ('{"request": "7", "parameters": "{}"}', "Unable to unmarshal job request"),
        ('{"request": "{}", "parameters": "[]"}', "Unable to unmarshal job parameters"),
    ],
)
async def test_a_job_that_cannot_be_read_is_refused_before_anybody_is_asked(livepeer: str, said: str) -> None:
    orchestrator = Orchestrator()
    async with gateway_before(orchestrator) as before:
        answer = await before.sent(livepeer)
        assert answer.status == 400
        assert answer.text.startswith(said)
        assert orchestrator.asked == []


# Payment.


def test_nothing_is_paid_while_the_balance_covers_two_minutes() -> None:
    assert RICH.payment(token(balance=120 * PRICE), 60, FUNDED) is None
    assert RICH.payment(token(balance=120 * PRICE - 1), 60, FUNDED) is not None


@pytest.mark.parametrize(("price", "tickets"), [(1, 1), (8 * 10**9 // 60 + 1, 2), (10**12, MAX_TICKETS)])
def test_tickets_cover_the_timeout_and_are_numbered_from_1(price: int, tickets: int) -> None:
    paid = RICH.payment(token(price={"pricePerUnit": price, "pixelsPerUnit": 1}), 60, FUNDED)
    assert paid is not None
    sent = read_payment(paid.encode())
    assert [ticket.sender_nonce for ticket in sent.tickets] == list(range(1, tickets + 1))


ALWAYS = base64.b64encode(b"\xff" * 32).decode()


@pytest.mark.parametrize(
    ("terms", "funds", "why"),
    [
        ({}, replace(FUNDED, l1_block=645), "expired"),
        ({"expiration_block": ""}, FUNDED, "expired"),
        ({}, replace(FUNDED, deposit=0), "no sender deposit"),
        ({}, replace(FUNDED, reserve=0), "no sender deposit or reserve"),
        ({}, replace(FUNDED, withdraw_round=4), "unlock soon"),
        ({"win_prob": ALWAYS, "face_value": "AQ=="}, FUNDED, "ticket EV 1.00000 >= faceValue 1"),
    ],
)
def test_terms_outside_of_its_limits_are_not_paid_on(terms: dict[str, str], funds: Funds, why: str) -> None:
    with pytest.raises(CannotPay, match=why):
        RICH.payment(token(ticket_params=TERMS | terms), 60, funds)


def test_the_last_block_in_which_terms_are_paid_on() -> None:
    assert RICH.payment(token(), 60, replace(FUNDED, l1_block=644)) is not None


def test_terms_worth_nothing_are_taken_whatever_their_expiry() -> None:
    params = TERMS | {"face_value": "", "expiration_block": ""}
    paid = RICH.payment(token(ticket_params=params), 60, replace(FUNDED, deposit=0))
    assert paid is not None


@pytest.mark.parametrize("made", [None, {"creation_round": 9, "creation_round_block_hash": "AAAA"}])
def test_terms_without_a_round_get_the_gateway_s_own(made: Any) -> None:
    paid = RICH.payment(token(ticket_params=TERMS | {"expiration_params": made}), 60, FUNDED)
    assert paid is not None
    sent = read_payment(paid.encode())
    assert sent.terms is not None
    assert (sent.terms.creation_round, sent.terms.round_hash) == (FUNDED.round, FUNDED.round_hash)


async def test_a_free_job_carries_no_payment() -> None:
    orchestrator = Orchestrator(TOKEN | {"price": {"pixelsPerUnit": 1}})
    async with gateway_before(orchestrator) as before:
        assert (await before.job()).status == 200
        assert "Livepeer-Payment" not in orchestrator.jobs[0].headers


# Event streams.


def sse(*lines: str) -> Answering:
    headers = {"Content-Type": "text/event-stream", "Livepeer-Payment-Balance": "5"}
    return lambda _request: web.Response(text="".join(lines), headers=headers)


async def test_an_event_stream_ends_at_done_and_only_one_name_of_the_balance_is_read() -> None:
    orchestrator = Orchestrator(answering=sse("data: 1\r\n", "\n", "data: [DONE]\n", "data: 2\n"))
    async with gateway_before(orchestrator) as before:
        answer = await before.job()
        assert answer.text == "data: 1\n\ndata: [DONE]\n"
        assert answer.header("Livepeer-Balance") == ""
        assert answer.header("Livepeer-Payment-Balance") is None


async def test_an_event_stream_without_done_ends_with_the_orchestrator() -> None:
    async with gateway_before(Orchestrator(answering=sse("data: 1\n", "data: 2"))) as before:
        assert (await before.job()).text == "data: 1\ndata: 2\n"


# Off-chain.


async def test_off_chain_nobody_signs_with_two_characters_and_nothing_is_paid() -> None:
    orchestrator = Orchestrator(answering=sse("data: [DONE]\n"))
    async with gateway_before(orchestrator, purse=None) as before:
        assert (await before.job()).text == "data: [DONE]\n"
    shown = json.loads(base64.b64decode(orchestrator.asked[0].headers["Livepeer-Eth-Address"]))
    assert shown == {"addr": "0x" + "0" * 40, "sig": "0x"}
    signed = json.loads(base64.b64decode(orchestrator.jobs[0].headers["Livepeer"]))
    assert (signed["sender"], signed["sig"]) == ("0x" + "0" * 40, "0x")
    assert "Livepeer-Payment" not in orchestrator.jobs[0].headers


async def test_off_chain_it_crashes_once_another_job_is_done() -> None:
    orchestrator = Orchestrator()
    async with gateway_before(orchestrator, purse=None) as before:
        assert (await before.job()).status == 0
        assert len(orchestrator.jobs) == 1


@pytest.mark.parametrize("purse", [RICH, None])
async def test_a_token_without_terms_crashes_it(purse: Any) -> None:
    orchestrator = Orchestrator({"price": {"pixelsPerUnit": 1}, "available_capacity": 1})
    async with gateway_before(orchestrator, purse=purse) as before:
        assert (await before.job()).status == 0
        assert orchestrator.jobs == []


def test_an_address_is_written_with_its_checksum() -> None:
    assert checksummed(GW.address) == "0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F"
    assert checksummed(S2.address) == "0xb595B18c88b1f651cA387489067f855b5C8E6720"

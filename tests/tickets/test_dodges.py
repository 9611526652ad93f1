"""What payers may try in order to have work for nothing, or at somebody else's cost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from fractions import Fraction

import pytest

from orchd.domain.money import Price, PriceUnit
from orchd.tickets.validation.payment import read_terms
from tests.jobs.model import KEY, a_model
from tests.relay.transport import FakeTransport
from tests.tickets.till import PAID, PRICE, Till, job, job_header, paid_on, refusal_of
from tests.tickets.validation.made import PAYER
from tests.tickets.validation.sender import Signer, header
from tests.virtual_time import virtual_time

PATIENT = job_header(timeout_s=600)
CHUNKED = (b"Content-Length: 2\r\n", b"Transfer-Encoding: chunked\r\n")


async def trickle(caller: FakeTransport) -> None:
    """Send a byte each second, until that is too slow."""
    for _ in range(60):
        await asyncio.sleep(1)
        caller.say(b"1\r\nx\r\n")


async def stop(caller: FakeTransport) -> None:
    await asyncio.sleep(60)


async def garble(caller: FakeTransport) -> None:
    await asyncio.sleep(5)
    caller.say(b"no chunk\r\n")


async def flood(caller: FakeTransport) -> None:
    """Send more than the model takes."""
    await asyncio.sleep(5)
    caller.say(b"100001\r\n" + b"x" * 0x100001)


@pytest.mark.parametrize(
    ("dodge", "code"),
    [(trickle, "body_too_slow"), (stop, "body_stalled"), (garble, "bad_request"), (flood, "body_too_large")],
)
@virtual_time
async def test_a_slot_that_is_held_by_a_body_that_never_ends_is_paid_for(
    dodge: Callable[[FakeTransport], Awaitable[None]], code: str
) -> None:
    till = Till(replace(PAID, inference=replace(PAID.inference, max_body_mb=1)))
    till.network.reply = None
    request = job(await till.paid(60), livepeer=PATIENT).replace(*CHUNKED).removesuffix(b"{}")
    caller = till.caller(request)
    await dodge(caller)
    await till.idle()
    assert refusal_of(caller)[1] == code
    credited = till.chain.credit[0][1]
    assert credited - till.credit() >= 5 * PRICE
    assert (credited - till.credit()) % PRICE == 0


@virtual_time
async def test_terms_for_what_is_not_sold_are_not_good_for_it_once_it_is() -> None:
    till = Till()
    models, till.models = till.models, {}
    token = await till.token()
    assert token.price.price_per_unit == 0
    till.models = models
    assert token.params is not None
    free = PAYER.payment(read_terms(token.params, None), [1], Fraction(0))
    assert refusal_of(await till.served(job(header(free).decode()))) == (402, "commitment_differs")
    assert till.table.begun(KEY) == 0


@pytest.mark.parametrize(("quoted", "now"), [(PriceUnit.SECOND, PriceUnit.FIXED), (PriceUnit.FIXED, PriceUnit.SECOND)])
@virtual_time
async def test_a_price_per_second_is_no_price_per_job_nor_the_other_way_round(
    quoted: PriceUnit, now: PriceUnit
) -> None:
    till = Till(a_model(price=Price(Fraction(PRICE), unit=quoted)))
    payment = await till.paid(60)
    till.models = {KEY: a_model(price=Price(Fraction(1000 * PRICE), unit=now))}
    assert refusal_of(await till.served(job(payment))) == (402, "commitment_differs")
    assert till.credit() == 0


@virtual_time
async def test_payers_who_were_given_no_terms_cost_no_question_to_the_chain() -> None:
    till = Till()
    token = await till.token()
    till.chain.asked.clear()
    for number in range(1, 5):
        made_up = Signer(bytes((number,)) * 32)
        payment = paid_on(token, 60, made_up)
        caller = await till.served(job(payment, livepeer=job_header(made_up)))
        assert refusal_of(caller) == (402, "commitment_differs")
    assert till.chain.asked == []


@virtual_time
async def test_whenever_a_payer_leaves_nothing_is_left_of_its_job() -> None:
    for turns in range(40):
        till = Till()
        till.network.reply = None
        caller = till.caller(job(await till.paid(60)))
        for _ in range(turns):
            await asyncio.sleep(0)
        caller.lose()
        await till.idle()
        await till.settle()
        assert till.ledger.running == {}, turns
        assert len(till.sessions) == 0, turns
        credited = till.chain.credit[0][1] if till.chain.credit else Fraction(0)
        assert credited - till.credit() in (0, PRICE), turns
    assert credited, "the last one was under way"

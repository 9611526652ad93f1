"""The page's example, digit by digit, and what of the two signers no recording shows."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import pytest
from aiohttp import web

from orchd.tasks import spawn
from orchd.tickets.validation.payment import read_payment
from orchd.tickets.validation.segments import check_segment, read_segment
from tests.doubles.shared import caller
from tests.doubles.shared.go_http import application
from tests.doubles.shared.listener import Listener
from tests.doubles.signer.asked import Refused
from tests.doubles.signer.kit import FUNDED, MANIFEST, PAYER, PRICE, TERMS, Client, challenge, signer_of
from tests.doubles.signer.paying import Limits
from tests.doubles.signer.rules import GO_LIVEPEER, LIVEPEER_NODE, Rules

BOTH = pytest.mark.parametrize("rules", [GO_LIVEPEER, LIVEPEER_NODE], ids=["go-livepeer", "node"])


def nonces(client: Client) -> list[int]:
    return [ticket.sender_nonce for ticket in read_payment(client.made["payment"].encode()).tickets]


def balance(client: Client) -> int:
    return round(Fraction(client.remembered()["Balance"]))


@BOTH
async def test_the_example_of_the_protocol_page_digit_by_digit(rules: Rules) -> None:
    ceiling = {"price": 84333333334.008, "currency": "wei", "unit": "seconds"}
    async with signer_of(rules) as client:
        assert (await client.ask(maxPrice=ceiling)).status == 200
        assert (nonces(client), balance(client)) == ([1, 2, 3, 4, 5], 166_666_666_660)
        await client.clock.advance(3.01)
        assert (await client.ask(maxPrice=ceiling)).status == 200
        assert (nonces(client), balance(client)) == ([6], 33_333_333_324)
        await client.clock.advance(3.01)
        assert (await client.ask(maxPrice=ceiling)).status == 200
        assert (nonces(client), balance(client)) == ([7, 8], 99_999_999_988)


@BOTH
async def test_a_payment_passes_our_own_checks(rules: Rules) -> None:
    async with signer_of(rules) as client:
        await client.ask()
        payment = read_payment(client.made["payment"].encode())
        segment = read_segment(client.made["segCreds"].encode())
    assert (payment.terms, payment.sender, segment.manifest) == (TERMS, PAYER.address, MANIFEST)
    check_segment(segment, PAYER.address)


@BOTH
async def test_new_terms_begin_with_nonce_one_and_keep_the_balance(rules: Rules) -> None:
    async with signer_of(rules) as client:
        await client.ask()
        await client.clock.advance(3.01)
        await client.ask(orchestrator=challenge(replace(TERMS, commitment=b"\x55" * 32)))
        assert (nonces(client), balance(client)) == ([1], 33_333_333_324)


@BOTH
async def test_terms_that_expire_in_the_next_block_have_to_be_refreshed(rules: Rules) -> None:
    funds = replace(FUNDED, l1_block=TERMS.expiration_block - 1)
    async with signer_of(rules, funds) as client:
        got = await client.ask()
    assert (got.status, got.header("Livepeer-Orchestrator-URL")) == (480, "https://r.example:8935")


@BOTH
async def test_nothing_is_paid_while_the_balance_covers_what_is_due(rules: Rules) -> None:
    dear = challenge(replace(TERMS, face_value=5 * 10**12))
    async with signer_of(rules, limits=Limits(ticket_value=3 * 10**12)) as client:
        assert (await client.ask(orchestrator=dear)).status == 200
        before = client.state
        await client.clock.advance(3.01)
        # 1.67e12 are left; a ticket is worth 2.5e12, and is bought once less than that is left.
        assert (await client.ask(orchestrator=dear)).status == 200
        await client.clock.advance(3.01)
        assert (await client.ask(orchestrator=dear)).status == 482
        assert client.state != before


@BOTH
async def test_a_price_above_the_sessions_first_one_is_refused(rules: Rules) -> None:
    async with signer_of(rules) as client:
        await client.ask()
        assert (await client.ask(orchestrator=challenge(price=PRICE + 1))).status == 481


async def test_a_session_is_paid_after_an_hour_by_go_livepeer_s_signer_alone() -> None:
    found = []
    for rules in (GO_LIVEPEER, LIVEPEER_NODE):
        async with signer_of(rules, limits=Limits(batch_value=10**15)) as client:
            cheap = challenge(price=10**6)
            await client.ask(orchestrator=cheap)
            await client.clock.advance(3601)
            found.append((await client.ask(orchestrator=cheap)).status)
    assert found == [200, 400]


@BOTH
async def test_a_payer_that_is_about_to_withdraw_does_not_pay(rules: Rules) -> None:
    async with signer_of(rules, replace(FUNDED, withdraw_round=FUNDED.round + 1)) as client:
        assert (await client.ask()).status == 400


async def test_trouble_of_its_own_is_answered_until_it_is_over() -> None:
    async with signer_of() as client:
        client.signer.trouble = Refused(503, "busy")
        got = await client.ask()
        assert (got.status, got.text) == (503, '{"error":{"message":"busy"}}\n')
        client.signer.trouble = None
        assert (await client.ask()).status == 200
        assert client.signer.paid == [client.made]


async def test_a_signer_that_hangs_answers_once_it_goes_on() -> None:
    async with signer_of() as client:
        client.signer.faults.hang(True)
        asking = spawn(client.ask(), name="ask")
        await client.clock.settle()
        assert not asking.done()
        client.signer.faults.hang(False)
        assert (await asking).status == 200


async def test_livepeer_node_s_signer_lists_the_runners_of_its_receivers() -> None:
    runners = [{"url": "http://r/apps/a/session", "app": "a/b"}, {"url": "http://r/apps/c/session", "app": "c/d"}]

    async def discovery(_request: web.Request) -> web.Response:
        return web.json_response([{"address": "http://r", "runners": runners}])

    receiver = Listener("127.0.0.1:0")
    await receiver.open(application([web.get("/discovery", discovery)]), None)
    async with signer_of(receivers=(f"http://{receiver.address}",)) as client:
        got = await caller.call(client.signer.url, "GET", "/discover-orchestrators?app=a/b")
        none = await caller.call(client.signer.url, "GET", "/discover-orchestrators?app=e/f")
    await receiver.close()
    (listed,) = json.loads(got.text)
    assert (listed["address"], listed["score"], listed["runners"]) == ("http://r", 1, runners[:1])
    assert json.loads(none.text) == []

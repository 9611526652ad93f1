"""Jobs that pay for themselves, by a gateway before a real orchd, with TLS and a chain."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest

from tests.doubles.rpc.proxy import RpcFaults
from tests.e2e.conftest import Start
from tests.e2e.paid.chain import ETHER, PaidChain
from tests.e2e.paid.kit import (
    FREE,
    PAID,
    PRICE,
    TICKET,
    Payer,
    expiration_of,
    gateway_of,
    job_by,
    paid_settings,
    refusal,
    selling,
)
from tests.e2e.scripts import container


async def test_free_jobs_are_free_and_paid_ones_are_paid(make: Start, chain: PaidChain) -> None:
    async with selling(make, chain) as shop, gateway_of(chain, shop.url) as gateway:
        free = await job_by(gateway, FREE)
        assert free.status == 200
        assert free.header("X-Orchestrator-Url") == shop.url
        first = await job_by(gateway, PAID)
        assert first.status == 200, gateway.log
        assert gateway.paid[0] is None
        assert gateway.paid[1] is not None
        # A ticket is worth a hair more than it should be, and one second of work has begun.
        left = int(first.header("Livepeer-Balance") or "")
        assert TICKET - 5 * PRICE <= left <= TICKET
        seen = await shop.runner.seen(requests=2)
        assert {name.lower() for name, _ in seen["last"][-1]["headers"]}.isdisjoint({"livepeer", "livepeer-payment"})


async def test_who_pays_too_little_is_refused_and_keeps_his_credit(make: Start, chain: PaidChain) -> None:
    async with selling(make, chain, settings={"tickets.value": str(40 * PRICE)}) as shop:
        async with gateway_of(chain, shop.url) as gateway:
            short = await job_by(gateway, PAID, timeout_s=10)
            assert refusal(short) == (402, "credit_short")
            again = await job_by(gateway, PAID, timeout_s=10)
            assert again.status == 200
        assert (await shop.runner.seen())["requests"] == 1


async def test_600_tickets_in_one_header(make: Start, chain: PaidChain) -> None:
    async with selling(make, chain, settings={"tickets.value": str(PRICE // 10)}) as shop:
        async with gateway_of(chain, shop.url) as gateway:
            answer = await job_by(gateway, PAID, timeout_s=100)
        assert answer.status == 200
        assert len(gateway.paid[0] or "") > 50_000
        assert await shop.daemon.metric("orchd_tickets_total") == 600


async def test_a_payment_is_good_once_and_for_its_sender_alone(make: Start, chain: PaidChain) -> None:
    async with selling(make, chain) as shop:
        payer, thief = Payer(chain.gateway, shop.url), Payer(chain.other, shop.url)
        payment = payer.tickets(await payer.token(), [1])
        assert refusal(await thief.send(payment)) == (403, "sender_differs")
        assert (await payer.send(payment)).status == 200
        assert refusal(await payer.send(payment)) == (402, "nonce_seen")
        assert refusal(await payer.send("not base64!")) == (400, "payment_base64")
        assert (await shop.runner.seen())["requests"] == 1


async def test_terms_expire_with_the_chain(make: Start, chain: PaidChain) -> None:
    async with selling(make, chain) as shop:
        payer = Payer(chain.gateway, shop.url)
        token = await payer.token()
        await chain.mine(41)

        async def passed() -> bool:
            return expiration_of(await payer.token()) > expiration_of(token) + 40

        await shop.daemon.until("orchd has seen the blocks", passed)
        assert refusal(await payer.send(payer.tickets(token, [1]))) == (503, "terms_expired")
        assert (await payer.send(payer.tickets(await payer.token(), [1]))).status == 200


async def test_a_gateway_goes_on_to_the_next_orchestrator(make: Start, chain: PaidChain) -> None:
    async with selling(make, chain, "one") as one, selling(make, chain, "two") as two:
        for shop in (one, two):
            await shop.runner.script(job="/status/503")
        async with gateway_of(chain, one.url, two.url) as gateway:
            nothing = await job_by(gateway, PAID)
            assert (nothing.status, nothing.body) == (200, b"")
            assert [(await shop.runner.seen())["requests"] for shop in (one, two)] == [1, 1]
            await two.runner.script(job="/echo")
            answer = await job_by(gateway, PAID)
            assert answer.header("X-Orchestrator-Url") == two.url


async def test_an_event_stream_ends_with_the_credit_for_it(make: Start, chain: PaidChain) -> None:
    calm = {"chain.call_timeout_s": "600", "public.answer_timeout_s": "3600"}
    async with selling(make, chain, main=("tests.e2e.paid.hasty",), settings=calm) as shop:
        await shop.runner.script(job="/sse?n=0&interval=0.05")
        async with gateway_of(chain, shop.url) as gateway, asyncio.TaskGroup() as tasks:
            streaming = tasks.create_task(job_by(gateway, PAID))
            await shop.runner.seen(active=1)
            assert shop.daemon.process is not None
            shop.daemon.process.send_signal(signal.SIGWINCH)
        answer = streaming.result()
        assert answer.status == 200
        assert answer.text.endswith('event: insufficient balance\ndata: {"balance": 0}\n\ndata: [DONE]\n')
        await shop.runner.seen(cancelled=1)

        async def over() -> bool:
            return bool((await shop.daemon.status())["money"]["sessions"] == 0)

        await shop.daemon.until("nothing is charged any more", over)
        assert -2 * PRICE <= (await Payer(chain.gateway, shop.url).token()).balance <= 0


async def test_without_an_rpc_server_known_payers_go_on(make: Start, chain: PaidChain) -> None:
    async with selling(make, chain) as shop:
        known, unknown = Payer(chain.gateway, shop.url), Payer(chain.stranger, shop.url)
        token = await known.token()
        assert (await known.send(known.tickets(token, [1]))).status == 200
        chain.rpc.faults = RpcFaults(hang=True)
        assert (await known.send(known.tickets(token, [2]))).status == 200
        assert (await known.ask()).status == 200
        assert refusal(await unknown.ask()) == (503, "sender_unknown")
        chain.rpc.faults = RpcFaults()

        async def known_too() -> bool:
            return (await unknown.ask()).status == 200

        await shop.daemon.until("who was unknown gets terms again", known_too)


async def test_off_chain_event_streams_are_served(make: Start) -> None:
    async with selling(make, None) as shop, gateway_of(None, shop.url) as gateway:
        await shop.runner.script(job="/sse?n=3")
        answer = await job_by(gateway, FREE)
        assert answer.status == 200
        assert answer.text.endswith("data: [DONE]\n")
        assert shop.daemon.events("gateway_will_crash")
        assert (await job_by(gateway, PAID)).body == b"", "off chain nothing is sold that has a price"


async def test_a_container_is_paid_for(docked: Start, chain: PaidChain) -> None:
    settings = paid_settings(chain)
    daemon = docked(settings=settings)
    daemon.write(container(PAID, capability=PAID, price_per_unit=PRICE, price_unit="second"))
    async with daemon, gateway_of(chain, settings["public.url"]) as gateway:
        await daemon.until_state(PAID, "ready")
        answer = await job_by(gateway, PAID)
        assert answer.status == 200, gateway.log
        assert int(answer.header("Livepeer-Balance") or "") >= TICKET - 5 * PRICE


async def test_a_winner_that_was_kept_is_redeemed_by_the_contract(make: Start, chain: PaidChain) -> None:
    ticket = 4 * 10**16  # Most of what the payer's reserve covers, so that most tickets win.
    async with selling(make, chain, price=ticket // 60, settings={"tickets.value": str(ticket)}) as shop:
        payer = Payer(chain.gateway, shop.url)
        assert (await payer.send(payer.tickets(await payer.token(), range(1, 21)))).status == 200
        code, printed = await shop.daemon.command("tickets", "export", "--mark", *shop.daemon.flags("state_dir"))
        assert code == 0, printed
        winners = [json.loads(line) for line in printed.splitlines()]
        assert winners
        won = sum(int(winner["ticket"]["faceValue"]) for winner in winners)
        assert await shop.daemon.metric("orchd_tickets_won_eth_total") == pytest.approx(won / ETHER)
        await chain.local.next_round()
        for winner in winners[:2]:
            said = winner["ticket"]
            await chain.redeem(said, winner["sig"], int(winner["recipientRand"]))
        assert await chain.earned() == sum(int(winner["ticket"]["faceValue"]) for winner in winners[:2])

"""What happens to sessions and jobs: paid-live-runner.md 14, by number."""

from __future__ import annotations

import asyncio
import json

from orchd.tasks import spawn
from tests.doubles.shared.caller import Exchange
from tests.e2e.paid.chain import OTHER
from tests.e2e.paid.live_runner.cases import case, challenged, refused
from tests.e2e.paid.live_runner.inside import Shop
from tests.e2e.paid.live_runner.models import (
    FIXED,
    FIXED_JOB,
    FIXED_PRICE,
    LIVE,
    LIVE_JOB,
    PRICE,
    path_of,
)
from tests.e2e.paid.live_runner.payer import read_offer

LET_GO_S = 61.0
"""What a container was cut off from, and may still work at, holds its slot for `inference.timeout_s` at most."""


@case(20)
async def test_20_one_manifest_twice_at_once(shop: Shop) -> None:
    payer = shop.payer()
    offered = await payer.offer(path_of(LIVE))
    tickets = range(1, 6), range(6, 11)
    answers = await asyncio.gather(*(payer.send(path_of(LIVE), payer.pay(offered, each)) for each in tickets))
    assert sorted(answer.status for answer in answers) == [200, 409]
    assert (shop.tickets(), shop.active(LIVE)) == (5, 1)


@case(21)
async def test_21_two_payers_for_the_last_slot(shop: Shop) -> None:
    first, second = shop.payer(), shop.payer(OTHER)
    for _ in range(3):
        await first.begin(path_of(LIVE), seconds=30)
    taken = shop.tickets()
    both = [(each, await each.offer(path_of(LIVE))) for each in (first, second)]
    answers = await asyncio.gather(
        *(each.send(path_of(LIVE), each.pay(offered, range(1, 6))) for each, offered in both)
    )
    assert sorted(answer.status for answer in answers) == [200, 409]
    assert (shop.tickets(), shop.active(LIVE)) == (taken + 5, 4)
    won = 0 if answers[0].status == 200 else 1
    loser, offered = both[1 - won]
    session = json.loads(answers[won].text)
    assert (await first.call(f"{path_of(LIVE)}/{session['session_id']}/stop", body="")).status == 200
    await shop.until("the slot is free", lambda: shop.active(LIVE) < 4)
    assert (await loser.send(path_of(LIVE), loser.pay(offered, range(1, 6)))).status == 200


@case(22)
async def test_22_a_first_payment_that_falls_short(shop: Shop) -> None:
    payer = shop.payer()
    offered = await payer.offer(path_of(FIXED))
    count = offered.tickets_for(1)
    assert count > 1
    again = challenged(await payer.send(path_of(FIXED), payer.pay(offered, range(1, count))))
    assert again.manifest == offered.manifest
    assert again.terms.commitment != offered.terms.commitment
    assert (shop.tickets(), shop.active(FIXED)) == (count - 1, 0)
    assert (await payer.send(path_of(FIXED), payer.pay(again, [1]))).status == 200
    assert shop.credit(offered.manifest) == count * offered.terms.expected_value - FIXED_PRICE


@case(23)
async def test_23_top_ups_of_what_takes_none(shop: Shop) -> None:
    payer = shop.payer()
    fixed = await payer.begin(path_of(FIXED), seconds=1)
    live, other = await payer.begin(path_of(LIVE)), await payer.begin(path_of(LIVE))
    taken = shop.tickets()
    refused(await fixed.top_up(), 409)
    mixed = payer.pay(other.offered, [other.paid + 1])
    refused(await payer.top_up(live.offered, mixed), 403)
    assert (await live.stop()).status == 200
    refused(await live.top_up(), 404)
    assert shop.tickets() == taken
    assert (await payer.top_up(other.offered, mixed)).status == 200


@case(24)
async def test_24_refreshes_of_others(shop: Shop) -> None:
    session = await shop.payer().begin(path_of(LIVE))
    refused(await shop.payer(OTHER).refresh(session.offered.manifest), 404)
    refused(await session.payer.refresh("session_aaaaaaaaaaaaaaaa"), 404)
    refreshed = await session.payer.refresh(session.offered.manifest)
    assert refreshed.status == 200
    again = read_offer(refreshed)
    assert (again.manifest, again.price) == (session.offered.manifest, session.offered.price)
    assert again.terms.commitment != session.offered.terms.commitment


@case(25)
async def test_25_a_second_that_is_not_covered(shop: Shop) -> None:
    session = await shop.payer().begin(path_of(LIVE))
    covered = session.paid * session.offered.terms.expected_value // PRICE
    streaming = spawn(session.app("/sse?n=0&interval=0.2"), name="stream")
    await asyncio.sleep(covered - 0.5)
    assert shop.active(LIVE) == 1
    answer = await streaming
    assert answer.broken_off
    assert (await session.app()).status == 404
    await shop.until("its slot is free", lambda: not shop.active(LIVE), bound_s=LET_GO_S)
    assert shop.container.counts["cancelled"] == 1
    assert shop.credit(session.offered.manifest) < PRICE


@case(26)
async def test_26_a_client_that_leaves_its_job(shop: Shop) -> None:
    payer = shop.payer()
    offered = await payer.offer(path_of(LIVE_JOB))
    paying = payer.pay(offered, range(1, offered.tickets_for(30) + 1))
    leaving = Exchange(shop.url, "orchd")
    headers = {"Livepeer-Payer-Address": payer.address, **paying.headers, "X-Do": "/hang"}
    job = spawn(leaving.send("POST", path_of(LIVE_JOB), headers, b"{}"), name="leave")
    await shop.until("it runs", lambda: shop.container.counts["active"])
    await asyncio.sleep(3.5)
    leaving.hang_up()
    await job
    await shop.until("the slot is free", lambda: not shop.active(LIVE_JOB))
    assert shop.container.counts["cancelled"] == 1
    spent = shop.tickets() * offered.terms.expected_value - shop.credit(offered.manifest)
    assert spent in (3 * PRICE, 4 * PRICE)
    refused(await payer.top_up(offered, payer.pay(offered, [99])), 404)


@case(31)
async def test_31_a_container_that_speaks_of_payment(shop: Shop) -> None:
    session = await shop.payer().begin(path_of(LIVE))
    for status in (402, 480, 482):
        assert (await session.app(f"/status/{status}")).status == 502
    offered = await session.payer.offer(path_of(FIXED_JOB))
    paying = session.payer.pay(offered, range(1, offered.tickets_for(1) + 1))
    assert (await session.payer.send(path_of(FIXED_JOB), paying, **{"X-Do": "/status/402"})).status == 502


@case(35, health={"interval_s": 1, "failures": 1})
async def test_35_a_top_up_while_the_container_is_not_ready(shop: Shop) -> None:
    session = await shop.payer().begin(path_of(LIVE), seconds=30)
    await shop.container_fails()
    had = shop.credit(session.offered.manifest)
    await asyncio.sleep(10)
    assert (await session.top_up()).status == 200
    worth = session.offered.terms.expected_value
    assert had + worth - PRICE <= shop.credit(session.offered.manifest) <= had + worth


@case(37)
async def test_37_a_session_that_nobody_uses(shop: Shop) -> None:
    session = await shop.payer().begin(path_of(LIVE), seconds=100)
    await asyncio.sleep(55)
    assert shop.active(LIVE) == 1
    await asyncio.sleep(10)
    assert shop.active(LIVE) == 0
    assert shop.credit(session.offered.manifest) > 30 * PRICE
    assert (await session.app()).status == 404


@case(38)
async def test_38_a_client_that_leaves_before_the_answer(shop: Shop) -> None:
    payer = shop.payer()
    offered = await payer.offer(path_of(LIVE))
    paying = payer.pay(offered, range(1, 6))
    leaving = Exchange(shop.url, "orchd")
    headers = {"Livepeer-Payer-Address": payer.address, **paying.headers}
    reserving = spawn(leaving.send("POST", path_of(LIVE), headers, b"{}"), name="leave")
    while not shop.logged("payment_taken"):  # noqa: ASYNC110 - no time may pass
        await asyncio.sleep(0)
    leaving.hang_up()
    await reserving
    await shop.until("the slot is free", lambda: not shop.active(LIVE), bound_s=10)
    assert shop.credit(offered.manifest) > 0
    assert (await payer.send(path_of(LIVE), payer.pay(offered, [6]))).status == 200


@case(39)
async def test_39_stops_of_what_is_over(shop: Shop) -> None:
    session = await shop.payer().begin(path_of(LIVE))
    for _ in range(2):
        assert (await session.stop()).status == 200
    await shop.kill()
    await shop.start()
    assert (await session.stop()).status == 200
    refused(await session.payer.call(f"{path_of(LIVE)}/session_aaaaaaaaaaaaaaaa/stop", body=""), 404)


@case(40)
async def test_40_nonces_with_gaps(shop: Shop) -> None:
    session = await shop.payer().begin(path_of(LIVE))
    for nonce in (599, 300, session.paid + 7):
        answer = await session.payer.top_up(session.offered, session.payer.pay(session.offered, [nonce]))
        assert answer.status == 200, answer.text

"""What goes wrong with the chain, the store and the clock: paid-live-runner.md 14, by number."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3

from orchd.tickets.ledger.part import LedgerPart
from orchd.tickets.ledger.read import KeptLedger
from orchd.tickets.validation.messages import ExpirationParams
from tests.e2e.paid.chain import STRANGER
from tests.e2e.paid.live_runner.cases import case, challenged, each_refused, nothing_kept, refused
from tests.e2e.paid.live_runner.inside import Shop
from tests.e2e.paid.live_runner.models import (
    LIVE,
    PRICE,
    path_of,
)
from tests.e2e.paid.live_runner.payer import Paying, read_offer


@case(15, session_idle_s=3600)
async def test_15_terms_at_their_expiry_block(shop: Shop) -> None:
    session = await shop.payer().begin(path_of(LIVE), seconds=200)
    payer = session.payer
    late = await payer.offer(path_of(LIVE))
    shop.chain.l1_block = late.terms.expiration_block
    await shop.sees_the_chain()
    assert challenged(await payer.send(path_of(LIVE), payer.pay(late, range(1, 6)))).manifest != late.manifest
    taken = shop.tickets()
    refused(await session.top_up(), 503)
    shop.chain.l1_block -= 30
    await shop.sees_the_chain()
    refused(await session.top_up(), 503)
    assert (shop.tickets(), shop.active(LIVE)) == (taken, 1)


@case(16, session_idle_s=3600)
async def test_16_terms_of_a_round_that_is_long_over(shop: Shop) -> None:
    session = await shop.payer().begin(path_of(LIVE), seconds=200)
    payer = session.payer
    old = await payer.offer(path_of(LIVE))
    shop.new_round()
    await shop.sees_the_chain()
    assert (await session.top_up()).status == 200, "terms of the former round are good"
    shop.new_round()
    await shop.sees_the_chain()
    challenged(await payer.send(path_of(LIVE), payer.pay(old, range(1, 6))))
    refused(await session.top_up(), 503)


@case(16, session_idle_s=3600)
async def test_16_a_round_without_a_hash(shop: Shop) -> None:
    def wrong(good: Paying) -> dict[str, Paying]:
        zero = ExpirationParams(shop.chain.round, bytes(32))
        return {"zeros": good.with_terms(expiration_params=zero).changed(expiration_params=zero)}

    await each_refused(shop, wrong, 403)


@case(17)
async def test_17_payers_whose_tickets_are_worth_nothing(shop: Shop) -> None:
    poor = shop.payer(STRANGER)
    its = shop.fund(STRANGER)
    offered = await poor.offer(path_of(LIVE))
    for what, wei in {"deposit": its.deposit, "reserve": its.reserve}.items():
        setattr(its, what, 0)
        await shop.sees_the_chain()
        refused(await poor.send(path_of(LIVE), poor.pay(offered, range(1, 6))), 400)
        reason = shop.logged("job_done")[-1]["reason"]
        assert reason == f"cannot be paid by {poor.address.lower()}: it has no deposit or no reserve"
        setattr(its, what, wei)
    its.withdraw_round = shop.chain.round + 1
    await shop.sees_the_chain()
    refused(await poor.send(path_of(LIVE), poor.pay(offered, range(1, 6))), 400)
    its.withdraw_round = 0
    await shop.sees_the_chain()
    fresh = await poor.offer(path_of(LIVE))
    await nothing_kept(shop, poor, poor.pay(fresh, range(1, 6)))


@case(18, session_idle_s=3600)
async def test_18_an_orchestrator_that_is_not_active(shop: Shop) -> None:
    session = await shop.payer().begin(path_of(LIVE), seconds=200)
    shop.chain.active = False
    await shop.sees_the_chain()
    refused(await session.payer.ask(path_of(LIVE)), 503)


@case(19, session_idle_s=3600)
async def test_19_no_rpc_server_answers(shop: Shop) -> None:
    payer, unknown = shop.payer(), shop.payer(STRANGER)
    session = await payer.begin(path_of(LIVE), seconds=200)
    offered = await payer.offer(path_of(LIVE))
    shop.rpc.hangs = True
    await asyncio.sleep(30)
    assert (await session.top_up()).status == 200
    refresh = await payer.refresh(session.offered.manifest)
    assert refresh.status == 200, refresh.text
    for asked in (payer.ask(path_of(LIVE)), unknown.ask(path_of(LIVE))):
        refused(await shop.within_3_s(asked), 503)
    refused(await shop.within_3_s(payer.send(path_of(LIVE), payer.pay(offered, range(1, 6)))), 503)
    shop.rpc.hangs = False
    await shop.sees_the_chain()
    assert (await payer.send(path_of(LIVE), payer.pay(offered, range(1, 6)))).status == 200


@case(27)
async def test_27_a_store_that_takes_nothing(shop: Shop) -> None:
    session = await shop.payer().begin(path_of(LIVE))
    payer, taken = session.payer, shop.tickets()
    offered = await payer.offer(path_of(LIVE))
    with shop.full_disk():
        refused(await payer.send(path_of(LIVE), payer.pay(offered, range(1, 6))), 503)
        refused(await session.top_up(), 503)
        assert (shop.tickets(), shop.active(LIVE)) == (taken, 1)
    assert (await payer.send(path_of(LIVE), payer.pay(offered, range(1, 6)))).status == 200
    assert (await session.top_up()).status == 200


@case(28, {"tickets": {"max_face_value": 5 * PRICE, "redeem_gas": 21_000}})
async def test_28_terms_whose_number_is_out(shop: Shop) -> None:
    assert shop.app is not None
    payer, ledger = shop.payer(), shop.app.part(LedgerPart).ledger
    session = await payer.begin(path_of(LIVE), seconds=60)
    offered = session.offered
    other = await payer.offer(path_of(LIVE))
    winners = [*KeptLedger(shop.folder / "state").owed_winners()]
    assert winners, "a ticket wins as often as not"
    await ledger.exported([each.hash for each in winners])
    taken = shop.tickets()
    refused(await session.top_up(), 503)
    on_those_terms = payer.pay(offered, range(90, 95), manifest=other.manifest).with_segment(auth_token=other.auth)
    assert challenged(await payer.send(path_of(LIVE), on_those_terms)).terms.commitment != offered.terms.commitment
    assert (shop.tickets(), shop.active(LIVE)) == (taken, 1)


@case(29)
async def test_29_the_machines_clock_is_set(shop: Shop) -> None:
    session = await shop.payer().begin(path_of(LIVE), seconds=60)
    had = shop.credit(session.offered.manifest)
    for step in (3600, -7200):
        shop.step_clock(step)
        await asyncio.sleep(5)
    assert (await session.app()).status == 200
    assert 9 * PRICE <= had - shop.credit(session.offered.manifest) <= 11 * PRICE


@case(30, {"public": {"address_burst": 40, "address_rate": 5}})
async def test_30_challenges_without_end(shop: Shop) -> None:
    payer = shop.payer()
    await payer.offer(path_of(LIVE))
    with contextlib.closing(sqlite3.connect(shop.folder / "state" / "orchd.db")) as database:
        [(before,)] = database.execute("PRAGMA data_version")
        asked = shop.rpc.requests
        answers = [await payer.ask(path_of(LIVE)) for _ in range(60)]
        [(after,)] = database.execute("PRAGMA data_version")
    assert {answer.status for answer in answers} == {402, 429}
    assert after == before, "a challenge writes nothing"
    assert shop.rpc.requests - asked <= 2, "the chain is read by the clock, and not for a request"
    assert len({read_offer(answer).manifest for answer in answers if answer.status == 402}) >= 30

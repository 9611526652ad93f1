"""A session as its client sees it: challenge, payment, top-ups, refresh, end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchd.hooks.refusal import Refusal
from tests.tickets.live_runner.counter import FIXED, LIVE, PRICE, SERVICE, SLUG, TICKET, a_counter, done, told
from tests.tickets.validation.made import PAYER, RECIPIENT


async def test_a_challenge_holds_what_clients_and_signers_insist_on(tmp_path: Path) -> None:
    async with a_counter(tmp_path) as counter:
        offer = await counter.challenge()
    assert offer.manifest.startswith("session_")
    assert len(offer.manifest) == len("session_") + 16
    assert offer.challenge == {
        "payment_params": offer.challenge["payment_params"],
        "orchestrator": SERVICE,
        "manifest_id": offer.manifest,
        "payment_url": f"{SERVICE}/apps/{SLUG}/session/{offer.manifest}/payment",
    }
    info = offer.info
    assert (info.transcoder, info.address, offer.terms.recipient) == (SERVICE, RECIPIENT, RECIPIENT)
    assert info.auth_token is not None
    assert info.auth_token.session_id == offer.manifest
    assert info.auth_token.expiration >= counter.now + 3600
    assert offer.price == PRICE


async def test_the_chain_hears_of_each_credit_and_what_changed_since_a_payment_was_read_counts(tmp_path: Path) -> None:
    async with a_counter(tmp_path) as counter:
        offer, late = await counter.challenge(), await counter.challenge()
        await counter.reserve(offer, [1, 2])
        await counter.top_up(offer, [3])
        one = counter.credit(offer.manifest) / 3
        assert counter.chain.credit == [(PAYER.address, 2 * one), (PAYER.address, one)]
        job = counter.job(payer=PAYER, **counter.paid(late, [1]))
        await done(counter.hook.identify(job))
        counter.sold.begin(late.manifest, LIVE.key, job.account_id, payer=job.payer)
        facts = counter.chain.payers[PAYER.address]
        counter.chain.payers[PAYER.address] = replace(facts, deposit=0)
        with pytest.raises(Refusal) as refused:
            await done(counter.hook.admit(job))
        assert told(refused.value) == (400, "sender_funds")
        assert counter.credit(late.manifest) == 0
        assert len(counter.chain.credit) == 2


async def test_a_session_is_paid_charged_topped_up_and_keeps_what_is_left(tmp_path: Path) -> None:
    async with a_counter(tmp_path) as counter:
        offer = await counter.challenge()
        at = await counter.reserve(offer)
        first = counter.credit(offer.manifest)
        assert round(first) == 5 * TICKET
        await counter.lives(at, 3.9)
        assert counter.credit(offer.manifest) == first - 3 * PRICE, "whole seconds"
        fresh = await counter.top_up(offer, [6])
        assert fresh.manifest == offer.manifest
        assert fresh.terms.commitment != offer.terms.commitment
        assert counter.sold.touched == [offer.manifest]
        again = await counter.refresh(offer.manifest)
        await counter.top_up(again, [1, 2])
        await counter.lives(at, 8.5)
        await counter.settle(at)
        left = counter.credit(offer.manifest)
        assert left == first * 8 / 5 - 8 * PRICE
        with pytest.raises(Refusal) as refused:
            await counter.top_up(again, [3])
        assert told(refused.value) == (404, "session_unknown")
        later = await counter.reserve(offer, [7])
        assert counter.credit(offer.manifest) == left + first / 5, "what was left counts, and the pause costs nothing"
        await counter.settle(later)
    async with a_counter(tmp_path) as counter:
        assert counter.credit(offer.manifest) == left + first / 5


@pytest.mark.parametrize(("tickets", "lived"), [(1, 3), (2, 5), (3, 8), (4, 10), (5, 12)])
async def test_a_session_ends_at_the_first_whole_second_that_is_not_covered(
    tmp_path: Path, tickets: int, lived: int
) -> None:
    async with a_counter(tmp_path) as counter:
        offer = await counter.challenge()
        at = await counter.reserve(offer, range(1, tickets + 1))
        with pytest.raises(Refusal) as refused:
            await counter.lives(at, 60)
        assert told(refused.value) == (402, "credit_gone")
        await counter.settle(at)
        assert counter.sold.served[offer.manifest] == lived
        assert 0 <= counter.credit(offer.manifest) < PRICE, "it is never a debt"


async def test_a_fixed_price_is_paid_once(tmp_path: Path) -> None:
    async with a_counter(tmp_path, FIXED) as counter:
        offer = await counter.challenge()
        at = await counter.reserve(offer, range(1, 7))
        await counter.lives(at, 600)
        with pytest.raises(Refusal) as refused:
            await counter.top_up(offer, [7])
        assert told(refused.value) == (409, "session_fixed")
        await counter.settle(at)
        assert 0 <= counter.credit(offer.manifest) < TICKET

"""What payers try to get for less than its price."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from orchd.domain.money import Price, PriceUnit
from orchd.hooks.refusal import Refusal
from orchd.tickets.live_runner.challenges import AUTH_VALID_S
from tests.jobs.model import KEY
from tests.tickets.live_runner.counter import FIXED, LIVE, PRICE, a_counter, done, healing
from tests.tickets.validation.made import PAYER


def at_price(wei: int, unit: PriceUnit = PriceUnit.SECOND) -> Price:
    return Price(Fraction(wei), unit=unit)


@pytest.mark.parametrize(
    "raised", [at_price(PRICE * 2), at_price(PRICE, PriceUnit.FIXED)], ids=["a higher price", "another unit"]
)
async def test_no_new_session_begins_at_a_former_price_once_no_challenge_of_it_holds(
    tmp_path: Path, raised: Price
) -> None:
    async with a_counter(tmp_path) as counter:
        offer = await counter.challenge()
        at = await counter.reserve(offer)
        counter.models[KEY] = replace(LIVE, price=raised)
        counter.now += AUTH_VALID_S - 1
        offer = await counter.refresh(offer.manifest)
        counter.now += 1
        left = await counter.top_up(offer, [1])
        assert left.price == PRICE, "the session that lives keeps its price"
        await counter.settle(at)
        before = counter.credit(offer.manifest)
        with pytest.raises(Refusal) as refused:
            await counter.reserve(offer, [2])
        assert refused.value.word == "price_raised"
        assert counter.credit(offer.manifest) == before
        new = healing(refused.value)
        assert (new.manifest != offer.manifest, new.price) == (True, raised.per_unit)


@pytest.mark.parametrize("percent", [50, 101])
async def test_credit_of_a_former_session_stays_good_while_the_price_is_about_the_same_or_lower(
    tmp_path: Path, percent: int
) -> None:
    async with a_counter(tmp_path) as counter:
        offer = await counter.challenge()
        await counter.settle(await counter.reserve(offer))
        counter.models[KEY] = replace(LIVE, price=at_price(PRICE * percent // 100))
        counter.now += AUTH_VALID_S * 24
        await counter.settle(await counter.reserve(await counter.refresh(offer.manifest), [1]))


async def test_the_credit_for_a_fixed_price_is_not_counted_for_two_sessions(tmp_path: Path) -> None:
    async with a_counter(tmp_path, FIXED) as counter:
        offer = await counter.challenge()
        with pytest.raises(Refusal, match="missing"):
            await counter.reserve(offer, [1, 2, 3, 4, 5])
        slow = counter.job(payer=PAYER, **counter.paid(offer, [7]))
        await done(counter.hook.identify(slow))
        await counter.settle(await counter.reserve(offer, [6]))
        left = counter.credit(offer.manifest)
        counter.sold.begin(slow.session_id, KEY, slow.account_id, payer=slow.payer, persistent=True, fixed=True)
        with pytest.raises(Refusal) as refused:
            await done(counter.hook.admit(slow))
        counter.sold.stop(slow.session_id)
        assert refused.value.word == "manifest_used"
        assert counter.credit(offer.manifest) == left, "its ticket is not used up"
        assert healing(refused.value).manifest != offer.manifest

"""Who is charged for what: restarts, jobs, what is free, what comes too early or takes too long."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from orchd.domain.ids import ModelKey
from orchd.domain.money import Price
from orchd.domain.outcomes import Outcome
from orchd.doors.public_byoc.door import PublicByocDoor
from orchd.doors.public_live_runner.door import PublicLiveRunnerDoor
from orchd.hooks.hook import HookOptions, JobHook, Waits
from orchd.hooks.job import Job
from orchd.hooks.refusal import Refusal
from orchd.tickets.hook import BYOC_DOOR, LIVE_RUNNER_DOOR, TicketsByDoor
from orchd.tickets.ledger.ports import LedgerKey, Manifest
from orchd.tickets.live_runner.ticket_size import ticket_value
from orchd.tickets.payments import TicketRules
from orchd.tickets.prices import WorkPrice
from orchd.tickets.validation.credit import Balance
from orchd.tickets.validation.validate import Taken
from tests.fakes.ledger import FakeLedger
from tests.tickets.ledger.kept import World
from tests.tickets.live_runner.counter import FIXED, LIVE, PRICE, SLUG, Asked, Counter, a_counter, done, told
from tests.tickets.validation.made import PAYER
from tests.virtual_time import virtual_time

FREE = replace(LIVE, price=Price(Fraction(0)))
JOB = replace(LIVE, persistent=False)
FIXED_JOB = replace(FIXED, persistent=False)


async def test_after_a_restart_a_session_is_charged_only_for_what_it_was_served_since(tmp_path: Path) -> None:
    async with a_counter(tmp_path) as counter:
        offer = await counter.challenge()
        at = await counter.reserve(offer)
        await counter.lives(at, 3)
        left = counter.credit(offer.manifest)
    async with a_counter(tmp_path) as counter:
        found = counter.sold.begin(offer.manifest, LIVE.key, at.account.id, payer=at.account.payer)
        found.pending = False
        at = replace(at, session=found)
        await done(counter.hook.charge(at.account, 400.0))
        assert counter.credit(offer.manifest) == left, "no sign of life yet"
        await counter.top_up(offer, [6])
        await counter.lives(at, 2.5)
        await counter.settle(at)
        assert counter.credit(offer.manifest) == left + offer.terms.expected_value - 2 * PRICE


async def test_a_fixed_price_is_not_charged_again_after_a_restart(tmp_path: Path) -> None:
    async with a_counter(tmp_path, FIXED) as counter:
        offer = await counter.challenge()
        at = await counter.reserve(offer, range(1, 7))
        left = counter.credit(offer.manifest)
    async with a_counter(tmp_path, FIXED) as counter:
        found = counter.sold.begin(offer.manifest, LIVE.key, at.account.id, payer=at.account.payer, fixed=True)
        found.pending = False
        at = replace(at, session=found)
        await counter.lives(at, 3)
        await counter.settle(at, Outcome.CLIENT_GONE)
        assert counter.credit(offer.manifest) == left


async def test_a_paid_session_whose_ledger_was_lost_ends(tmp_path: Path) -> None:
    async with a_counter(tmp_path) as counter:
        at = await counter.reserve(await counter.challenge())
    (tmp_path / "new").mkdir()
    async with a_counter(tmp_path / "new") as counter:
        found = counter.sold.begin(at.session.id, LIVE.key, at.account.id, payer=at.account.payer)
        with pytest.raises(Refusal) as refused:
            await done(counter.hook.charge(at.account, 1.0))
        assert told(refused.value) == (402, "credit_gone")
        assert found.id in counter.sold.live


@pytest.mark.parametrize(
    ("outcome", "first_byte_s", "paid_s"),
    [
        (Outcome.OK, 0.5, 3),
        (Outcome.CLIENT_GONE, 0.5, 3),
        (Outcome.CLIENT_GONE, None, 3),
        (Outcome.BACKEND_FAILED, None, 0),
    ],
)
async def test_a_job_is_charged_once_its_answer_has_begun_or_its_client_has_left(
    tmp_path: Path, outcome: Outcome, first_byte_s: float | None, paid_s: int
) -> None:
    async with a_counter(tmp_path, JOB) as counter:
        offer = await counter.challenge()
        at = await counter.reserve(offer)
        before = counter.credit(offer.manifest)
        await counter.lives(at, 3.2)
        await counter.settle(at, outcome, first_byte_s)
        assert counter.credit(offer.manifest) == before - paid_s * PRICE


@pytest.mark.parametrize(("first_byte_s", "due"), [(0.5, True), (None, False)])
async def test_a_job_at_a_fixed_price_is_charged_once_its_answer_has_begun(
    tmp_path: Path, first_byte_s: float | None, due: bool
) -> None:
    async with a_counter(tmp_path, FIXED_JOB) as counter:
        offer = await counter.challenge()
        at = await counter.reserve(offer, range(1, 7))
        await counter.settle(at, Outcome.BACKEND_FAILED, first_byte_s)
        assert (counter.credit(offer.manifest) < 10**12) is due
        manifest = counter.ledger.manifest(offer.manifest)
        assert manifest is not None
        assert manifest.charged is due


async def test_what_is_free_is_neither_paid_nor_charged(tmp_path: Path) -> None:
    async with a_counter(tmp_path, FREE) as counter:
        assert counter.desk.is_free(FREE)
        job = counter.job()
        await done(counter.hook.identify(job))
        await done(counter.hook.admit(job))
        assert job.payer == ""
        assert job.session_id == ""
        account = counter.account(job)
        assert account.price == 0
        await done(counter.hook.charge(account, 5.0))
        session = counter.sold.begin("session_free", FREE.key, account.id)
        session.pending = False
        with pytest.raises(Refusal) as refused:
            await counter.desk.top_up(Asked(counter.job()), SLUG, "session_free")
        assert told(refused.value) == (409, "session_fixed")


async def test_off_chain_sessions_are_refused_or_free_as_the_settings_say(tmp_path: Path) -> None:
    async with a_counter(tmp_path) as counter:
        counter.chain.backed = False
        with pytest.raises(Refusal) as refused:
            counter.desk.is_free(LIVE)
        assert told(refused.value) == (503, "off_chain")
    (tmp_path / "trusting").mkdir()
    async with a_counter(tmp_path / "trusting", trusting=True) as counter:
        counter.chain.backed = False
        assert counter.desk.is_free(LIVE)
        job = counter.job(segment=b"x", payment=b"x")
        await done(counter.hook.identify(job))
        assert job.terms is not None
        assert job.terms.price == 0


async def test_a_top_up_is_told_to_come_again_while_the_first_payment_waits(tmp_path: Path) -> None:
    async with a_counter(tmp_path) as counter:
        offer = await counter.challenge()
        job = counter.job(payer=PAYER, **counter.paid(offer, [1, 2]))
        await done(counter.hook.identify(job))
        for _ in ("no slot yet", "booked"):
            with pytest.raises(Refusal) as refused:
                await counter.top_up(offer, [3])
            assert told(refused.value) == (503, "session_pending")
            counter.sold.begin(offer.manifest, LIVE.key, job.account_id)
        del job
        counter.sold.stop(offer.manifest)
        with pytest.raises(Refusal) as refused:
            await counter.top_up(offer, [3])
        assert told(refused.value) == (404, "session_unknown"), "who asked for it has left"


class StuckLedger(FakeLedger):
    """Its disk may not answer."""

    stuck = False

    async def take(self, taken: Taken, key: LedgerKey, model: ModelKey, manifest: Manifest | None = None) -> Balance:
        await asyncio.sleep(3600 if self.stuck else 0)
        return await super().take(taken, key, model, manifest)


@virtual_time
async def test_no_answer_takes_longer_than_its_client_waits() -> None:
    ledger, clock = StuckLedger(), asyncio.get_running_loop().time
    counter = Counter(ledger)
    offer, next_one = await counter.challenge(), await counter.challenge()
    await counter.reserve(offer)
    ledger.stuck = True
    for paying in (counter.top_up(offer, [6]), counter.reserve(next_one)):
        began = clock()
        with pytest.raises(Refusal) as refused:
            await paying
        assert told(refused.value) == (503, "answer_late")
        assert clock() - began == 2.0


async def test_new_terms_after_a_gap_pay_for_all_of_it_at_once_after_a_restart_too(tmp_path: Path) -> None:
    price, world = WorkPrice(8_000_000_000), World(tmp_path)
    cheap = replace(LIVE, price=Price(Fraction(price.wei)))
    async with a_counter(tmp_path, cheap, rules=TicketRules(), world=world) as counter:
        offer = await counter.challenge()
        at = await counter.reserve(offer)
        counter.now += 900.5
        after = await counter.refresh(offer.manifest)
        assert round(after.terms.expected_value) == ticket_value(price, 60 + 901) > ticket_value(price, 60)
        await counter.top_up(after, [1])
        again = await counter.refresh(offer.manifest)
        assert round(again.terms.expected_value) == ticket_value(price, 60)
    world.clock.now += 900
    async with a_counter(tmp_path, cheap, rules=TicketRules(), world=world) as counter:
        counter.sold.begin(offer.manifest, LIVE.key, at.account.id).pending = False
        for _ in ("not charged yet", "charged again"):
            after = await counter.refresh(offer.manifest)
            assert round(after.terms.expected_value) == ticket_value(price, 60 + 900)
            await done(counter.hook.charge(at.account, 1.0))


class ByDoor(JobHook):
    """Notes what it is asked."""

    def __init__(self) -> None:
        super().__init__(HookOptions())
        self.asked: list[str] = []

    def identify(self, job: Job) -> Waits:
        self.asked.append("identify")
        return None

    def charge(self, account: Any, used: float) -> Waits:
        self.asked.append("charge")
        return None


def test_the_doors_are_named_as_they_name_themselves() -> None:
    assert (PublicByocDoor.name, PublicLiveRunnerDoor.name) == (BYOC_DOOR, LIVE_RUNNER_DOOR)


async def test_each_door_has_the_hook_of_its_own_payments(tmp_path: Path) -> None:
    async with a_counter(tmp_path) as counter:
        mine, other = ByDoor(), ByDoor()
        hook = TicketsByDoor({LIVE_RUNNER_DOOR: mine, BYOC_DOOR: other})
        job = counter.job()
        job.set_payer("0x1")
        assert hook.identify(job) is hook.admit(job) is hook.charge(counter.account(job), 1.0) is None
        assert hook.charge(counter.account(job, door="live-runner"), 1.0) is None, "sold by a node beside"
        assert (mine.asked, other.asked) == (["identify", "charge"], [])

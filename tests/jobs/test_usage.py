"""What each way of a session's end hands to `settle`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from fractions import Fraction

from orchd.domain.money import Currency, Price, PriceUnit
from orchd.domain.outcomes import Outcome
from orchd.errors import Code, JobRefused
from orchd.hooks.account import Account
from orchd.hooks.hook import Waits
from orchd.hooks.usage import Usage
from tests.fakes.stored import FakeStreamStore
from tests.jobs.fakes import Bench, Charging
from tests.jobs.messages import ONE, SWITCHED, UPGRADE, answer, request
from tests.jobs.model import a_model
from tests.jobs.test_accounts import STREAMING, start
from tests.virtual_time import virtual_time

HOURLY = a_model(price=Price(Fraction(9), 1, Currency.WEI, PriceUnit.HOUR))


@dataclass
class Receipts(Charging):
    got: list[tuple[Outcome, Usage]] = field(default_factory=list)

    def settle(self, account: Account, outcome: Outcome, usage: Usage) -> Waits:
        self.got.append((outcome, usage))
        return super().settle(account, outcome, usage)


def a_bench(hook: Receipts, **options: object) -> Bench:
    return Bench(models=(HOURLY,), hooks=[hook], **options)  # type: ignore[arg-type]


@virtual_time
async def test_a_job_has_used_the_time_from_its_slot_to_its_end_and_units_of_its_price() -> None:
    hook = Receipts()
    bench = a_bench(hook)
    bench.network.reply = None
    bench.caller(request(body=b"x"))
    await bench.settle()
    await asyncio.sleep(1.5)
    whole = answer(b"abcd")
    bench.network.end.say(whole[:-2])
    await asyncio.sleep(2)
    bench.network.end.say(whole[-2:])
    await bench.idle()
    assert hook.got == [(Outcome.OK, Usage(3.5, Fraction(7, 7200), 1.5, 200, 0.0))]
    assert hook.charged[-1] <= 3.5


@virtual_time
async def test_a_tunnel_has_used_the_time_until_it_ends() -> None:
    hook = Receipts()
    bench = a_bench(hook)
    bench.network.reply = None
    caller = bench.caller(UPGRADE)
    await bench.settle()
    bench.network.end.say(SWITCHED)
    await asyncio.sleep(6)
    caller.lose()
    await bench.idle()
    ((_, usage),) = hook.got
    assert (usage.units, usage.status, usage.first_byte_s) == (Fraction(1, 600), 101, 0)


@virtual_time
async def test_a_caller_who_waited_for_a_cold_model_has_used_nothing_of_that_time() -> None:
    hook = Receipts()
    bench = a_bench(hook, is_open=False)
    bench.cold()
    bench.caller(request(body=b"x"))
    await bench.settle()
    await asyncio.sleep(4)
    bench.open()
    await bench.idle()
    assert hook.got == [(Outcome.OK, Usage(0.0, Fraction(0), 4.0, 200, 4.0))]


@virtual_time
async def test_a_refused_job_has_used_nothing() -> None:
    hook = Receipts(fails={"admit": JobRefused(Code.FORBIDDEN, "cannot")}, waits={"admit"})
    bench = a_bench(hook)
    await bench.serve(request(body=b"x"))
    assert hook.got == [(Outcome.REFUSED, Usage(0.0, Fraction(0), None, 0, 0.0, Code.FORBIDDEN))]


@virtual_time
async def test_a_job_whose_runner_can_not_be_reached_has_no_first_byte() -> None:
    hook = Receipts()
    bench = a_bench(hook)
    bench.network.fails = ConnectionRefusedError(111, "refused")
    await bench.serve(request(body=b"x"))
    ((outcome, usage),) = hook.got
    assert (outcome, usage.first_byte_s, usage.status) == (Outcome.BACKEND_FAILED, None, 0)


@virtual_time
async def test_a_caller_who_leaves_has_used_the_time_until_then() -> None:
    hook = Receipts()
    bench = a_bench(hook)
    bench.network.reply = None
    caller = bench.caller(request(body=b"x"))
    await bench.settle()
    await asyncio.sleep(2.25)
    caller.lose()
    await bench.idle()
    assert hook.got == [(Outcome.CLIENT_GONE, Usage(2.25, Fraction(1, 1600), None, 0, 0.0))]


@virtual_time
async def test_a_stream_has_used_the_time_from_its_beginning_over_all_its_requests() -> None:
    hook = Receipts()
    bench = Bench(models=(STREAMING,), hooks=[hook])
    await bench.serve(start())
    await asyncio.sleep(5)
    await bench.serve(request(("X-Stream-Id", "s1"), target=f"{ONE}/stream/stop", body=b"{}"))
    ((outcome, usage),) = hook.got
    assert (outcome, usage.status, usage.first_byte_s) == (Outcome.OK, 200, 0.0)
    assert usage.units == 5


@virtual_time
async def test_a_stream_that_was_found_again_was_answered_by_an_earlier_orchd() -> None:
    store, hook = FakeStreamStore(), Receipts()
    first = Bench(models=(STREAMING,), hooks=[Receipts()], store=store)
    await first.serve(start())
    await first.handler.close()
    second = Bench(models=(STREAMING,), hooks=[hook], store=store, is_open=False)
    await second.keeper.restore()
    second.open()
    await asyncio.sleep(1)
    await second.serve(request(("X-Stream-Id", "s1"), target=f"{ONE}/stream/stop", body=b"{}"))
    ((_, usage),) = hook.got
    assert (usage.status, usage.first_byte_s) == (0, 0.0)

"""The hook `limits`: each payer has so many sessions at once and so many jobs a minute, and others lose nothing."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.errors import Code
from orchd.hooks.hook import Waits
from orchd.hooks.job import Job
from orchd.tickets import limits
from orchd.tickets.limits import MINUTE_S, LimitsHook, LimitsOptions, Rates
from tests.jobs.fakes import Bench, FakeHook
from tests.jobs.messages import ONE, answer, request
from tests.jobs.model import KEY, a_model, runner_of
from tests.relay.transport import FakeTransport
from tests.virtual_time import virtual_time


class Naming(FakeHook):
    """Names the payer as the header says."""

    def identify(self, job: Job) -> Waits:
        if name := job.header(b"x-payer"):
            job.set_payer(name.decode())
        return super().identify(job)


def a_bench(**options: int) -> Bench:
    models = (a_model(max_sessions=8),)
    bench = Bench(models=models, hooks=[Naming()], real_hooks=[LimitsHook(LimitsOptions(**options))])
    bench.network.reply = None
    return bench


async def asks(bench: Bench, payer: str = "a", target: str = f"{ONE}/x") -> FakeTransport:
    caller = bench.caller(request(*([("X-Payer", payer)] if payer else []), target=target, body=b"x"))
    await bench.settle()
    return caller


def refused_with(caller: FakeTransport) -> tuple[int, str | None, str | None] | None:
    if not caller.messages:
        return None
    (message,) = caller.messages
    return message.status, message.header("Livepeer-Error"), message.header("Retry-After")


@pytest.mark.parametrize("option", ["sessions", "sessions_per_model"])
def test_a_payer_has_so_many_sessions_at_once(option: str) -> None:
    @virtual_time
    async def run() -> None:
        bench = a_bench(**{option: 2})
        for _ in range(2):
            assert refused_with(await asks(bench)) is None
        assert refused_with(await asks(bench)) == (503, "payer_limit", "1")
        assert refused_with(await asks(bench, "b")) is None

    run()


@virtual_time
async def test_a_payer_may_begin_so_many_jobs_a_minute_and_is_told_when_the_next_may_begin() -> None:
    bench = a_bench(jobs_per_minute=3)
    bench.network.reply = answer()
    for _ in range(3):
        assert refused_with(await asks(bench)) == (200, None, None)
    assert refused_with(await asks(bench)) == (503, "rate_limit", "20")
    assert refused_with(await asks(bench, "b")) == (200, None, None)
    await asyncio.sleep(MINUTE_S / 3)
    assert refused_with(await asks(bench)) == (200, None, None)
    assert refused_with(await asks(bench)) == (503, "rate_limit", "20")


@virtual_time
async def test_a_job_that_gets_no_slot_does_not_count() -> None:
    bench = a_bench(jobs_per_minute=1)
    bench.table.close(runner_of(KEY), Code.NOT_READY, "it was closed")
    assert (await asks(bench)).messages[0].status == 503
    bench.open()
    bench.network.reply = answer()
    assert refused_with(await asks(bench)) == (200, None, None)


@pytest.mark.parametrize(("target", "counted"), [(f"{ONE}/x", True), (f"/byoc/{KEY.slug}/x", False)])
def test_without_a_payer_an_address_counts_but_never_the_nodes(target: str, counted: bool) -> None:
    @virtual_time
    async def run() -> None:
        bench = a_bench(jobs_per_minute=1)
        bench.network.reply = answer()
        assert refused_with(await asks(bench, "", target)) == (200, None, None)
        second = refused_with(await asks(bench, "", target))
        assert second is not None
        assert second[0] == (503 if counted else 200)

    run()


@given(st.integers(1, 20), st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 90)), max_size=60))
def test_no_payer_ever_begins_more_than_its_rate_allows(per_minute: int, asked: list[tuple[str, float]]) -> None:
    now, begun = 0.0, list[tuple[str, float]]()
    rates = Rates(per_minute, lambda: now)
    for payer, pause in asked:
        now += pause
        if (wait_s := rates.wait_s(payer)) > 0:
            now += wait_s + 1e-6
            assert rates.wait_s(payer) == 0, "the wait that was told is enough"
            now -= wait_s + 1e-6
            continue
        rates.take(payer)
        begun.append((payer, now))
    for who in "ab":
        times = [at for payer, at in begun if payer == who]
        for n, first in enumerate(times):
            within = [at for at in times[n:] if at - first < MINUTE_S]
            assert len(within) <= 2 * per_minute, "a full bucket, and what has come in meanwhile"


def test_as_many_payers_as_one_likes_take_bounded_memory() -> None:
    rates = Rates(1, lambda: 0.0)
    for n in range(limits.MAX_PAYERS + 50):
        rates.take(f"p{n}")
    assert len(rates) == limits.MAX_PAYERS
    assert rates.wait_s("p0") == 0, "it was forgotten"
    assert rates.wait_s(f"p{limits.MAX_PAYERS + 49}") > 0

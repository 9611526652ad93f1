"""Limits that hooks set are looked at before the slot: at a limit nothing is taken, by nobody."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from fractions import Fraction

import pytest

from orchd.hooks.hook import Waits
from orchd.hooks.job import Job
from tests.fakes.stored import FakeStreamStore
from tests.jobs.fakes import Bench, FakeHook
from tests.jobs.messages import ONE, answer, request
from tests.jobs.model import KEY, a_model
from tests.jobs.test_accounts import STREAMING
from tests.relay.transport import FakeTransport
from tests.virtual_time import virtual_time

NODES = f"/byoc/{KEY.slug}/x"


@dataclass
class Limiting(FakeHook):
    """Names the payer as the header says, and gives everybody so many sessions."""

    limit: int = 1
    limits: list[int | None] = field(default_factory=list)

    def identify(self, job: Job) -> Waits:
        if name := job.header(b"x-payer"):
            job.set_payer(name.decode())
        job.lower_limit(self.limit)
        return super().identify(job)

    def admit(self, job: Job) -> Waits:
        self.limits.append(job.limits.of_model)
        return super().admit(job)


def a_bench(hook: Limiting, **options: object) -> Bench:
    bench = Bench(models=(a_model(max_sessions=5),), hooks=[hook], **options)  # type: ignore[arg-type]
    bench.network.reply = None
    return bench


def asks(bench: Bench, payer: str = "a", target: str = f"{ONE}/x") -> FakeTransport:
    return bench.caller(request(*([("X-Payer", payer)] if payer else []), target=target, body=b"x"))


@virtual_time
async def test_at_its_limit_a_payer_gets_503_and_nothing_is_taken() -> None:
    hook = Limiting()
    bench = a_bench(hook)
    asks(bench)
    await bench.settle()
    second, other = asks(bench), asks(bench, "b")
    await bench.settle()
    (message,) = second.messages
    assert (message.status, message.header("Livepeer-Error")) == (503, "payer_limit")
    assert json.loads(message.body)["error"] == "payer_limit"
    assert len(hook.admitted) == 2
    assert not other.messages, "it is being served"
    bench.network.reply = answer()
    await bench.idle()
    again = await bench.serve(request(("X-Payer", "a"), target=f"{ONE}/x", body=b"x"))
    assert again.messages[0].status == 200
    assert len(bench.table.payers) == 0


@virtual_time
async def test_what_the_runner_still_works_on_counts() -> None:
    """A caller who leaves at once must not get another slot for each job that he leaves behind."""
    bench = a_bench(Limiting())
    first = asks(bench)
    await bench.settle()
    first.lose()
    await bench.settle()
    assert bench.table.letting_go(KEY) == 1
    second = asks(bench)
    await bench.settle()
    assert second.messages[0].status == 503
    bench.network.ends[0].finish()
    await bench.settle()
    third = asks(bench)
    await bench.settle()
    assert not third.messages, "it is being served"


@virtual_time
async def test_who_waits_for_a_cold_model_counts_and_counts_no_more_when_it_leaves() -> None:
    bench = a_bench(Limiting(), is_open=False)
    bench.cold()
    first = asks(bench)
    await bench.settle()
    second = asks(bench)
    await bench.settle()
    assert second.messages[0].status == 503
    first.lose()
    await bench.settle()
    assert len(bench.table.payers) == 0


@pytest.mark.parametrize(("target", "counted"), [(f"{ONE}/x", True), (NODES, False)])
def test_without_a_payer_an_address_counts_but_never_the_nodes(target: str, counted: bool) -> None:
    @virtual_time
    async def run() -> None:
        bench = a_bench(Limiting())
        asks(bench, "", target)
        await bench.settle()
        second = asks(bench, "", target)
        await bench.settle()
        assert [message.status for message in second.messages] == ([503] if counted else [])

    run()


def starts(name: str) -> bytes:
    return request(("X-Stream-Id", name), ("X-Payer", "a"), target=f"{ONE}/stream/start", body=b"{}")


@virtual_time
async def test_a_stream_counts_until_it_ends_and_its_requests_do_not() -> None:
    bench = Bench(models=(STREAMING,), hooks=[Limiting()])
    assert (await bench.serve(starts("s1"))).messages[0].status == 200
    assert (await bench.serve(starts("s2"))).messages[0].status == 503
    update = request(("X-Stream-Id", "s1"), ("X-Payer", "a"), target=f"{ONE}/stream/update", body=b"{}")
    assert (await bench.serve(update)).messages[0].status == 200
    await bench.serve(request(("X-Stream-Id", "s1"), ("X-Payer", "a"), target=f"{ONE}/stream/stop", body=b"{}"))
    assert len(bench.table.payers) == 0
    assert (await bench.serve(starts("s2"))).messages[0].status == 200


@virtual_time
async def test_a_stream_that_is_found_again_counts_for_its_payer() -> None:
    store = FakeStreamStore()
    first = Bench(models=(STREAMING,), hooks=[Limiting()], store=store)
    await first.serve(starts("s1"))
    await first.handler.close()
    second = Bench(models=(STREAMING,), hooks=[Limiting()], store=store, is_open=False)
    await second.keeper.restore()
    second.open()
    await asyncio.sleep(1)
    assert (await second.serve(starts("s2"))).messages[0].status == 503


@virtual_time
async def test_the_account_says_the_limit_and_the_price_that_hooks_have_set() -> None:
    class Pricing(Limiting):
        def identify(self, job: Job) -> Waits:
            job.set_price(7)
            return super().identify(job)

    bench = Bench(hooks=[Pricing(limit=3)])
    await bench.serve(request(body=b"x"))
    account = bench.table.sessions[0].account
    assert account is not None
    assert (account.limit, account.price) == (3, Fraction(7))

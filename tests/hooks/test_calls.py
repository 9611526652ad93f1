"""What hooks refuse and where they fail is counted under the names that the settings give them."""

from __future__ import annotations

import asyncio

import pytest

from orchd.domain.outcomes import Outcome
from orchd.errors import Code, JobRefused
from orchd.exposition import MetricsRegistry
from orchd.hooks.account import Account
from orchd.hooks.calls import HookCalls
from orchd.hooks.hook import HookOptions, JobHook, Waits
from orchd.hooks.job import Job
from orchd.hooks.metrics import MAX_REASONS, HookCollector, HookCounts
from orchd.hooks.refusal import Refusal
from orchd.hooks.usage import Measured, Usage
from tests.hooks.test_account import ACCOUNT
from tests.virtual_time import virtual_time

NO_JOB: Job = None  # type: ignore[assignment]


class Raising(JobHook):
    def __init__(self, error: Exception | None, *, waits: bool = False) -> None:
        super().__init__(HookOptions())
        self.error, self.waits = error, waits

    def identify(self, job: Job) -> Waits:
        return self.answer()

    def settle(self, account: Account, outcome: Outcome, usage: Usage) -> Waits:
        return self.answer()

    def answer(self) -> Waits:
        if self.waits:
            return self.later()
        if self.error is not None:
            raise self.error
        return None

    async def later(self) -> None:
        await (asyncio.Event().wait() if self.error is None else asyncio.sleep(0))
        assert self.error is not None
        raise self.error


def calls_of(hook: JobHook) -> tuple[HookCalls, HookCounts]:
    counts = HookCounts()
    return HookCalls([hook], timeout_s=2, names=["mine"], counts=counts), counts


async def refused(hook: JobHook) -> tuple[JobRefused, HookCounts]:
    calls, counts = calls_of(hook)

    async def asked() -> None:
        if (waits := calls.identify(NO_JOB)) is not None:
            await waits

    with pytest.raises(JobRefused) as caught:
        await asked()
    return caught.value, counts


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Refusal(402, "cannot", reason="nonce_seen"), "nonce_seen"),
        (Refusal(402, "cannot"), "payment_required"),
        (JobRefused(Code.FORBIDDEN, "cannot"), "forbidden"),
    ],
)
def test_a_refusal_is_counted_by_its_reason(error: Exception, reason: str, waits: bool) -> None:
    @virtual_time
    async def run() -> None:
        _, counts = await refused(Raising(error, waits=waits))
        assert counts.refusals == {"mine": {reason: 1}}
        assert not any(counts.failures.values())

    run()


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("error", [OSError("no route"), JobRefused(Code.HOOK_FAILED, "cannot reach the books")])
def test_a_failure_is_counted_by_its_call_and_refuses_with_503(error: Exception, waits: bool) -> None:
    @virtual_time
    async def run() -> None:
        refusal, counts = await refused(Raising(error, waits=waits))
        assert (refusal.code, refusal.status) == (Code.HOOK_FAILED, 503)
        assert (counts.refusals, +counts.failures) == ({}, {("mine", "identify"): 1})

    run()


@virtual_time
async def test_a_hook_that_hangs_has_failed() -> None:
    refusal, counts = await refused(Raising(None, waits=True))
    assert refusal.message == "cannot identify the job: the hook mine took longer than 2 s"
    assert +counts.failures == {("mine", "identify"): 1}


@virtual_time
async def test_a_settle_that_fails_is_counted() -> None:
    calls, counts = calls_of(Raising(OSError("no route")))
    assert calls.settle(ACCOUNT, Outcome.OK, Measured(1.0)) is None
    assert +counts.failures == {("mine", "settle"): 1}


def test_reasons_do_not_make_series_without_end() -> None:
    counts = HookCounts()
    for n in range(MAX_REASONS + 7):
        counts.refused("mine", f"r{n}")
    counts.refused("mine", "r0")
    assert (counts.refusals["mine"]["other"], counts.refusals["mine"]["r0"]) == (7, 2)
    assert len(counts.refusals["mine"]) == MAX_REASONS + 1


def test_the_page_shows_what_can_fail_from_the_start_and_reasons_as_they_come() -> None:
    registry, counts = MetricsRegistry(), HookCounts()
    HookCollector(registry, counts)
    HookCalls([Raising(None)], timeout_s=2, names=["mine"], counts=counts)
    page = registry.render().decode()
    assert 'orchd_hook_failures_total{call="identify",hook="mine"} 0.0' in page
    assert "reason=" not in page
    counts.refused("mine", "nonce_seen")
    counts.failed("mine", "identify")
    registry.render()
    page = registry.render().decode()
    assert 'orchd_hook_refusals_total{hook="mine",reason="nonce_seen"} 1.0' in page
    assert 'orchd_hook_failures_total{call="identify",hook="mine"} 1.0' in page

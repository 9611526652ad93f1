"""Whatever a hook raises, its job is answered, its slot is free, and its account is settled once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import structlog

from orchd.domain.outcomes import Outcome
from orchd.errors import Code, JobRefused
from orchd.hooks.account import Account
from orchd.hooks.hook import Waits
from orchd.hooks.usage import Usage
from tests.jobs.fakes import Bench, FakeHook
from tests.jobs.messages import answer, request
from tests.virtual_time import virtual_time

Raises = BaseException | Callable[[], Coroutine[Any, Any, None]]


class Unheard(BaseException):
    """As some libraries have it, so that nobody catches it by mistake."""


async def another_is_cancelled() -> None:
    """Wait for something that somebody else has cancelled."""
    other = asyncio.get_running_loop().create_future()
    other.cancel()
    await other


async def itself_is_cancelled() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def exits() -> None:
    sys.exit(3)


async def breaks_off() -> None:
    raise GeneratorExit


ODD: list[Raises] = [SystemExit(3), asyncio.CancelledError(), Unheard(), KeyboardInterrupt(), StopIteration()]
ODD += [JobRefused(Code.FILE_UNREADABLE, "cannot"), JobRefused("odd", "cannot")]  # type: ignore[arg-type]
WAITING: list[Raises] = [another_is_cancelled, itself_is_cancelled, exits, breaks_off]
FAULTS = (itself_is_cancelled, breaks_off)
"""Nobody but the loop should do these."""


def raised(how: Raises) -> Waits:
    if isinstance(how, BaseException):
        raise how
    return how()


class Odd(FakeHook):
    def __init__(self, call: str, how: Raises) -> None:
        super().__init__()
        self.call, self.how = call, how

    def identify(self, job: Any) -> Waits:
        return raised(self.how) if self.call == "identify" else None

    def admit(self, job: Any) -> Waits:
        return raised(self.how) if self.call == "admit" else None


class OddAtTheHead(Odd):
    def arrive(self, job: Any) -> Waits:
        return raised(self.how)


@pytest.mark.parametrize("call", ["arrive", "identify", "admit"])
@pytest.mark.parametrize("how", [*ODD, *WAITING], ids=lambda how: getattr(how, "__name__", repr(how)))
@virtual_time
async def test_whatever_a_hook_raises_its_job_is_refused_and_the_slot_is_free(call: str, how: Raises) -> None:
    hook = (OddAtTheHead if call == "arrive" else Odd)(call, how)
    bench = Bench(hooks=[hook])
    with structlog.testing.capture_logs() as logs:
        caller = await bench.serve(request(body=b"x"))
    expected, event = (500, "job_crashed") if how in FAULTS else (503, "hook_failed")
    assert caller.messages[0].status == expected
    assert [line["event"] for line in logs if line["log_level"] == "error"] == [event]
    ended = Outcome.ERROR if how in FAULTS else Outcome.REFUSED
    assert [session.outcome for session in bench.table.sessions] == [ended] * (call == "admit")
    assert [outcome for _, outcome in hook.settled] == [ended] * (call == "admit")


@virtual_time
async def test_a_refusal_that_can_not_be_rendered_is_a_fault_and_still_answered() -> None:
    refusal = JobRefused(Code.CAPACITY_EXHAUSTED, "cannot", retry_after_s="soon")  # type: ignore[arg-type]
    bench = Bench(hooks=[Odd("identify", refusal)])
    with structlog.testing.capture_logs() as logs:
        caller = await bench.serve(request(body=b"x"))
    assert caller.messages[0].status == 500
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["job_crashed"]


class OddAboutAccounts(FakeHook):
    def __init__(self, call: str, how: Raises) -> None:
        super().__init__()
        self.call, self.how = call, how

    def charge(self, account: Account, used: float) -> Waits:
        return raised(self.how) if self.call == "charge" else None

    def settle(self, account: Account, outcome: Outcome, usage: Usage) -> Waits:
        super().settle(account, outcome, usage)
        return raised(self.how) if self.call == "settle" else None


@pytest.mark.parametrize("call", ["charge", "settle"])
@pytest.mark.parametrize(
    "how", [*ODD, another_is_cancelled, exits], ids=lambda how: getattr(how, "__name__", repr(how))
)
@virtual_time
async def test_whatever_a_hook_raises_about_an_account_it_is_settled_once_on_all(call: str, how: Raises) -> None:
    odd, after = OddAboutAccounts(call, how), FakeHook()
    bench = Bench(hooks=[odd, after])
    bench.network.reply = None
    bench.caller(request(body=b"x"))
    await bench.settle()
    await asyncio.sleep(1.5)
    bench.network.reply = answer()
    await bench.settle()
    async with asyncio.timeout(10):
        await bench.handler.idle()
    assert len(odd.settled) == len(after.settled) == 1
    assert [session.outcome for session in bench.table.sessions] != [None]
    assert (odd.wrong, after.wrong) == ([], [])

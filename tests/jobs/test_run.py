"""How a job's flow is driven: by whoever brings it news, and without a task of its own."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from orchd.doors.listed import DOORS
from orchd.errors import Code, JobRefused
from orchd.http1.parser import RequestParser
from orchd.jobs.run import AwaitedInFlow, Run
from orchd.relay.ports import Caller
from orchd.tasks import spawn
from tests.jobs.messages import request
from tests.virtual_time import run_virtual, settle, virtual_time


class FakeCaller:
    peer = "192.0.2.1"
    deadline = 0.0

    def __init__(self) -> None:
        parser = RequestParser(65536)
        parser.feed(request())
        self.message = parser.messages[0]


class Broke(Exception):
    pass


class Flow:
    """A run whose flow waits as often as told, or for work outside, and notes what it gets."""

    def __init__(self) -> None:
        self.caller = FakeCaller()
        self.run = Run(cast(Caller, self.caller), "r1", asyncio.get_running_loop().time, DOORS[-1])
        self.got: list[object] = []
        self.late: list[object] = []

    def waits(self, times: int) -> Flow:
        async def flow() -> None:
            for _ in range(times):
                try:
                    self.got.append(await self.run.wait())
                except Exception as exc:  # noqa: BLE001
                    self.got.append(exc)

        self.run.drive(flow())
        return self

    def goes_outside(self, work: Any) -> Flow:
        async def flow() -> None:
            try:
                self.got.append(await self.run.outside(work, late=self.late.append))
            except Exception as exc:  # noqa: BLE001
                self.got.append(exc)

        self.run.drive(flow())
        return self


@virtual_time
async def test_news_is_taken_in_the_call_that_brings_it() -> None:
    flow = Flow().waits(2)
    flow.run.deliver("a")
    assert flow.got == ["a"]
    flow.run.deliver("b")
    flow.run.deliver("nobody waits any more")
    assert flow.got == ["a", "b"]


@virtual_time
async def test_what_is_delivered_before_anybody_waits_is_kept() -> None:
    flow = Flow()

    async def steps() -> None:
        flow.run.deliver("a")
        flow.got.append("the step goes on")
        flow.got.append(await flow.run.wait())
        flow.got.append(await flow.run.wait())

    flow.run.drive(steps())
    assert flow.got == ["the step goes on", "a"]
    flow.run.deliver("b")
    assert flow.got == ["the step goes on", "a", "b"]


@virtual_time
async def test_a_failure_during_the_flows_own_step_is_raised_at_its_next_wait() -> None:
    flow = Flow()
    got: list[str] = []

    async def steps() -> None:
        flow.run.fail(Broke("now"))
        got.append("the step goes on")
        try:
            await flow.run.wait()
        except Broke:
            got.append("raised")

    flow.run.drive(steps())
    assert got == ["the step goes on", "raised"]


@virtual_time
async def test_a_failure_comes_before_what_was_delivered() -> None:
    flow = Flow()

    async def steps() -> None:
        flow.run.deliver("too late")
        flow.run.fail(Broke())
        with pytest.raises(Broke):
            await flow.run.wait()
        flow.got.append("done")

    flow.run.drive(steps())
    assert flow.got == ["done"]


@virtual_time
async def test_only_the_first_failure_counts_until_it_is_forgiven() -> None:
    flow = Flow().waits(4)
    first, second, third = Broke(1), Broke(2), Broke(3)
    flow.run.fail(first)
    assert flow.got == [first, first, first, first], "what has failed stays so"
    flow = Flow()

    async def steps() -> None:
        for _ in range(2):
            try:
                await flow.run.wait()
            except Broke as exc:
                flow.got.append(exc)
                flow.run.fail(second)
                flow.run.deliver("of the attempt that failed")
                flow.run.forgive()
        flow.got.append(await flow.run.wait())

    flow.run.drive(steps())
    flow.run.fail(first)
    assert flow.got == [first]
    flow.run.fail(third)
    assert flow.got == [first, third]
    flow.run.deliver("new")
    assert flow.got == [first, third, "new"]


@virtual_time
async def test_a_cut_comes_from_the_next_turn_wherever_it_is_called() -> None:
    flow = Flow().waits(1)
    flow.run.cut(why := Broke())
    flow.run.deliver_soon("too late")
    assert flow.got == []
    await settle()
    assert flow.got == [why]


@virtual_time
async def test_news_after_the_end_is_nobodys() -> None:
    flow = Flow().waits(1)
    flow.run.deliver_soon("late")
    flow.run.deliver("a")
    flow.run.fail(Broke())
    flow.run.cut(Broke())
    await settle()
    assert flow.got == ["a"]


async def gives(value: object, turns: int = 1) -> object:
    for _ in range(turns):
        await asyncio.sleep(0)
    if isinstance(value, Exception):
        raise value
    return value


@virtual_time
async def test_work_outside_returns_or_raises_inside() -> None:
    why = Broke()
    for value in ("done", None, why):
        flow = Flow().goes_outside(gives(value))
        await settle()
        assert flow.got == [value]
        assert flow.late == []


@virtual_time
async def test_a_cut_cancels_the_work_outside_and_does_not_wait_for_it() -> None:
    cancelled: list[str] = []

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append("asked")
            await asyncio.sleep(1)
            cancelled.append("ended")
            raise

    flow = Flow().goes_outside(stubborn())
    await settle()
    flow.run.fail(why := Broke())
    assert flow.got == [why]
    await settle()
    assert cancelled == ["asked"]
    assert flow.run.outer is not None
    assert not flow.run.outer.done()
    await asyncio.wait({flow.run.outer})
    assert cancelled == ["asked", "ended"]
    assert flow.late == []


@pytest.mark.parametrize("turns", range(5))
def test_what_comes_of_work_that_ends_with_its_job_is_used_or_given_back_once(turns: int) -> None:
    @virtual_time
    async def run() -> None:
        flow = Flow().goes_outside(gives("a connection", turns=2))
        for _ in range(turns):
            await asyncio.sleep(0)
        flow.run.fail(why := Broke())
        assert flow.run.outer is not None
        await asyncio.wait({flow.run.outer})
        await settle()
        assert flow.got in (["a connection"], [why])
        made = flow.got == ["a connection"] or not flow.run.outer.cancelled()
        assert flow.late == (["a connection"] if made and flow.got == [why] else [])

    run()


@virtual_time
async def test_late_work_that_failed_is_nobodys() -> None:
    flow = Flow().goes_outside(gives(Broke("late"), turns=0))
    await asyncio.sleep(0)
    flow.run.fail(why := Broke("first"))
    await settle()
    assert flow.got == [why]
    assert flow.late == []


@virtual_time
async def test_work_that_is_cut_before_its_first_step_leaves_nothing_behind() -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        flow = Flow().goes_outside(gives("never asked for"))
        flow.run.fail(why := Broke())
        assert flow.got == [why]
        await settle()
        del flow
        gc.collect()
    assert [str(each.message) for each in said] == []


@virtual_time
async def test_whoever_is_late_is_explained_and_whoever_moves_gets_as_long_again() -> None:
    flow = Flow().waits(1)
    run, caller = flow.run, flow.caller
    run.within(5, Code.HOLD_TIMEOUT, lambda code, run: f"cannot: {code} {run.request_id}")
    assert caller.deadline == 5
    await asyncio.sleep(2)
    run.moved()
    assert caller.deadline == 7
    run.expire()
    (why,) = flow.got
    assert isinstance(why, JobRefused)
    assert (why.code, why.message) == (Code.HOLD_TIMEOUT, "cannot: hold_timeout r1")


@virtual_time
async def test_after_a_time_without_limit_the_same_one_is_waited_for_anew() -> None:
    flow = Flow().waits(1)
    run, caller = flow.run, flow.caller
    run.within(5, Code.BODY_STALLED, lambda *_: "cannot")
    run.without_limit()
    assert caller.deadline == float("inf")
    run.patience_s = {Code.BODY_STALLED: 3}
    run.wait_for(Code.BODY_STALLED)
    assert caller.deadline == 3


@pytest.mark.parametrize("what", ["a future", "a task", "a sleep", "the loop's next turn", "an event"])
def test_what_only_a_task_can_await_raises_at_once_and_says_what_to_do(what: str) -> None:
    async def check() -> None:
        loop = asyncio.get_running_loop()
        task = spawn(asyncio.sleep(0), name="a task")
        awaitables: dict[str, Callable[[], Awaitable[object]]] = {
            "a future": loop.create_future,
            "a task": lambda: task,
            "a sleep": lambda: asyncio.sleep(1),
            "the loop's next turn": lambda: asyncio.sleep(0),
            "an event": asyncio.Event().wait,
        }
        flow = Flow()

        async def steps() -> None:
            try:
                await awaitables[what]()
            except AwaitedInFlow as exc:
                flow.got.append(str(exc))
            flow.got.append(await flow.run.wait())

        flow.run.drive(steps())
        assert len(flow.got) == 1
        assert "run.outside" in str(flow.got[0])
        flow.run.deliver("news")
        assert flow.got[1:] == ["news"]
        await task

    run_virtual(check())

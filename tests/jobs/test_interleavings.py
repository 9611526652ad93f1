"""Slots, answers and accounts under every order of events: the real server between ends that a scenario moves.

A scenario is made from its seed alone, so a failure names all that is needed to see it again:
`SEED=1234 pytest tests/jobs/test_interleavings.py`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest
import structlog

from orchd.domain.outcomes import Outcome
from orchd.relay import callers
from tests.jobs.fakes import Bench, FakeHook, session_of
from tests.jobs.messages import answer, request
from tests.jobs.model import KEY, a_model, runner_of
from tests.jobs.scenario import Scenario
from tests.soak import examples
from tests.virtual_time import run_virtual

SCENARIOS = examples(10_000)
BATCH = 500


@pytest.fixture(autouse=True)
def _silent_and_coarse(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    monkeypatch.setattr(callers, "TICK_S", 1.0)
    yield
    structlog.reset_defaults()


async def play(seeds: range) -> None:
    for seed in seeds:
        try:
            await Scenario(seed).play()
        except BaseException as exc:
            exc.add_note(f"to see it again: SEED={seed} pytest {__file__}")
            raise


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, SCENARIOS, BATCH))
def test_no_order_of_events_loses_a_slot_an_answer_or_an_account(start: int) -> None:
    seed = os.environ.get("SEED")
    run_virtual(play(range(int(seed), int(seed) + 1) if seed else range(start, start + BATCH)))


ENDS = ("eof", "loss", "abort", "runner loss", "runner eof")


async def ended_after(events: int | None, how: str, *, held: bool, waits: bool) -> int:
    """Play the one job, up to an event of its life, then end it; return how many events it has."""
    every = {"identify", "admit", "settle"} if waits else set()
    hooks = [FakeHook(waits=every), FakeHook(waits=every)]
    bench = Bench(hooks=hooks, is_open=not held)
    bench.cold()
    bench.network.reply = None
    caller = bench.caller(room=20)
    whole, reply = request(chunks=[b"ab", b"cd"]), answer(chunks=[b"ef", b"gh"])
    past = 0

    def next_event() -> Iterator[None]:
        """Each step is the smallest that something can happen between."""
        for at in range(0, len(whole), 40):
            caller.say(whole[at : at + 40])
            yield
        if held:
            bench.open()
            yield
        for _ in range(12):  # Turns of the loop, in which hooks answer and a connection is made.
            yield
        if bench.network.ends:
            for at in range(0, len(reply), 40):
                bench.network.end.say(reply[at : at + 40])
                yield
        for _ in range(4):
            caller.take(40)
            yield
        caller.take()
        yield

    for _ in next_event():
        past += 1
        if past == events:
            break
        await asyncio.sleep(0)
    if events is not None:
        if how == "eof":
            caller.finish()
        elif how == "loss":
            caller.lose()
        elif how == "abort":
            bench.handler.abort_all("it is cut")
        elif bench.network.ends:
            bench.network.end.lose() if how == "runner loss" else bench.network.end.finish()
    if events is not None and (how.startswith("runner") or not caller.messages):
        caller.take()
    await bench.settle()
    if bench.handler._running and how.startswith("runner"):
        caller.finish()
    await bench.idle()
    assert bench.table.running(KEY) == bench.table.waiting(KEY) == 0
    await asyncio.sleep(a_model().inference.timeout_s + 1)  # What a runner does not end is over by then.
    assert bench.table.active(KEY) == bench.table.active_on(runner_of(KEY)) == 0
    begun = [session for job in hooks[0].identified if (session := session_of(job)) is not None]
    for hook in hooks:
        assert [session for session, _ in hook.settled] == begun
    assert len(bench.log.lines) == len(hooks[0].identified)
    assert len(bench.outcomes) == len(bench.log.lines)
    if events is None:
        assert bench.outcomes == [Outcome.OK]
        assert caller.messages[-1].body == b"efgh"
    return past


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("held", [False, True])
def test_a_job_that_ends_after_each_event_of_its_life_gives_its_slot_back(held: bool, waits: bool, how: str) -> None:
    events = run_virtual(ended_after(None, how, held=held, waits=waits))
    assert events > 15
    for after in range(1, events + 1):
        run_virtual(ended_after(after, how, held=held, waits=waits))

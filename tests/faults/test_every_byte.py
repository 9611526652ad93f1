"""A fault behind every byte of a sample exchange: what the caller sees, how its job ends, and what is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.faults.case import Case
from tests.faults.rules import ANSWER, OK, Fault, How, Where, expected
from tests.faults.samples import SAMPLES, SIZED, VAST_IN, VAST_OUT, Sample
from tests.faults.stage import Stage, staged

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOLD = 25  # Wrong cases that a failure names.

PATIENT = {"jobs__runner_idle_s": "600", "jobs__keepalive_s": "600"}
HASTY = PATIENT | {
    "jobs__header_timeout_s": "1.5",
    "jobs__between_bytes_timeout_s": "2",
    "jobs__refused_body_s": "2",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def patient(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """Nothing is late here, so whatever ends is ended by the fault, however slow the machine is."""
    async with staged(tmp_path_factory.mktemp("patient"), 600, **PATIENT) as stage:
        await rehearse(stage)
        yield stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hasty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("hasty"), 1.5, **HASTY) as stage:
        await rehearse(stage)
        yield stage


async def rehearse(stage: Stage) -> None:
    """See how long each sample's request is when the runner gets it, and what orchd holds when it has nothing to do."""
    for sample in SAMPLES:
        case = stage.case(sample)
        assert await stage.play(case) == ANSWER, case
        stage.sizes[sample.name] = (case.head_size, case.size)
    await stage.runner.hang_up()
    stage.base = await stage.steady()


def faults(sample: Sample, where: Where, how: How, size: tuple[int, int]) -> Iterator[Fault]:
    """Yield a fault for every byte that it can be behind."""
    request, answer = sample.request(0), sample.answer(0)
    head, whole = {
        Where.SENDING: (len(sample.ask), len(request) - 1),
        Where.TAKING: (len(sample.say), len(answer) - 1),
        Where.HEARING: size,
        Where.MIDWAY: (0, len(sample.ask_rest) - 1),
        # An answer that its connection ends is whole only if that was closed.
        Where.ANSWERING: (len(sample.say), len(answer) - (not sample.until_close or how is not How.RESET)),
    }[where]
    for n in sample.behind(whole):
        # A connection may be idle between two requests.
        if not (sample.reused and where is Where.SENDING and how is How.STALL and n == 0):
            yield Fault(where, n, how, n >= head + (where is Where.HEARING))


async def check(stage: Stage, cases: list[Case], at_once: int) -> None:
    """Play all cases, many at once, and see that each ends as it should and nothing stays behind."""
    stage.logged()
    stage.odd.clear()
    room = asyncio.Semaphore(at_once)

    async def play(case: Case) -> str:
        async with room:
            return await stage.play(case)

    fresh = [case for case in cases if not case.sample.reused]
    seen = dict(zip(fresh, await asyncio.gather(*map(play, fresh)), strict=True))
    seen |= await play_reused(stage, [case for case in cases if case.sample.reused])
    await stage.proper_job()
    await stage.runner.hang_up()
    await stage.until_quiet()
    counted = await stage.counted()
    await stage.daemon.until("the log tells of all jobs", lambda: stage.logged().total() >= counted.total())
    wrong = [f"{case}: {why}" for case in cases for why in wrongs(case, seen[case], stage.ends[case.number])]
    assert not wrong, "\n".join([f"{len(wrong)} wrong", *wrong[:TOLD]])
    assert (stage.logged(), stage.odd) == (counted, [])


async def play_reused(stage: Stage, cases: list[Case]) -> dict[Case, str]:
    """Play cases whose requests all meet connections that have served another request before."""
    firsts = [stage.case(SIZED) for _ in cases]
    gate = asyncio.Event()
    for first in firsts:
        first.go_on = gate
    playing = asyncio.gather(*map(stage.play, cases, firsts))
    try:
        # Until each has a connection to the runner of its own, none gets an answer.
        await stage.daemon.until("all have begun", lambda: all(first.met for first in firsts))
    finally:
        gate.set()
        seen = await playing
    assert all([await stage.ended(first) == [OK] for first in firsts])
    return dict(zip(cases, seen, strict=True))


def wrongs(case: Case, seen: str, ends: list[tuple[str, str]]) -> Iterator[str]:
    assert case.fault is not None
    should = expected(case.sample, case.fault)
    if seen not in (should.seen or {""}):
        yield f"the caller saw {seen!r}, not {set(should.seen)}"
    if len(ends) != bool(should.ends) or not should.ends.issuperset(ends):
        yield f"the log has {ends}, not one of {set(should.ends)}"
    if case.garbled:
        yield f"the runner got {case.garbled}"
    if case.fault.where is Where.SENDING and case.whole and not case.sample.tunnel:
        yield "the runner took a part of the request for all of it"
    if case.met > bool(should.ends):
        yield f"the runner met the request {case.met} times"
    if case.sample.reused and case.met != case.kept:
        yield "the connection to the runner was not used again"


def cases(stage: Stage, where: Where, *hows: How) -> list[Case]:
    return [
        stage.case(sample, fault)
        for sample in SAMPLES
        for how in hows
        for fault in faults(sample, where, how, stage.sizes[sample.name])
    ]


@pytest.mark.parametrize("where", Where)
async def test_whoever_breaks_off_behind_any_byte_leaves_nothing_behind(patient: Stage, where: Where) -> None:
    await check(patient, cases(patient, where, How.CLOSE, How.RESET), at_once=300)


@pytest.mark.parametrize("where", [where for where in Where if where is not Where.TAKING])
async def test_whoever_stalls_behind_any_byte_is_named_and_leaves_nothing_behind(hasty: Stage, where: Where) -> None:
    await check(hasty, cases(hasty, where, How.STALL), at_once=1500)


async def test_who_stops_taking_what_no_buffer_holds_is_named_and_leaves_nothing_behind(hasty: Stage) -> None:
    points = (0, 1000, 200_000, 1_000_000, 5_000_000)
    runners = [hasty.case(VAST_IN, Fault(Where.HEARING, n, How.STALL, n > 0)) for n in points]
    callers = [hasty.case(VAST_OUT, Fault(Where.TAKING, n, How.STALL, True)) for n in points if n]
    await check(hasty, runners + callers, at_once=20)

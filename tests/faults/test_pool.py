"""Which connections to runners are used again, and what happens if one of those turns out to be dead."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from tests.faults.raw_runner import RawRunner
from tests.faults.rules import ANSWER, BROKE, OK, Fault, How, Where, refusal
from tests.faults.samples import SAMPLES, SIZED
from tests.faults.stage import Stage, entry, staged

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRIES = 20
"""A kernel says at once, or only later, that bytes have come: a reset may be all that is ever heard of them."""
STALE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale"
BIG = next(sample for sample in SAMPLES if sample.name == "big")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder = tmp_path_factory.mktemp("pool")
    async with staged(folder, jobs__runner_idle_s="600", jobs__connect_timeout_s="2") as stage:
        yield stage


@pytest_asyncio.fixture(loop_scope="module")
async def stage(shared: Stage) -> AsyncIterator[Stage]:
    """One connection to the runner idles, and no other is open."""
    await shared.runner.hang_up()
    await shared.daemon.until("orchd has noticed", lambda: runner_connections(shared, 0))
    await shared.proper_job()
    assert len(shared.runner.open) == 1
    yield shared
    shared.logged()
    assert not shared.odd


async def runner_connections(stage: Stage, number: int) -> bool:
    return await stage.daemon.metric("orchd_connections", side="runner") == number


async def test_one_connection_serves_one_job_after_the_other(stage: Stage) -> None:
    accepted = stage.runner.accepted
    for sample in (SIZED, BIG, SIZED):
        assert await stage.play(stage.case(sample)) == ANSWER
    assert stage.runner.accepted == accepted


@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_that_dies_while_it_idles_is_noticed_at_once(stage: Stage, reset: bool) -> None:
    await stage.runner.hang_up(reset=reset)
    await stage.daemon.until("orchd has noticed", lambda: runner_connections(stage, 0))
    case = stage.case(SIZED)
    assert await stage.play(case) == ANSWER
    assert (case.met, case.kept) == (1, 0)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("request_first", [False, True])
async def test_a_request_that_meets_a_dead_connection_goes_once_to_a_new_one(
    stage: Stage, request_first: bool, reset: bool
) -> None:
    """orchd sees both at once: the request, and that its runner is gone, in either order."""
    accepted = stage.runner.accepted
    case = stage.case(SIZED)
    async with stage.caller() as caller:
        assert await caller.play(stage.case(SIZED)) == ANSWER
        assert stage.runner.accepted == accepted
        with stage.stopped():
            if request_first:
                await caller.ask(case)
            await stage.runner.hang_up(reset=reset)
            if not request_first:
                await caller.ask(case)
        assert await caller.answer(case) == ANSWER
    assert (case.met, case.whole, stage.runner.accepted) == (1, 1, accepted + 1)
    assert await stage.ended(case) == [OK]


@pytest.mark.parametrize("how", [How.CLOSE, How.RESET])
@pytest.mark.parametrize("unread", [0, 1])
async def test_a_request_that_a_runner_has_read_is_not_sent_again(stage: Stage, how: How, unread: int) -> None:
    whole = stage.case(SIZED)
    assert await stage.play(whole) == ANSWER
    for _ in range(TRIES):
        case = stage.case(SIZED, Fault(Where.HEARING, whole.size - unread, how, True))
        assert await stage.play(case) == refusal("backend_broke")
        assert (case.met, case.kept) == (1, 1)
        assert await stage.ended(case) == [BROKE]
        await stage.proper_job()


async def test_what_a_runner_says_unasked_reaches_nobody(stage: Stage) -> None:
    await stage.runner.say(STALE)
    await stage.daemon.until("orchd has dropped it", lambda: runner_connections(stage, 0))
    assert await stage.play(stage.case(SIZED)) == ANSWER


async def test_what_a_runner_says_behind_its_answer_reaches_nobody(stage: Stage) -> None:
    accepted = stage.runner.accepted
    talkative = replace(SIZED, say_rest=SIZED.say_rest + STALE)
    assert await stage.play(stage.case(talkative)) == ANSWER
    assert await stage.play(stage.case(SIZED)) == ANSWER
    assert stage.runner.accepted == accepted + 1


async def test_a_connection_that_idles_too_long_is_closed(tmp_path: Path) -> None:
    async with staged(tmp_path, jobs__runner_idle_s="0.1") as stage:
        await stage.proper_job()
        await stage.daemon.until("the runner sees the end", lambda: not stage.runner.open)


async def test_the_connections_of_a_replaced_runner_are_closed(stage: Stage) -> None:
    other = RawRunner()
    other.cases = stage.runner.cases
    other.start()
    try:
        stage.daemon.write(entry(other))
        await stage.daemon.until("the old runner sees the end", lambda: not stage.runner.open)
        await stage.daemon.until_state("one", "ready")
        await stage.proper_job()
        assert (other.accepted, len(other.open)) == (1, 1)
        stage.daemon.write(entry(stage.runner))
        await stage.daemon.until("the other runner sees the end", lambda: not other.open)
        await stage.daemon.until_state("one", "ready")
    finally:
        await other.stop()


async def test_the_connections_of_a_removed_model_are_closed(stage: Stage) -> None:
    stage.daemon.write()
    await stage.daemon.until("the runner sees the end", lambda: not stage.runner.open)
    stage.daemon.write(entry(stage.runner))
    await stage.daemon.until_state("one", "ready")
    await stage.proper_job()

"""How long the loop stood still, and what is not done to others for it. Under a clock that the tests move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from orchd.domain.ids import Address
from orchd.domain.model import HealthSpec
from orchd.domain.ports import ProbeWord
from orchd.domain.stalls import Stall, lost_s
from orchd.health.probe import HttpProber
from orchd.lag import LONG_S, STALL_S, TICK_S, LoopLag
from orchd.tasks import cancel, spawn
from tests.virtual_time import settle, stand_still, virtual_time


@asynccontextmanager
async def running(observe: Callable[[float], None] = lambda late_s: None) -> AsyncIterator[LoopLag]:
    lag = LoopLag(observe)
    task = spawn(lag.run(), name="lag")
    await settle()
    try:
        yield lag
    finally:
        await cancel(task)


@virtual_time
async def test_a_stall_is_seen_at_once_and_once() -> None:
    seen: list[float] = []
    async with running(seen.append) as lag:
        await asyncio.sleep(0.33)
        assert lag.stalled_s() == 0
        with capture_logs() as logs:
            stand_still(2.5)
            first = lag.stalled_s()
            assert 2.4 <= first <= 2.5, "before the tick that comes late has run"
            await asyncio.sleep(10)
        assert lag.stalled_s() == pytest.approx(first, abs=0.001)
        assert [entry["event"] for entry in logs] == ["loop_stalled"]
        assert max(seen) == pytest.approx(first, abs=0.001)
        assert sorted(seen)[-2] < STALL_S
    assert lag.stalled_s() == first


@virtual_time
async def test_no_stall_falls_between_two_ticks() -> None:
    """SIGSTOP may strike anywhere, also in the tick itself."""
    seen: list[float] = []

    def observe(late_s: float) -> None:
        seen.append(late_s)
        if len(seen) == 3:
            stand_still(5)

    async with running(observe) as lag:
        await asyncio.sleep(20)
        assert lag.stalled_s() == pytest.approx(5, abs=0.2)
        assert lag.lost_s(0) == pytest.approx(5, abs=0.2)


@virtual_time
async def test_a_loop_that_is_only_busy_does_not_stand_still() -> None:
    async with running() as lag:
        for _ in range(200):
            stand_still(STALL_S / 2)
            await asyncio.sleep(TICK_S)
        assert lag.stalled_s() == 0


@virtual_time
async def test_many_short_stalls_add_up() -> None:
    async with running() as lag:
        for _ in range(10):
            stand_still(0.5)
            await asyncio.sleep(2 * TICK_S)
        assert 4.0 <= lag.stalled_s() <= 5.0


@virtual_time
async def test_long_stalls_are_remembered_for_deadlines_and_short_ones_are_not() -> None:
    async with running() as lag:
        await asyncio.sleep(10.05)
        stand_still(5)
        assert lag.lost_s(0) == pytest.approx(5, abs=0.1), "before the tick that comes late has run"
        await asyncio.sleep(10)
        stand_still(LONG_S / 2)
        await asyncio.sleep(10)
        stand_still(3)
        await asyncio.sleep(1)
        assert lag.lost_s(0) == pytest.approx(8, abs=0.2)
        assert lag.lost_s(20) == pytest.approx(3, abs=0.1)
        assert lag.lost_s(12) == pytest.approx(6, abs=0.2), "a part of the first one"
        assert lag.lost_s(asyncio.get_running_loop().time()) == 0


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e4))), st.floats(0, 1e6))
def test_no_more_is_lost_than_was_and_the_older_the_more(stalls: list[tuple[float, float]], since: float) -> None:
    known = [Stall(*each) for each in stalls]
    assert 0 <= lost_s(known, since) <= lost_s(known, 0) <= sum(stall.seconds for stall in known)


@virtual_time
async def test_without_the_measurement_nothing_is_known() -> None:
    lag = LoopLag()
    stand_still(10)
    assert lag.stalled_s() == 0


@virtual_time
async def test_a_timeout_gives_back_the_time_in_which_the_loop_stood_still() -> None:
    async with running() as lag:
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def work() -> None:
            async with lag.timeout(5):
                await asyncio.sleep(1)
                stand_still(20)
                await asyncio.sleep(3.5)  # As long as is left, nearly: in time.
                stand_still(1)
                await asyncio.sleep(3600)

        with pytest.raises(TimeoutError):
            await work()
        assert 25.8 <= loop.time() - began <= 26.1
        async with lag.timeout(5):
            stand_still(100)


@virtual_time
async def test_a_timeout_of_a_loop_that_runs_is_an_ordinary_one() -> None:
    async with running() as lag:
        began = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            async with lag.timeout(5):
                await asyncio.sleep(3600)
        assert asyncio.get_running_loop().time() - began == pytest.approx(5)


@virtual_time
async def test_a_timeout_can_be_ended_before_its_time() -> None:
    async with running() as lag:
        began = asyncio.get_running_loop().time()

        async def work() -> None:
            async with lag.timeout(5) as limit:
                limit.expire()
                await asyncio.sleep(3600)

        with pytest.raises(TimeoutError):
            await work()
        assert asyncio.get_running_loop().time() == began


class SlowServer:
    """Answers when told to."""

    def __init__(self) -> None:
        self.answer = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await self.answer.wait()
        writer.write(b"HTTP/1.1 500 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()


class FixedLag(LoopLag):
    """Stalled for as long as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0.0

    def stalled_s(self) -> float:
        return self.total


@pytest.mark.parametrize(
    ("timeout_s", "stalled_s", "word"),
    [
        (60.0, 0.0, ProbeWord.FAILED),
        (60.0, 5.9, ProbeWord.FAILED),
        (60.0, 6.1, ProbeWord.VOID),
        (0.01, 0.09, ProbeWord.TIMEOUT),
        (0.01, 0.11, ProbeWord.VOID),
    ],
)
async def test_a_probe_during_which_the_loop_stood_still_is_void(
    timeout_s: float, stalled_s: float, word: ProbeWord
) -> None:
    """Whatever came of it."""
    server = SlowServer()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    lag = FixedLag()
    prober = HttpProber(lag=lag)
    lag.total = 100.0  # What was before it began does not matter.
    address = Address("127.0.0.1", listener.sockets[0].getsockname()[1])
    probe = spawn(prober.probe(address, HealthSpec(timeout_s=timeout_s), early=False), name="probe")
    await asyncio.sleep(0)
    lag.total += stalled_s
    if timeout_s > 1:
        server.answer.set()
    result = await probe
    assert result.word is word, result
    server.answer.set()
    await prober.close()
    listener.close()

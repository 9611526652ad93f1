"""Streams that carry sessions which orchd sells: a stop ends what runs, and the session goes on."""

from __future__ import annotations

import asyncio

import pytest

from orchd.domain.origins import Origin
from orchd.domain.outcomes import Outcome
from orchd.domain.phases import StreamPhase
from orchd.domain.ports import ProbeWord
from orchd.realtime.container import ContainerSilent, Reply
from orchd.realtime.keeper import WIND_DOWN_S
from orchd.realtime.routes import StreamCall
from orchd.realtime.stream import Stream
from tests.realtime.test_keeper import AI_RUNNER, Cuts, World, world
from tests.virtual_time import virtual_time


async def sold(w: World, *, started: bool = True) -> Stream:
    """Return a stream that carries a session, on the disk, and maybe started at its container."""
    stream = w.keeper.hold("s1", Origin.SOLD, w.begin())
    await w.keeper.keep(stream)
    return await w.started("s1", Origin.SOLD) if started else stream


def stored(w: World) -> list[bool]:
    """Return of each session that is kept whether it was started."""
    return [each.started for each in w.store.kept.values()]


@virtual_time
async def test_it_is_kept_from_its_reservation_on_and_what_was_started_is_kept_too() -> None:
    async with world() as w:
        stream = await sold(w, started=False)
        assert (stream.phase, stored(w)) == (StreamPhase.HELD, [False])
        await w.started("s1", Origin.SOLD)
        assert stored(w) == [True]
        await w.keeper.stop(stream, {}, b"")
        await asyncio.sleep(0.1)
        assert (stream.phase, stored(w), w.active, w.ended) == (StreamPhase.HELD, [False], 1, [])
        await w.started("s1", Origin.SOLD)
        assert (stream.phase, stored(w)) == (StreamPhase.RUNNING, [True])
        await w.keeper.end(stream, Outcome.OK, "its client has stopped it")
        await asyncio.sleep(0.1)
        assert w.gone()
        assert [end.why for end in w.ended] == ["its client has stopped it"]


@virtual_time
async def test_a_start_that_its_container_refuses_leaves_the_session() -> None:
    async with world() as w:
        stream = await sold(w, started=False)
        w.keeper.starting(stream)
        await w.keeper.start(stream, w.model, {}, b"")
        w.keeper.refused(stream, "its container answered 500")
        await asyncio.sleep(0.1)
        assert (stream.phase, stored(w), w.active) == (StreamPhase.HELD, [False], 1)


@virtual_time
async def test_a_container_that_is_free_ends_no_session_neither_one_that_never_started_a_stream() -> None:
    async with world() as w:
        stream = await sold(w, started=False)
        for _ in range(30):
            await asyncio.sleep(1)
            w.says(ProbeWord.READY)
        assert (stream.phase, w.active) == (StreamPhase.HELD, 1)
        await w.started("s1", Origin.SOLD)
        for _ in range(30):
            await asyncio.sleep(1)
            w.says(ProbeWord.READY)
        assert (stream.phase, stored(w), w.active, w.ended) == (StreamPhase.HELD, [False], 1, [])


@virtual_time
async def test_one_that_its_container_can_not_be_told_to_stop_goes_on_when_that_is_free() -> None:
    async with world(AI_RUNNER) as w:
        stream = await sold(w)
        await w.keeper.stop(stream, {}, b"")
        await asyncio.sleep(1)
        assert (stream.phase, w.keeper.goes_on(stream), w.active) == (StreamPhase.ENDING, True, 1)
        w.says(ProbeWord.READY)
        await asyncio.sleep(0.1)
        assert (stream.phase, w.active, w.ended) == (StreamPhase.HELD, 1, [])


@virtual_time
async def test_one_that_is_ended_while_its_container_winds_down_ends_with_that() -> None:
    async with world(AI_RUNNER) as w:
        stream = await sold(w)
        await w.keeper.stop(stream, {}, b"")
        await asyncio.sleep(1)
        w.keeper.end_soon(stream, Outcome.ABORTED, "its credit is used up")
        assert not w.keeper.goes_on(stream)
        await asyncio.sleep(WIND_DOWN_S + 2)
        assert w.gone()
        assert [(end.outcome, end.why) for end in w.ended] == [(Outcome.ABORTED, "its credit is used up")]


@virtual_time
async def test_its_end_cuts_its_requests_at_once_and_is_told_once_while_its_container_still_stops() -> None:
    async with world() as w:
        heard: list[str] = []
        w.keeper.ending.connect(lambda stream, why: heard.append(why))
        stream = await sold(w)
        cut = Cuts()
        w.keeper.request_began(stream, cut.note)
        w.containers.gates[StreamCall.STOP] = asyncio.Event()
        w.keeper.end_soon(stream, Outcome.ABORTED, "its credit is used up", "credit_gone")
        await asyncio.sleep(0.1)
        assert cut.told == [("its credit is used up", "credit_gone")]
        assert (heard, stream.phase) == (["its credit is used up"], StreamPhase.ENDING)
        assert stored(w) == [], "no restart brings it back, though its container still stops"
        assert not w.keeper.goes_on(stream)
        w.containers.gates[StreamCall.STOP].set()
        w.keeper.request_ended(stream, cut.note)
        await asyncio.sleep(0.1)
        assert (heard, w.outcomes) == (["its credit is used up"], ["aborted"])


@pytest.mark.parametrize("answer", [ContainerSilent("gave no answer"), Reply(500, (), b"")])
def test_a_stop_that_its_container_does_not_confirm_ends_the_session_and_lets_its_slot_go(
    answer: ContainerSilent | Reply,
) -> None:
    @virtual_time
    async def run() -> None:
        async with world() as w:
            stream = await sold(w)
            w.containers.answers[StreamCall.STOP] = answer
            await w.keeper.stop(stream, {}, b"")
            await asyncio.sleep(0.1)
            assert (w.outcomes, w.active, w.store.kept) == (["ok"], 1, {})

    run()


@virtual_time
async def test_its_container_is_told_which_session_it_is_and_no_caller_can_say_otherwise() -> None:
    async with world() as w:
        stream = await sold(w, started=False)
        w.keeper.starting(stream)
        await w.keeper.start(stream, w.model, {"livepeer-session-id": "another", "x-stream-id": "another"}, b"")
        (_, _, headers, _) = w.containers.asked[-1]
        assert headers == {"X-Stream-Id": "s1", "Livepeer-Session-Id": "s1"}

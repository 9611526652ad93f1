"""The keeper by itself: what the node and containers say, silence, restarts. Requests: see tests/jobs/test_realtime."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import HealthSpec, Model, StreamSpec
from orchd.domain.origins import Origin
from orchd.domain.outcomes import Outcome
from orchd.domain.phases import StreamPhase
from orchd.domain.ports import ProbeWord
from orchd.domain.stores import StoredStream
from orchd.errors import Code, JobRefused, StoreError
from orchd.realtime import over
from orchd.realtime.container import ContainerSilent
from orchd.realtime.expected import RECOVER_S
from orchd.realtime.keeper import SWEEP_S, WIND_DOWN_S, Keeper
from orchd.realtime.node_ends import ANSWER_S, MOST_TOLD, TOLD_S
from orchd.realtime.routes import StreamCall
from orchd.realtime.stream import Stream, StreamEnd
from orchd.sessions.session import Session, SessionKind
from orchd.sessions.table import SessionTable
from orchd.tasks import cancel, spawn
from tests.fakes.snapshots import status
from tests.fakes.stored import FakeStreamStore
from tests.fakes.streams import FakeContainers, FakeRunners, a_keeper, held_for_node
from tests.jobs.model import ADDRESS, a_model, runner_of
from tests.virtual_time import settle, stand_still, virtual_time
from tests.wall_clock import WallClock

KEY, OTHER = ModelKey("live-video-to-video", "tint"), ModelKey("live-video-to-video", "other")
RUNNER = runner_of(KEY)
MODEL = a_model(
    KEY,
    stream=StreamSpec(post_starts_stream=True),
    health=HealthSpec(ready=("idle",), busy=("ok",)),
    max_sessions=1,
)
AI_RUNNER = replace(MODEL, stream=StreamSpec(post_starts_stream=True, route_prefix=None))
LIVE = Origin.LIVE_RUNNER


def now() -> float:
    return asyncio.get_running_loop().time()


class Cuts:
    """What riders were told that were cut, in words and for programs."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def note(self, why: str, word: str) -> None:
        """A `domain.outcomes.Cut`."""
        self.told.append((why, word))


class World:
    """A keeper and its table, and all that they tell. Time begins at 1000 s: 0 is no time of a real loop."""

    def __init__(
        self, model: Model = MODEL, *, store: FakeStreamStore | None = None, is_open: bool = True, **knobs: Any
    ) -> None:
        self.model = model
        self.table = SessionTable(on_drained=lambda runner: None, on_wanted=lambda key: None, clock=now)
        self.store = store or FakeStreamStore()
        self.ended: list[StreamEnd] = []
        self.known: set[RunnerId] = {RUNNER, runner_of(KEY, 1)}
        self.told_node: list[str] = []
        self.keeper: Keeper = a_keeper(
            self.table, lambda: {KEY: self.model}, self.ended.append, lambda r: r in self.known, self.store, **knobs
        )
        self.keeper.over_at_node.connect(lambda key, session: self.told_node.append(session))
        self.table.define(KEY, model.max_sessions, 4)
        if is_open:
            self.open()

    @property
    def containers(self) -> FakeContainers:
        assert isinstance(self.keeper.containers, FakeContainers)
        return self.keeper.containers

    @property
    def names(self) -> set[str]:
        return {stream.id for stream in self.keeper.streams}

    @property
    def active(self) -> int:
        return self.table.active(KEY)

    @property
    def outcomes(self) -> list[str]:
        return [str(end.outcome) for end in self.ended]

    def open(self, replica: int = 0) -> None:
        self.table.open(runner_of(KEY, replica), ADDRESS, None)

    def begin(self) -> Session:
        session = self.table.begin(KEY, SessionKind.STREAM)
        assert isinstance(session, Session)
        return session

    async def started(self, name: str = "s1", origin: Origin = Origin.BYOC) -> Stream:
        stream = self.keeper.streams.find(KEY, name) or self.keeper.hold(name, origin, self.begin())
        self.keeper.starting(stream)
        await self.keeper.start(stream, self.model, {}, b"")
        self.keeper.started(stream)
        return stream

    def says(self, word: ProbeWord, asked_at: float | None = None, replica: int = 0) -> None:
        self.keeper.probed(runner_of(KEY, replica), self.model, word, now() if asked_at is None else asked_at)

    def gone(self) -> bool:
        """Nothing is left of any stream."""
        return not self.names and self.active == 0 and not self.store.kept


@asynccontextmanager
async def world(model: Model = MODEL, **knobs: Any) -> AsyncIterator[World]:
    await asyncio.sleep(1000)
    made = World(model, **knobs)
    sweep = spawn(made.keeper.run(), name="sweep")
    try:
        yield made
    finally:
        await cancel(sweep)
        await made.keeper.close()


# What the node says.


@virtual_time
async def test_a_reservation_takes_a_slot_once_and_its_release_gives_it_back() -> None:
    async with world() as w:
        for _ in range(3):
            w.keeper.reserved(KEY, "s1")
        assert (w.active, w.names) == (1, {"s1"})
        assert held_for_node(w.keeper, KEY) == {"s1"}
        for _ in range(3):
            w.keeper.released(KEY, "s1")
        await settle()
        assert w.gone()
        assert w.outcomes == ["ok"]
        assert w.told_node == []
        assert w.containers.calls == [], "nothing was started"


@virtual_time
async def test_a_slot_is_the_node_s_from_its_reservation_until_the_node_has_done_with_it() -> None:
    async with world(is_open=False) as w:
        w.table.set_closed(KEY, startable=True, code=Code.NOT_READY, reason="it is cold")
        assert (w.keeper.at_node(KEY), w.table.free(KEY)) == (0, 1)
        w.keeper.listed(KEY, frozenset({"s1"}), now())
        assert (w.keeper.at_node(KEY), w.table.free(KEY)) == (1, 0), "it is pending"
        w.keeper.reserved(KEY, "s1")
        assert (w.keeper.at_node(KEY), w.table.free(KEY)) == (1, 0), "it waits"
        w.open()
        assert (w.keeper.at_node(KEY), w.table.free(KEY)) == (1, 0), "it runs"
        w.keeper.released(KEY, "s1")
        assert w.keeper.at_node(KEY) == 0
        await settle()
        assert w.table.free(KEY) == 1


@virtual_time
async def test_a_reservation_beyond_the_slots_is_stopped_at_the_node_and_never_counts() -> None:
    async with world() as w:
        w.keeper.reserved(KEY, "s1")
        w.keeper.reserved(KEY, "s2")
        await asyncio.sleep(ANSWER_S)
        assert (w.active, w.names, w.told_node) == (1, {"s1"}, ["s2"])
        for _ in range(4):
            w.keeper.listed(KEY, frozenset({"s1", "s2"}), now())
            await asyncio.sleep(5)
        assert w.told_node == ["s2"], "the call may still be under way"
        w.keeper.listed(KEY, frozenset({"s1", "s2"}), now())
        await asyncio.sleep(ANSWER_S)
        assert w.told_node == ["s2", "s2"], "it is still there, so it is stopped again"
        w.keeper.released(KEY, "s2")
        assert w.active == 1


@virtual_time
async def test_a_model_that_is_not_ready_refuses_a_reservation_at_the_node() -> None:
    async with world(is_open=False) as w:
        w.table.set_closed(KEY, startable=False, code=Code.NOT_READY, reason="it failed")
        w.keeper.reserved(KEY, "s1")
        w.keeper.reserved(ModelKey("no", "such"), "s2")
        await asyncio.sleep(ANSWER_S)
        assert w.told_node == ["s1", "s2"]
        assert w.active == 0


@virtual_time
async def test_a_reservation_of_a_cold_model_waits_for_it() -> None:
    async with world(is_open=False) as w:
        w.table.set_closed(KEY, startable=True, code=Code.NOT_READY, reason="it is cold")
        w.keeper.reserved(KEY, "s1")
        w.keeper.listed(KEY, frozenset({"s1"}), now())
        assert (w.active, w.table.waiting(KEY)) == (0, 1)
        w.open()
        assert (w.active, w.names, w.table.waiting(KEY)) == (1, {"s1"}, 0)
        assert w.told_node == []


@pytest.mark.parametrize("how", ["released", "no longer listed", "start fails"])
def test_a_reservation_that_waits_ends_in_any_way(how: str) -> None:
    @virtual_time
    async def run() -> None:
        async with world(is_open=False) as w:
            w.table.set_closed(KEY, startable=True, code=Code.NOT_READY, reason="it is cold")
            w.keeper.reserved(KEY, "s1")
            w.keeper.listed(KEY, frozenset(), now())
            assert w.table.waiting(KEY) == 1, "asked in the moment in which it began"
            await asyncio.sleep(1)
            if how == "released":
                w.keeper.released(KEY, "s1")
            elif how == "no longer listed":
                w.keeper.listed(KEY, frozenset(), now())
            else:
                w.table.set_closed(KEY, startable=False, code=Code.NOT_READY, reason="it failed")
            assert w.table.waiting(KEY) == 0
            w.open()
            await asyncio.sleep(ANSWER_S)
            assert w.gone()
            assert w.told_node == (["s1"] if how == "start fails" else [])

    run()


@virtual_time
async def test_a_listing_ends_what_it_lacks_unless_it_is_older() -> None:
    async with world() as w:
        before = now()
        await asyncio.sleep(1)
        w.keeper.reserved(KEY, "s1")
        w.keeper.listed(KEY, frozenset(), before)
        w.keeper.listed(KEY, frozenset(), now())
        assert w.active == 1
        await asyncio.sleep(1)
        w.keeper.listed(KEY, frozenset({"s1"}), now())
        w.keeper.listed(KEY, frozenset({"other's"}), now() - 5)
        assert w.names == {"s1"}
        w.keeper.listed(KEY, frozenset(), now())
        await settle()
        assert w.gone()
        assert "s1" not in w.told_node, "it told us"


@virtual_time
async def test_a_listing_says_nothing_about_streams_that_are_not_the_nodes() -> None:
    async with world() as w:
        await w.started("s1", Origin.BYOC)
        await asyncio.sleep(1)
        w.keeper.listed(KEY, frozenset(), now())
        w.keeper.released(KEY, "s1")
        assert w.names == {"s1"}
        assert held_for_node(w.keeper, KEY) == frozenset()


@virtual_time
async def test_a_listing_from_before_a_sessions_end_does_not_bring_it_back() -> None:
    """The answer of a node that hung."""
    async with world() as w:
        w.keeper.reserved(KEY, "s1")
        await asyncio.sleep(1)
        asked_at = now()
        await asyncio.sleep(1)
        w.keeper.released(KEY, "s1")
        w.keeper.listed(KEY, frozenset({"s1"}), asked_at)
        assert w.active == 0
        await asyncio.sleep(1)
        w.keeper.listed(KEY, frozenset({"s1"}), now())
        assert w.active == 1, "the node has reserved it anew"


@virtual_time
async def test_a_name_may_be_reserved_again() -> None:
    async with world() as w:
        for _ in range(3):
            w.keeper.reserved(KEY, "s1")
            assert w.active == 1
            w.keeper.released(KEY, "s1")
            assert w.active == 0
        assert w.outcomes == ["ok"] * 3


@virtual_time
async def test_a_session_that_orchd_ends_is_stopped_at_the_node_once() -> None:
    async with world() as w:
        stream = await w.started("s1", LIVE)
        ends = [w.keeper.end(stream, Outcome.ABORTED, "no more") for _ in range(3)]
        await asyncio.gather(*ends)
        await settle()
        assert w.gone()
        await asyncio.sleep(2 * ANSWER_S)
        assert w.told_node == ["s1"]
        assert w.containers.calls == [StreamCall.START, StreamCall.STOP]
        assert w.outcomes == ["aborted"]


@virtual_time
async def test_a_release_stops_the_container() -> None:
    async with world() as w:
        await w.started("s1", LIVE)
        w.keeper.released(KEY, "s1")
        assert w.active == 1, "until its container has answered"
        await settle()
        assert w.gone()
        assert w.containers.calls == [StreamCall.START, StreamCall.STOP]
        assert w.told_node == []


@virtual_time
async def test_a_session_whose_runner_is_given_up_ends_and_the_node_charges_no_more() -> None:
    async with world(replace(MODEL, max_sessions=3)) as w:
        await w.started("b1", Origin.BYOC)
        await w.started("s1", LIVE)
        w.keeper.reserved(KEY, "s2")
        runners = w.keeper._runners
        assert isinstance(runners, FakeRunners)
        runners.gone_bad[RUNNER] = "its runner has been unhealthy for 15 s"
        await asyncio.sleep(2 * SWEEP_S + ANSWER_S)
        assert (w.names, w.table.running(KEY)) == (set(), 0)
        assert sorted(w.told_node) == ["s1", "s2"]
        assert {str(end.outcome) for end in w.ended} == {"aborted"}
        assert {end.why for end in w.ended} == {"its runner has been unhealthy for 15 s"}


@virtual_time
async def test_a_session_of_a_node_that_went_is_no_ok_and_says_so() -> None:
    async with world() as w:
        await w.started("s1", LIVE)
        before = now()
        await asyncio.sleep(1)
        w.keeper.forgotten(KEY, before - 1)
        assert w.names == {"s1"}, "it began after that was asked"
        w.keeper.forgotten(KEY, now())
        await asyncio.sleep(2 * ANSWER_S)
        assert w.gone()
        assert [(str(end.outcome), end.why) for end in w.ended] == [
            ("aborted", "the node went, and the session with it")
        ]
        assert w.told_node == []
        assert w.containers.calls == [StreamCall.START, StreamCall.STOP]


@pytest.mark.parametrize("how", ["event", "listing", "cold and listed", "cold and event"])
def test_a_reservation_that_nobody_uses_is_ended_at_the_node(how: str) -> None:
    @virtual_time
    async def run() -> None:
        async with world(is_open="cold" not in how, unused_s=60) as w:
            w.table.set_closed(KEY, startable=True, code=Code.NOT_READY, reason="it is cold")
            w.keeper.listed(KEY, frozenset(), now())
            if "event" in how:
                w.keeper.reserved(KEY, "s1")
            else:
                w.keeper.listed(KEY, frozenset({"s1"}), now())
            await asyncio.sleep(59)
            assert w.active + w.table.waiting(KEY) + w.table.pending(KEY) == 1
            await asyncio.sleep(2 * SWEEP_S + ANSWER_S)
            assert w.active + w.table.waiting(KEY) + w.table.pending(KEY) == 0
            assert w.told_node == ["s1"]
            assert w.containers.calls == []

    run()


@virtual_time
async def test_a_session_that_was_used_or_may_have_been_is_not_ended_for_want_of_requests() -> None:
    async with world(replace(MODEL, max_sessions=2), unused_s=60, silence_s=1000) as w:
        w.keeper.listed(KEY, frozenset({"before us"}), now())
        w.keeper.reserved(KEY, "used")
        used = w.keeper.streams.find(KEY, "used")
        assert used is not None

        def cut(reason: str, word: str) -> None:
            raise AssertionError(reason)

        w.keeper.request_began(used, cut)
        w.keeper.request_ended(used, cut)
        await asyncio.sleep(900)
        assert w.names == {"before us", "used"}
        await asyncio.sleep(200)
        assert w.names == set()


@virtual_time
async def test_a_pending_session_of_a_cold_model_keeps_a_slot_and_starts_nothing() -> None:
    async with world(is_open=False) as w:
        w.table.set_closed(KEY, startable=True, code=Code.NOT_READY, reason="it is cold")
        w.keeper.listed(KEY, frozenset({"s1", "s2"}), now())
        w.keeper.listed(KEY, frozenset({"s1", "s2"}), now())
        assert (w.table.waiting(KEY), w.table.pending(KEY)) == (0, 1)
        await asyncio.sleep(ANSWER_S)
        assert w.told_node == ["s2"], "there is one slot"
        w.keeper.reserved(KEY, "s1")
        assert (w.table.waiting(KEY), w.table.pending(KEY)) == (1, 0), "it is paid for"
        w.open()
        assert (w.names, w.active) == ({"s1"}, 1)
        await asyncio.sleep(1)
        w.keeper.listed(KEY, frozenset(), now())
        await settle()
        assert w.gone()


@virtual_time
async def test_a_pending_session_that_is_not_listed_any_more_gives_its_slot_back() -> None:
    async with world(is_open=False) as w:
        w.table.set_closed(KEY, startable=True, code=Code.NOT_READY, reason="it is cold")
        w.keeper.listed(KEY, frozenset({"s1"}), now())
        await asyncio.sleep(1)
        w.keeper.listed(KEY, frozenset(), now())
        assert (w.table.waiting(KEY), w.table.pending(KEY), w.told_node) == (0, 0, [])


@virtual_time
async def test_a_session_that_orchd_has_ended_is_not_taken_for_a_new_one_while_the_node_still_lists_it() -> None:
    async with world() as w:
        stream = await w.started("s1", LIVE)
        await w.keeper.end(stream, Outcome.ABORTED, "no more")
        for _ in range(3):
            w.keeper.listed(KEY, frozenset({"s1"}), now())
            w.keeper.reserved(KEY, "s1")
            assert w.active == 0
            with pytest.raises(JobRefused) as refused:
                w.keeper.join(KEY, "s1")
            assert refused.value.code is Code.STREAM_UNKNOWN
            await asyncio.sleep(5)
        w.keeper.listed(KEY, frozenset(), now())
        await asyncio.sleep(1)
        w.keeper.listed(KEY, frozenset({"s1"}), now())
        assert w.active == 1, "the node has reserved it anew"


# What containers say.


@pytest.mark.parametrize(
    "word", [ProbeWord.UNREACHABLE, ProbeWord.LOADING, ProbeWord.ERROR, ProbeWord.TIMEOUT, ProbeWord.UNKNOWN]
)
def test_words_that_say_nothing_of_streams_change_nothing(word: ProbeWord) -> None:
    @virtual_time
    async def run() -> None:
        async with world(idle_s=10) as w:
            await w.started()
            for _ in range(20):
                await asyncio.sleep(5)
                w.says(word)
            assert w.active == 1

    run()


@virtual_time
async def test_the_words_of_a_container_that_does_not_tell_free_from_busy_change_nothing() -> None:
    async with world(replace(MODEL, health=HealthSpec()), idle_s=10) as w:
        await w.started()
        for _ in range(20):
            await asyncio.sleep(5)
            w.says(ProbeWord.READY)
        assert w.active == 1


@pytest.mark.parametrize("knobs", [{"idle_s": 10}, {"silence_s": 10}])
def test_no_stream_is_ended_for_the_time_in_which_orchd_stood_still(knobs: dict[str, Any]) -> None:
    @virtual_time
    async def run() -> None:
        async with world(**knobs, lost_s=lambda since: 1000.0 if since <= now() - 1000 else 0.0) as w:
            await w.started()
            await asyncio.sleep(1)
            if "idle_s" in knobs:
                w.says(ProbeWord.READY)
            stand_still(1000)
            await asyncio.sleep(8)
            assert w.active == 1
            await asyncio.sleep(3 + 2 * SWEEP_S)
            assert w.gone()

    run()


@virtual_time
async def test_a_probe_from_before_the_last_sign_of_life_says_nothing() -> None:
    async with world(idle_s=10) as w:
        before = now()
        await asyncio.sleep(1)
        await w.started()
        w.says(ProbeWord.READY, before)
        await asyncio.sleep(12)
        assert w.active == 1
        w.says(ProbeWord.READY)
        await asyncio.sleep(9)
        assert w.active == 1
        await asyncio.sleep(1 + 2 * SWEEP_S)
        assert w.gone()
        assert w.containers.calls == [StreamCall.START]


@virtual_time
async def test_only_the_words_of_its_own_replica_count() -> None:
    async with world(replace(MODEL, max_sessions=2), idle_s=10) as w:
        w.open(1)
        await w.started("a")
        await w.started("b")
        for _ in range(5):
            await asyncio.sleep(5)
            w.says(ProbeWord.BUSY, replica=0)
            w.says(ProbeWord.READY, replica=1)
        assert w.names == {"a"}


@virtual_time
async def test_an_idle_container_does_not_end_a_reservation_or_a_start_under_way() -> None:
    async with world(replace(MODEL, max_sessions=2), idle_s=10) as w:
        w.keeper.reserved(KEY, "held")
        w.keeper.request_began(w.keeper.streams.find(KEY, "held"), cut := lambda reason: None)  # type: ignore[arg-type]
        w.keeper.request_ended(w.keeper.streams.find(KEY, "held"), cut)  # type: ignore[arg-type]
        stream = w.keeper.hold("starting", Origin.BYOC, w.begin())
        w.keeper.starting(stream)
        for _ in range(20):
            await asyncio.sleep(5)
            w.says(ProbeWord.READY)
        assert w.names == {"held", "starting"}


@pytest.mark.parametrize("busy", [False, True])
def test_a_container_that_can_not_be_stopped_and_never_becomes_free_gives_its_slot_back_in_the_end(busy: bool) -> None:
    @virtual_time
    async def run() -> None:
        async with world(AI_RUNNER) as w:
            stream = await w.started("s1", LIVE)
            await w.keeper.end(stream, Outcome.OK, "it was stopped")
            began = now()
            while w.active:
                await asyncio.sleep(5)
                if busy:
                    w.says(ProbeWord.BUSY)
            assert WIND_DOWN_S <= now() - began <= WIND_DOWN_S + 10
            assert w.gone()
            assert w.told_node == ["s1"]

    run()


# Silence.


@virtual_time
async def test_a_session_without_any_sign_of_life_is_ended_and_one_with_signs_is_not() -> None:
    async with world(replace(MODEL, max_sessions=4), silence_s=60) as w:
        silent, busy, ridden, moving = [await w.started(name) for name in ("silent", "busy", "ridden", "moving")]
        busy.session.runner = runner_of(KEY, 1)  # Another replica, whose word it has.
        w.keeper.request_began(ridden, lambda why, word: None)
        for _ in range(10):
            await asyncio.sleep(10)
            w.says(ProbeWord.BUSY, replica=1)
            moving.session.progress_at = now()
        assert w.names == {"busy", "ridden", "moving"}
        assert w.outcomes == ["timeout"]
        assert w.containers.calls.count(StreamCall.STOP) == 1
        assert silent.phase is StreamPhase.ENDED


# Ends.


@virtual_time
async def test_whoever_rides_is_cut_and_the_end_is_told_when_the_last_one_has_left() -> None:
    async with world() as w:
        cut = Cuts()
        stream = await w.started()
        for _ in range(2):
            w.keeper.request_began(stream, cut.note)  # The same rider counts once.
        await w.keeper.end(stream, Outcome.OK, "it was stopped")
        assert (w.active, cut.told, w.ended) == (0, [("it was stopped", "")], [])
        w.keeper.request_ended(stream, cut.note)
        w.keeper.request_ended(stream, cut.note)
        assert [(end.stream, end.outcome, end.why) for end in w.ended] == [(stream, Outcome.OK, "it was stopped")]


@virtual_time
async def test_a_slot_that_was_taken_for_a_name_that_there_is_by_now_goes_back() -> None:
    async with world(replace(MODEL, max_sessions=2)) as w:
        one, other = w.begin(), w.begin()
        stream = w.keeper.hold("s1", Origin.BYOC, one)
        assert w.keeper.hold("s1", Origin.BYOC, other) is stream
        assert (w.active, other.outcome, w.outcomes) == (1, Outcome.REFUSED, ["refused"])


@virtual_time
async def test_a_container_that_does_not_answer_to_a_stop_gives_its_slot_back_in_time() -> None:
    async with world() as w:
        stream = await w.started()
        w.containers.answers[StreamCall.STOP] = ContainerSilent("gave no answer")
        with capture_logs() as logs:
            assert await w.keeper.stop(stream, {}, b"") is None
        await settle()
        assert (w.names, w.outcomes, w.active, w.table.letting_go(KEY)) == (set(), ["ok"], 1, 1)
        await asyncio.sleep(MODEL.inference.timeout_s)
        assert w.gone()
        assert [line["event"] for line in logs] == ["stream_not_stopped", "stream_ended"]


@virtual_time
async def test_a_runner_that_dies_while_it_is_asked_to_stop_gives_its_slot_back_at_once() -> None:
    async with world() as w:
        stream = await w.started()
        w.containers.gates[StreamCall.STOP] = asyncio.Event()
        w.keeper.end_soon(stream, Outcome.OK, "it was stopped")
        await settle()
        w.table.abort(RUNNER, "it died")
        w.table.gone(RUNNER)
        await settle()
        assert w.gone()
        w.containers.gates[StreamCall.STOP].set()
        await settle()
        assert w.outcomes == ["aborted"]


@virtual_time
async def test_closing_leaves_streams_and_containers_as_they_are() -> None:
    async with world(replace(MODEL, max_sessions=2)) as w:
        await w.started("a")
        stream = await w.started("b")
        w.containers.gates[StreamCall.STOP] = asyncio.Event()
        w.keeper.end_soon(stream, Outcome.OK, "it was stopped")
        await settle()
        await w.keeper.close()
        assert {name for _, name in w.store.kept} == {"a", "b"}
        assert w.containers.calls.count(StreamCall.STOP) == 1


@virtual_time
async def test_a_disk_that_fails_costs_no_stream() -> None:
    class Broken(FakeStreamStore):
        async def save_stream(self, stream: StoredStream) -> None:
            raise StoreError("cannot use the store: full")

        async def forget_stream(self, key: ModelKey, id: str) -> None:
            raise StoreError("cannot use the store: full")

    async with world(store=Broken()) as w:
        with capture_logs() as logs:
            stream = await w.started()
            await w.keeper.end(stream, Outcome.OK, "it was stopped")
            await settle()
        assert w.active == 0
        assert {"stream_not_saved", "stream_not_forgotten"} <= {line["event"] for line in logs}


# After a restart.


def stored(*names: str, origin: Origin = Origin.BYOC, replica: int = 0) -> FakeStreamStore:
    store = FakeStreamStore()
    for name in names:
        store.kept[KEY, name] = StoredStream(name, origin, runner_of(KEY, replica), 5.0)
    return store


@virtual_time
async def test_a_stream_is_on_the_disk_before_its_container_is_asked() -> None:
    async with world() as w:
        stream = w.keeper.hold("s1", Origin.BYOC, w.begin())
        w.keeper.starting(stream)
        assert not w.store.kept
        w.containers.gates[StreamCall.START] = asyncio.Event()
        starting = spawn(w.keeper.start(stream, MODEL, {}, b""), name="start")
        await settle()
        assert w.containers.calls == [StreamCall.START]
        assert w.store.kept[KEY, "s1"].runner == RUNNER
        w.containers.gates[StreamCall.START].set()
        await starting


@virtual_time
async def test_a_stream_of_an_earlier_orchd_counts_at_once_and_is_there_when_its_runner_is() -> None:
    async with world(store=stored("s1"), is_open=False) as w:
        await w.keeper.restore()
        w.open(1)
        with pytest.raises(JobRefused) as caught:
            w.begin()
        assert caught.value.code is Code.CAPACITY_EXHAUSTED
        w.open()
        stream = w.keeper.streams.find(KEY, "s1")
        assert stream is not None
        assert (stream.phase, stream.origin, w.active) == (StreamPhase.RUNNING, Origin.BYOC, 1)
        assert stream.session.runner == RUNNER
        await w.keeper.end(stream, Outcome.OK, "it was stopped")
        await settle()
        assert w.containers.calls == [StreamCall.STOP]
        assert w.gone()


@virtual_time
async def test_two_recoveries_of_a_session_are_one_session() -> None:
    """Our store, the node's list, and the container's word."""
    async with world(replace(MODEL, max_sessions=3), store=stored("s1", origin=LIVE), is_open=False) as w:
        await w.keeper.restore()
        w.keeper.reserved(KEY, "s1")
        w.keeper.listed(KEY, frozenset({"s1"}), now())
        w.says(ProbeWord.BUSY)
        w.open()
        w.says(ProbeWord.BUSY)
        w.keeper.listed(KEY, frozenset({"s1"}), now())
        assert (w.active, w.names) == (1, {"s1"})


@virtual_time
async def test_a_busy_container_that_nobody_knows_counts_until_somebody_names_it() -> None:
    async with world(is_open=False) as w:
        w.says(ProbeWord.BUSY)
        w.open()
        (stream,) = w.keeper.streams
        assert (w.active, stream.origin, stream.phase) == (1, Origin.FOUND, StreamPhase.RUNNING)
        w.keeper.listed(KEY, frozenset({"s1"}), now())
        assert (w.active, w.names, stream.origin) == (1, {"s1"}, LIVE)
        await settle()
        assert {name for _, name in w.store.kept} == {"s1"}


@virtual_time
async def test_a_busy_container_that_nobody_names_is_free_when_it_says_so() -> None:
    async with world(is_open=False, idle_s=10) as w:
        w.says(ProbeWord.BUSY)
        w.open()
        await asyncio.sleep(1)
        w.says(ProbeWord.READY)
        await asyncio.sleep(10 + 2 * SWEEP_S)
        assert w.gone()


@virtual_time
async def test_a_container_that_becomes_busy_by_our_own_jobs_is_nothing_found() -> None:
    async with world() as w:
        w.begin()
        w.says(ProbeWord.BUSY)
        assert w.names == set()
        w.table.abort(RUNNER, "")
    async with world() as w:
        w.says(ProbeWord.READY)
        w.says(ProbeWord.BUSY)
        assert (w.names, w.active) == (set(), 0)


@virtual_time
async def test_a_stored_stream_is_not_taken_for_what_another_replica_is_busy_with() -> None:
    async with world(replace(MODEL, max_sessions=2), store=stored("s1", replica=1), is_open=False) as w:
        await w.keeper.restore()
        w.says(ProbeWord.BUSY, replica=0)
        w.open(0)
        w.says(ProbeWord.BUSY, replica=1)
        w.open(1)
        assert w.active == 2
        assert {stream.session.runner.replica for stream in w.keeper.streams} == {0, 1}
        assert "s1" in w.names


@virtual_time
async def test_a_runner_that_is_gone_takes_its_expected_streams_with_it() -> None:
    async with world(store=stored("s1"), is_open=False) as w:
        w.known.discard(RUNNER)
        await w.keeper.restore()
        w.open(1)
        await asyncio.sleep(20)
        with pytest.raises(JobRefused):
            w.begin()  # Its runtime may need a moment to be looked at.
        await asyncio.sleep(20)
        w.table.end(w.begin(), Outcome.OK)
        assert w.gone()


@virtual_time
async def test_a_runner_that_does_not_come_back_in_time_takes_them_too() -> None:
    async with world(store=stored("s1"), is_open=False) as w:
        await w.keeper.restore()
        w.open(1)
        await asyncio.sleep(RECOVER_S - 1)
        with pytest.raises(JobRefused):
            w.begin()
        await asyncio.sleep(1 + 2 * SWEEP_S)
        w.begin()
        w.open(0)
        assert w.active == 1, "it is too late for it"


@pytest.mark.parametrize("how", ["stopped", "released"])
def test_what_is_stopped_before_it_is_found_again_ends_as_soon_as_it_is(how: str) -> None:
    @virtual_time
    async def run() -> None:
        async with world(store=stored("s1", origin=LIVE), is_open=False) as w:
            await w.keeper.restore()
            w.keeper.stopped(KEY, "s1") if how == "stopped" else w.keeper.released(KEY, "s1")
            w.open()
            await settle()
            assert w.containers.calls == [StreamCall.STOP]
            assert w.gone()

    run()


# What a reader sees.


@virtual_time
async def test_a_snapshot_shows_the_streams_of_each_model_oldest_first() -> None:
    clock = WallClock()
    async with world(replace(MODEL, max_sessions=2)) as w:
        with clock.patched():
            await w.started("b")
            await asyncio.sleep(5)
            clock.now += 5
            w.keeper.reserved(KEY, "a")
        mine, other = (status(replace(MODEL, key=key)) for key in (KEY, OTHER))
        shown = w.keeper.add_to(mine)
        first, second = shown.streams
        assert (first.id, first.origin, first.phase, first.replica) == ("b", "byoc", "running", 0)
        assert (second.id, second.origin, second.phase) == ("a", "live-runner", "held")
        assert second.since - first.since == pytest.approx(5)
        assert second.since == pytest.approx(clock.now)
        clock.now += 4000
        with clock.patched():
            assert w.keeper.add_to(mine) == shown, "a clock that is set meanwhile changes no date"
        assert w.keeper.add_to(other) is other
        assert mine.streams == ()


@virtual_time
async def test_each_change_of_what_is_shown_of_a_models_streams_is_told() -> None:
    async with world(replace(MODEL, max_sessions=2)) as w:
        before = status(MODEL)
        seen, version = w.keeper.add_to(before), 0

        def told(what: str) -> None:
            nonlocal seen, version
            shown = w.keeper.add_to(before)
            assert shown != seen, what
            assert w.keeper.changes.since(version) == [KEY], what
            seen, version = shown, w.keeper.changes.version

        w.keeper.reserved(KEY, "a")
        told("held")
        stream = w.keeper.claim(KEY, "a", Origin.LIVE_RUNNER)
        assert stream is not None
        w.keeper.starting(stream)
        told("starting")
        w.keeper.refused(stream, "not now")
        told("held again")
        w.keeper.starting(stream)
        w.keeper.started(stream)
        told("running")
        stream.asked = True
        w.keeper.end_soon(stream, Outcome.OK, "enough")
        told("ending")
        await asyncio.sleep(60)
        told("gone")


@virtual_time
async def test_stops_of_streams_that_never_were_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers can name as many as they like; those that ended last are remembered, and none for ever."""
    monkeypatch.setattr(over, "MOST", 100)
    async with world() as w:
        for n in range(1000):
            w.keeper.stopped(KEY, f"none-{n}")
        w.keeper.stopped(KEY, "none-950")
        assert list(w.keeper.over) == [(KEY, f"none-{n}") for n in (*range(900, 950), *range(951, 1000), 950)]
        await asyncio.sleep(RECOVER_S - 1)
        assert len(w.keeper.over) == 100
        w.keeper.stopped(KEY, "later")
        await asyncio.sleep(1 + 2 * SWEEP_S)
        assert list(w.keeper.over) == [(KEY, "later")]


@virtual_time
async def test_of_thousands_of_sessions_for_which_there_is_no_slot_few_are_ended_at_once_and_all_in_the_end() -> None:
    async with world() as w:
        listed = frozenset(f"s{number:04}" for number in range(10 * MOST_TOLD))
        for told in range(1, 4):
            w.keeper.listed(KEY, listed, now())
            await asyncio.sleep(ANSWER_S + 1)
            assert (w.active, len(w.told_node)) == (1, told * MOST_TOLD)
        for _ in range(20):
            w.keeper.listed(KEY, listed, now())
            await asyncio.sleep(ANSWER_S + 1)
        assert set(w.told_node) == listed - w.names
        before = len(w.told_node)
        await asyncio.sleep(2 * TOLD_S)
        w.keeper.listed(KEY, listed, now())
        await asyncio.sleep(ANSWER_S + 1)
        assert len(w.told_node) == before + MOST_TOLD, "what is still there is told again, few at once, too"

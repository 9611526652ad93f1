"""What Live Runner is told to sell is what is free: the real table of slots, beside the doubles of both programs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from orchd.advertise.free_slots import FreeSlots
from orchd.domain.changes import Changes
from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.outcomes import Outcome
from orchd.errors import Code
from orchd.sessions.session import Session, SessionKind
from orchd.sessions.table import SessionTable
from orchd.tasks import cancel, spawn
from tests.advertise.live_runner.test_static import static
from tests.advertise.live_runner.world import WORLDS, World, key, offer
from tests.advertise.rig import until

XL = key()
RUNNER = RunnerId(XL, 0, "0123456789ab")


class NoStreams:
    """No session of the node's outlives a request. `held` are there all the same."""

    def __init__(self) -> None:
        self.changes: Changes[ModelKey] = Changes()
        self.held = 0

    def at_node(self, key: ModelKey) -> int:
        return self.held


class Shop:
    """A table with one model of two slots, and what is free of it."""

    def __init__(self) -> None:
        self.table = SessionTable(on_drained=lambda runner: None, on_wanted=lambda key: None)
        self.table.define(XL, 2, 2)
        self.table.open(RUNNER, Address("127.0.0.1", 9000), None)
        self.streams = NoStreams()
        self.free = FreeSlots(self.table, self.streams)

    def begin(self, kind: SessionKind = SessionKind.JOB) -> Session:
        session = self.table.begin(XL, kind)
        assert isinstance(session, Session)
        return session

    def end(self, session: Session) -> None:
        self.table.end(session, Outcome.OK)


@asynccontextmanager
async def orchd(beside: World) -> AsyncIterator[Shop]:
    """Run orchd with one model that is listed with both its slots."""
    shop = Shop()
    beside.slots = shop.free
    async with beside.orchd():
        following = spawn(shop.free.run(beside.listings.slots_moved.emit), name="free slots")
        try:
            beside.node_is_up()
            beside.post(offer(persistent=False))
            await until("it is listed", lambda: beside.capacity() == 2 and beside.standing().published)
            yield shop
        finally:
            await cancel(following)


@pytest.mark.parametrize("program", WORLDS)
async def test_what_others_take_is_not_for_sale_and_a_full_model_is_left_out_until_a_slot_is_free(program: str) -> None:
    async with WORLDS[program]() as beside, orchd(beside) as shop:
        jobs = [shop.begin()]
        await until("one slot is for sale", lambda: beside.capacity() == 1)
        jobs.append(shop.begin())
        await until("it is left out", lambda: beside.runner() is None)
        await until("its standing says so", lambda: beside.standing().full)
        standing = beside.standing()
        assert (standing.wanted, standing.published, standing.error) == (False, False, "")
        shop.end(jobs.pop())
        await until("it is there again", lambda: beside.capacity() == 1)
        await until("its standing says so", lambda: beside.standing().published)
        assert not beside.standing().full


@pytest.mark.parametrize("program", WORLDS)
async def test_a_full_model_stays_for_the_sessions_that_the_node_has_on_it(program: str) -> None:
    async with WORLDS[program]() as beside, orchd(beside) as shop:
        mine = beside.reserve()
        session = shop.begin(SessionKind.NODE_JOB)
        other = shop.begin()
        await until("no slot is free", lambda: (found := beside.runner()) and found.free == 0)
        runner = beside.runner()
        assert runner is not None
        assert mine in runner.sessions
        beside.release(mine)
        shop.end(session)
        await until("its slot is for sale", lambda: beside.capacity() == 1 and (beside.runner() or runner).free == 1)
        shop.end(other)
        await until("both are", lambda: beside.capacity() == 2)


async def test_by_the_cli_port_a_full_model_is_hidden_until_a_slot_is_free() -> None:
    async with static() as beside, orchd(beside) as shop:
        jobs = [shop.begin(), shop.begin()]
        beside.active[XL] = 2
        await until("it is hidden", lambda: beside.capacity() is None)
        await until("its standing says so", lambda: beside.standing().full)
        shop.end(jobs.pop())
        beside.active[XL] = 1
        await until("it is there again", lambda: beside.capacity() == 1)


async def test_the_node_s_own_jobs_are_no_news_and_those_of_others_are() -> None:
    shop, news = Shop(), list[int | None]()
    following = spawn(shop.free.run(lambda key: news.append(shop.free.capacity(key))), name="free slots")
    shop.table.define(XL, 2, 2)
    try:
        shop.end(shop.begin())
        await until("the first news", lambda: news == [2])
        for _ in range(100):
            shop.end(shop.begin(SessionKind.NODE_JOB))
        mine = shop.begin(SessionKind.NODE_JOB)
        other = shop.begin()
        await until("the other one is news", lambda: len(news) == 2)
        shop.end(mine)
        shop.end(other)
        await until("its end is", lambda: len(news) == 3)
        assert news == [2, 1, 2]
    finally:
        await cancel(following)


async def test_a_session_that_the_node_holds_and_a_job_that_waits_are_the_node_s_own() -> None:
    shop = Shop()
    shop.streams.held = 1  # In a slot that is kept for it:
    kept = shop.table.reserve(XL)
    assert shop.free.capacity(XL) == 2
    shop.table.release(kept)
    shop.streams.held = 0
    cold = ModelKey("text-to-image", "acme/cold")
    shop.table.define(cold, 2, 2)
    shop.table.set_closed(cold, startable=True, code=Code.NOT_READY, reason="it is cold")
    shop.table.begin(cold, SessionKind.NODE_JOB)
    assert (shop.table.free(cold), shop.free.capacity(cold)) == (1, 2)
    shop.table.begin(cold, SessionKind.JOB)
    assert (shop.table.free(cold), shop.free.capacity(cold)) == (0, 1)
    assert shop.free.capacity(ModelKey("a", "b")) is None

"""What containers have made lives as long as their sessions, over a restart, and no longer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from orchd.channels.channels import TooManyChannels
from orchd.database.database import Database
from orchd.database.sql import Sql
from orchd.errors import StoreError
from orchd.sold.runner_side import tables
from orchd.sold.runner_side.runner_side import MOST_CHANNELS, MOST_PROXIES, RunnerSide, SessionOver, TooManyProxies
from orchd.tasks import cancel, spawn
from tests.database.parts import opened_own
from tests.sold.runner_side.living import LivingSessions, NotedChannels

T = TypeVar("T")
TARGET = "http://10.0.0.5:9000/base"


@dataclass
class HeldDatabase:
    """A database whose transactions wait while they are held, and fail when they are to.

    Attributes:
        handed: one was handed over.
    """

    database: Database
    go: asyncio.Event = field(default_factory=asyncio.Event)
    order: asyncio.Lock = field(default_factory=asyncio.Lock)
    broken: bool = False
    handed: asyncio.Event = field(default_factory=asyncio.Event)

    async def transaction(self, work: Callable[[Sql], T]) -> T:
        async with self.order:  # As the real one: in the order in which they are handed over.
            self.handed.set()
            await self.go.wait()
            if self.broken:
                raise StoreError("cannot keep anything")
            return await self.database.transaction(work)

    async def read(self, work: Callable[[Sql], T]) -> T:
        return await self.database.read(work)


class Life:
    """One life of orchd."""

    def __init__(self, database: Database, sold: LivingSessions) -> None:
        self.database = HeldDatabase(database)
        self.database.go.set()
        self.sold = sold
        self.channels = NotedChannels()
        self.side = RunnerSide(sold, self.channels, self.database)

    async def rows(self) -> set[str]:
        """Return for which sessions something is kept, once all that was handed over is."""
        await self.database.transaction(lambda sql: None)
        return await self.database.read(tables.sessions_with_rows)

    async def left(self) -> set[str]:
        """As `rows`, of a session that has just ended."""
        await asyncio.sleep(0)  # What drops them is a task.
        return await self.rows()


@asynccontextmanager
async def living(folder: Path, *sessions: str) -> AsyncIterator[Life]:
    sold = LivingSessions()
    for id in sessions:
        sold.begin(id)
    async with opened_own(folder) as database:
        life = Life(database, sold)
        await life.side.restore()
        yield life


async def test_a_channel_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    async with living(tmp_path, "s") as life:
        session = life.sold.live["s"]
        made = await life.side.make_channels(session, [("in", "video/mp2t"), ("out", ""), ("in", "text/plain")])
        assert [(each.name, each.mime_type) for each in made[:2]] == [
            ("in", "video/mp2t"),
            ("out", "application/octet-stream"),
        ]
        assert made[2] == made[0]
        assert await life.side.make_channels(session, [("in", "text/plain")]) == made[:1]
        assert life.channels.there == {each.channel_name: (each.mime_type, "s") for each in made[:2]}
        assert life.side.channel_name("s", "in") == made[0].channel_name
        assert life.side.channel_name("s", "none") is life.side.channel_name("other", "in") is None


async def test_a_channel_that_its_writer_has_ended_is_there_again_for_who_asks(tmp_path: Path) -> None:
    async with living(tmp_path, "s") as life:
        session = life.sold.live["s"]
        made = await life.side.make_channels(session, [("in", "video/mp2t"), ("out", "")])
        life.channels.remove(made[0].channel_name)
        assert await life.side.make_channels(session, [("in", ""), ("out", "")]) == made
        assert life.channels.there == {each.channel_name: (each.mime_type, "s") for each in made}
    async with living(tmp_path, "s") as life:
        assert life.side.channel_name("s", "in") == made[0].channel_name


async def test_channels_are_removed_by_either_name_and_what_is_unknown_is_no_error(tmp_path: Path) -> None:
    async with living(tmp_path, "s", "t") as life:
        session, other = life.sold.live["s"], life.sold.live["t"]
        one, two = await life.side.make_channels(session, [("in", ""), ("out", "")])
        assert await life.side.remove_channels(other, ["in", one.channel_name]) == []
        assert await life.side.remove_channels(session, ["nope", "in", two.channel_name]) == ["in", two.channel_name]
        assert await life.side.remove_channels(session, ["in"]) == []
        assert life.channels.there == {}
        assert await life.rows() == set()


async def test_what_was_made_is_there_after_a_restart_under_the_same_names(tmp_path: Path) -> None:
    async with living(tmp_path, "s") as life:
        session = life.sold.live["s"]
        made = await life.side.make_channels(session, [("in", "video/mp2t"), ("out", "")])
        proxies = [await life.side.make_proxy(session, target) for target in (None, TARGET)]
        there = life.channels.there
    async with living(tmp_path, "s") as life:
        assert life.channels.there == there
        assert [life.side.proxy(each.id) for each in proxies] == proxies
        assert await life.side.make_channels(life.sold.live["s"], [("in", ""), ("out", "")]) == made


async def test_what_a_session_had_made_goes_with_it(tmp_path: Path) -> None:
    async with living(tmp_path, "s") as life:
        session = life.sold.live["s"]
        await life.side.make_channels(session, [("in", "")])
        proxy = await life.side.make_proxy(session, TARGET)
        life.sold.end(session)
        assert life.channels.there == {}
        assert life.side.proxy(proxy.id) is None
        assert await life.left() == set()
        for late in (life.side.make_channels(session, [("in", "")]), life.side.make_proxy(session, None)):
            with pytest.raises(SessionOver):
                await late


async def test_how_far_a_channel_is_written_is_known_and_its_events_say_last_why_a_session_ends(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        session, quiet = life.sold.begin("session_a"), life.sold.begin("session_b")
        data, events = await life.side.make_channels(session, [("data", ""), ("events", "application/json")])
        await life.side.make_channels(quiet, [("data", "")])
        life.sold.ending.emit(session, "its credit is used up")
        life.sold.ending.emit(quiet, "it was not used")
        [(name, said)] = life.channels.published
        assert name == events.channel_name
        assert json.loads(said)["event"] == {"type": "session_ended", "reason": "its credit is used up"}
        heads = [life.side.channel_head("session_a", each) for each in ("events", "data", "other")]
        assert heads == [1, 0, None]
        life.channels.remove(data.channel_name)  # As who has its URL may do.
        assert life.side.channel_head("session_a", "data") is None


async def test_a_restart_drops_what_is_left_of_sessions_that_are_over(tmp_path: Path) -> None:
    async with living(tmp_path, "s", "t") as life:
        for session in life.sold.live.values():
            await life.side.make_channels(session, [("in", "")])
            await life.side.make_proxy(session, None)
    async with living(tmp_path, "t") as life:  # The kill came between the session's end and that of its rows.
        assert await life.rows() == {"t"}
        assert {session for _, session in life.channels.there.values()} == {"t"}


@pytest.mark.parametrize("what", ["channels", "proxy"])
async def test_a_session_that_ends_while_something_is_made_leaves_nothing(tmp_path: Path, what: str) -> None:
    async with living(tmp_path, "s") as life:
        session = life.sold.live["s"]
        life.database.go.clear()
        life.database.handed.clear()
        work = life.side.make_channels(session, [("in", "")]) if what == "channels" else None
        making = spawn(work or life.side.make_proxy(session, None), name="make")
        await life.database.handed.wait()
        life.sold.end(session)
        life.sold.begin("s")  # Leftover credit of a manifest begins another session of the same id.
        life.database.go.set()
        with pytest.raises(SessionOver):
            await making
        assert life.channels.there == {}
        assert await life.left() == set()


async def test_a_caller_that_leaves_in_the_middle_finds_what_it_asked_for(tmp_path: Path) -> None:
    async with living(tmp_path, "s") as life:
        session = life.sold.live["s"]
        life.database.go.clear()
        life.database.handed.clear()
        making = spawn(life.side.make_channels(session, [("in", "")]), name="make")
        await life.database.handed.wait()
        await cancel(making)
        again = spawn(life.side.make_channels(session, [("in", "")]), name="again")
        life.database.go.set()
        (made,) = await again
        assert [*life.channels.there] == [made.channel_name]


async def test_nothing_is_made_that_can_t_be_kept(tmp_path: Path) -> None:
    async with living(tmp_path, "s") as life:
        session = life.sold.live["s"]
        life.database.broken = True
        with pytest.raises(StoreError):
            await life.side.make_channels(session, [("in", "")])
        with pytest.raises(StoreError):
            await life.side.make_proxy(session, None)
        assert life.channels.there == {}
        assert life.side.channel_name("s", "in") is None


async def test_a_session_has_so_many_channels_and_proxies_at_most(tmp_path: Path) -> None:
    async with living(tmp_path, "s") as life:
        session = life.sold.live["s"]
        await life.side.make_channels(session, [(str(number), "") for number in range(MOST_CHANNELS - 1)])
        with pytest.raises(TooManyChannels):
            await life.side.make_channels(session, [("a", ""), ("b", "")])
        await life.side.make_channels(session, [("a", ""), ("0", "")])
        for _ in range(MOST_PROXIES):
            await life.side.make_proxy(session, None)
        with pytest.raises(TooManyProxies) as refused:
            await life.side.make_proxy(session, None)
        assert refused.value.of_session
        assert len(life.channels.there) == MOST_CHANNELS


async def test_all_sessions_together_have_so_many_proxies_at_most(tmp_path: Path) -> None:
    async with living(tmp_path, "s", "t") as life:
        side = RunnerSide(life.sold, life.channels, life.database, most_proxies=2)
        for session in (life.sold.live["s"], life.sold.live["t"]):
            await side.make_proxy(session, None)
        with pytest.raises(TooManyProxies) as refused:
            await side.make_proxy(session, None)
        assert not refused.value.of_session
        life.sold.end(life.sold.live["s"])
        await side.make_proxy(session, None)


async def test_where_the_channels_of_all_are_too_many_none_of_a_request_is_made(tmp_path: Path) -> None:
    async with living(tmp_path, "s") as life:
        life.channels.most = 1
        with pytest.raises(TooManyChannels):
            await life.side.make_channels(life.sold.live["s"], [("in", ""), ("out", "")])
        assert life.channels.there == {}
        assert await life.rows() == set()


async def test_only_its_own_token_speaks_for_a_session_and_none_for_a_pending_one(tmp_path: Path) -> None:
    async with living(tmp_path, "s", "t") as life:
        session = life.sold.live["s"]
        assert life.side.speaks_for(session, b"token of s")
        for wrong in (b"", b"token of t", b"token of s ", "tökén".encode()):
            assert not life.side.speaks_for(session, wrong)
        session.pending = True
        assert not life.side.speaks_for(session, b"token of s")


async def test_a_row_that_can_t_be_read_is_left_out(tmp_path: Path) -> None:
    async with living(tmp_path, "s") as life:
        proxy = await life.side.make_proxy(life.sold.live["s"], TARGET)
        await life.database.transaction(lambda sql: sql.change("UPDATE session_proxies SET target = 'nowhere'"))
    async with living(tmp_path, "s") as life:
        assert life.side.proxy(proxy.id) is None

"""What is heard of the node's sessions: by which ways, and when a way is given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from orchd.advertise.live_runner import dynamic, event_channel
from orchd.advertise.live_runner.session_news import SWEEP_S, SessionNews
from orchd.domain.ids import ModelKey
from orchd.domain.model import Secret
from orchd.node.client import NodeClient
from orchd.node.ports import StreamedAnswer
from tests.advertise.live_runner.world import WORLDS, key, offer
from tests.advertise.rig import FakeWatch, NodeSessionsSeen, until
from tests.virtual_time import virtual_time

KEY = ModelKey("llm", "acme/chat")
both = pytest.mark.parametrize("program", WORLDS)


class Readers:
    """Attributes:
    asked: every URL that was read, without the segment's number.
    open: how many reads wait now; `most`: how many ever did.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.open = self.most = 0
        stream = NodeClient.stream

        @asynccontextmanager
        async def counted(
            client: NodeClient, url: Secret, *, headers: Mapping[str, str] = {}
        ) -> AsyncIterator[StreamedAnswer]:
            self.asked.append(url.value.rpartition("/")[0])
            self.open += 1
            self.most = max(self.most, self.open)
            try:
                async with stream(client, url, headers=headers) as answer:
                    yield answer
            finally:
                self.open -= 1

        monkeypatch.setattr(NodeClient, "stream", counted)


@both
async def test_so_many_channels_are_read_at_once_and_the_next_is_when_one_ends(
    monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    most = 4  # The real bound works alike, with many more sockets.
    assert event_channel.MOST_READERS == 64
    monkeypatch.setattr(dynamic, "MOST_READERS", most)
    readers = Readers(monkeypatch)
    async with WORLDS[program]() as beside, beside.orchd():
        beside.node_is_up()
        names = [f"m{number}" for number in range(most + 2)]
        left = names[0]
        beside.post(offer(left))
        await until("the one that will go is read", lambda: readers.open == 1)
        beside.post(*(offer(name) for name in names))
        await until("as many as may be are read", lambda: readers.open == most)
        await until("all are listed", lambda: all(beside.capacity(name) == 2 for name in names))
        beside.post(*(offer(name) for name in names if name != left), why_not=(left,))
        await until("one is gone", lambda: beside.runner(left) is None)
        await until("another one is read", lambda: len(set(readers.asked)) > most)
        await until("as many as may be are read", lambda: readers.open == most)
    assert readers.most == most


@both
async def test_a_silent_channel_is_never_read_again_and_sessions_are_still_known(
    monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """The node's clock stands still, so it sends no sign of life."""
    monkeypatch.setattr(event_channel, "SILENCE_S", 0.1)
    readers = Readers(monkeypatch)
    async with WORLDS[program]() as beside:
        async with beside.orchd():
            beside.node_is_up()
            beside.post(offer())
            await until("it has been read", lambda: readers.asked)
            await until("it is left", lambda: readers.open == 0)
            for capacity in (3, 4):
                beside.post(offer(capacity=capacity))
                await until("it is told", lambda capacity=capacity: beside.capacity() == capacity)  # type: ignore[misc]
            session = beside.reserve()
            beside.post(offer(capacity=5))
            await until("the session is known", lambda: beside.sessions.of(key()) == {session})
            assert beside.watch.suspicions == 0
        async with beside.orchd():
            beside.node_is_up()
            beside.post(offer(capacity=6))
            await until("the session is known again", lambda: beside.sessions.of(key()) == {session})
    assert len(readers.asked) == 1


@both
async def test_a_channel_that_is_gone_has_the_node_looked_at(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    readers = Readers(monkeypatch)
    async with WORLDS[program]() as beside, beside.orchd():
        beside.node_is_up()
        beside.post(offer())
        await until("it is read", lambda: readers.open == 1)
        (channel,) = [name for name in beside.node.trickle.channels.names() if name.endswith("o2r")]
        beside.node.trickle.close(channel)
        await until("the watch hears of it", lambda: beside.watch.suspicions == 1)


@both
async def test_a_restarted_nodes_sessions_are_told_as_gone_with_it(program: str) -> None:
    async with WORLDS[program]() as beside, beside.orchd():
        beside.node_is_up()
        beside.post(offer())
        await until("it is listed", lambda: beside.capacity() == 2)
        session = beside.reserve()
        beside.post(offer(capacity=3))
        await until("the session is known", lambda: beside.sessions.of(key()) == {session})
        await beside.node.restart()
        beside.node_is_up()
        await until("they are gone", lambda: ("forgotten", str(key())) in beside.sessions.told)
        await until("it is listed again", lambda: beside.capacity() == 3)


# By itself.


class News(SessionNews):
    def __init__(self) -> None:
        self.sessions = NodeSessionsSeen()
        context: Any = SimpleNamespace(sessions=self.sessions, node=SimpleNamespace(watch=FakeWatch(), calls=None))
        super().__init__(KEY, context, asyncio.Semaphore(1), lambda event: None, lambda channel: None)


@virtual_time
async def test_a_node_that_takes_no_heartbeat_has_ended_the_sessions_once_their_time_is_up() -> None:
    news = News()
    await asyncio.sleep(100)
    news.unheard(1000.0, 30.0)
    assert news.sessions.told == [], "there were none"
    news.listed(frozenset({"a"}), 100.0, persistent=True)
    news.unheard(100.0 + 30.0 + SWEEP_S, 30.0)
    assert news.sessions.of(KEY) == {"a"}
    await asyncio.sleep(100)
    news.unheard(100.0 + 30.5 + SWEEP_S, 30.0)
    news.unheard(199.0, 30.0)
    assert news.sessions.told == [("forgotten", str(KEY))]


@virtual_time
async def test_what_began_before_the_mode_changed_is_what_it_was() -> None:
    news = News()
    for listed, persistent, sessions in (
        ("ab", True, "ab"),
        ("abc", True, "abc"),
        ("bc", True, "bc"),  # As the node had it until this answer: from now on requests are sessions of their own.
        ("bcde", False, "bc"),
        ("cdef", False, "c"),
        ("cf", False, "c"),
        ("cfg", True, "cg"),
        ("fgh", True, "gh"),
        ("h", True, "h"),
    ):
        news.listed(frozenset(listed), 0.0, persistent=persistent)
        assert news.sessions.of(KEY) == set(sessions)

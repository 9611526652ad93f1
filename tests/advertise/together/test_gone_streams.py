"""A stream that the node carries no more is ended, whatever became of its stop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial

import pytest

from orchd.advertise import gone_streams
from orchd.advertise.byoc import NAME, control_channel
from orchd.advertise.gone_streams import FORGOTTEN, STOPPED, GoneStreams
from orchd.advertise.listings import Listings
from orchd.domain.ids import Address, RunnerId, SessionId
from orchd.domain.offer import NodeStatus
from orchd.domain.origins import Origin
from orchd.domain.outcomes import Outcome
from orchd.domain.phases import StreamPhase
from orchd.node.client import NodeClient
from orchd.node.ports import NodeAnswer, NodeError
from orchd.realtime.stream import Stream
from orchd.sessions.session import Session, SessionKind
from orchd.tasks import cancel, spawn
from tests.advertise.rig import Jobs, client_of, key, node, settings_for, until
from tests.doubles.golivepeer.node import Node

NOT_ASKED = ("über/all?", "live", "held", "direct")
"""A name that is escaped, one of Live Runner's, one that was not started, and one that no node has begun."""


def stream(name: str, origin: Origin = Origin.BYOC, phase: StreamPhase = StreamPhase.RUNNING) -> Stream:
    runner = RunnerId(key("a"), 0, "g")
    session = Session(SessionId(1), key("a"), runner, Address("127.0.0.1", 9), SessionKind.STREAM, 0.0, 0.0)
    return Stream(name, key("a"), origin, session, 0.0, 0.0, phase=phase)


class Keeper:
    """Keeps streams until they are ended."""

    def __init__(self, streams: Iterable[Stream]) -> None:
        self.streams = list(streams)
        self.ended: dict[str, tuple[Outcome, str]] = {}

    def end_soon(self, stream: Stream, outcome: Outcome, why: str) -> None:
        self.streams.remove(stream)
        self.ended[stream.id] = outcome, why


class Asked:
    """BYOC's registry, as far as streams go. `names` were asked about, and the node said that `alive` are."""

    def __init__(self, client: NodeClient) -> None:
        self._lives = partial(control_channel.lives, client)
        self.names: list[str] = []
        self.alive: list[str] = []

    async def run(self) -> None:
        raise AssertionError("it is not run here")

    async def withdraw_all(self) -> None:
        raise AssertionError("nor ended")

    async def lives(self, name: str) -> bool:
        self.names.append(name)
        lives = await self._lives(name)
        self.alive += [name] * lives
        return lives


class Scene:
    def __init__(self, double: Node, asked: Asked, *names: str) -> None:
        self.double, self.asked = double, asked
        for name in names:
            self.begin(name)
        others = (
            stream(NOT_ASKED[0]),
            stream("live", Origin.LIVE_RUNNER),
            stream("held", phase=StreamPhase.HELD),
            stream("direct", Origin.DIRECT),
        )
        self.keeper = Keeper([*map(stream, names), *others])
        self.listings: Listings = Jobs().listings()

    def begin(self, name: str) -> None:
        self.double.trickle.create(f"{name}-control", "application/json")

    def stop(self, name: str) -> None:
        self.double.trickle.close(f"{name}-control")

    def node_is(self, epoch: int, *, up: bool = True) -> None:
        self.listings.set_node(NodeStatus(up, epoch, 0.0, False, "0.9.x", (NAME,)))

    async def asked_about(self, name: str) -> None:
        """Wait until it was asked about once more."""
        before = self.asked.names.count(name)
        await until(f"{name} was asked about", lambda: self.asked.names.count(name) > before)


@asynccontextmanager
async def scene(*names: str, check_s: float = 0.0) -> AsyncIterator[Scene]:
    async with node() as double, client_of(settings_for(double)) as client:
        asked = Asked(client)
        made = Scene(double, asked, *names)
        made.node_is(1)
        task = spawn(GoneStreams(made.keeper, made.listings, {NAME: asked}, check_s).run(), name="gone streams")
        try:
            yield made
            assert not task.done(), task
            assert {each.id for each in made.keeper.streams} >= set(NOT_ASKED), "they are none of its business"
        finally:
            await cancel(task)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gone_streams, "TURN_S", 0.01)


async def test_a_stream_that_lives_is_left_alone_and_one_whose_stop_was_lost_is_ended() -> None:
    async with scene("one", "two") as s:
        await s.asked_about("two")
        await s.asked_about("two")
        assert s.keeper.ended == {}
        s.stop("one")
        await until("it is ended", lambda: "one" in s.keeper.ended)
        assert s.keeper.ended == {"one": (Outcome.OK, STOPPED)}


async def test_each_start_of_the_node_is_asked_at_once_and_what_it_forgot_did_not_end_well() -> None:
    async with scene("one", check_s=1000.0) as s:
        await until("the node has said that it lives", lambda: "one" in s.asked.alive)
        s.node_is(1, up=False)
        await s.double.restart()
        s.node_is(2)
        await until("it is ended", lambda: "one" in s.keeper.ended)
        assert s.keeper.ended == {"one": (Outcome.ABORTED, FORGOTTEN)}


async def test_a_stream_that_orchd_finds_again_is_asked_about_at_once() -> None:
    """Its stop may have come while orchd was away."""
    async with scene(check_s=1000.0) as s:
        s.keeper.streams.append(stream("found"))
        await until("it is ended", lambda: "found" in s.keeper.ended)
        assert s.keeper.ended["found"][0] is Outcome.ABORTED


async def test_a_node_in_trouble_ends_no_stream() -> None:
    async with scene("one") as s:
        await s.asked_about("one")
        s.double.faults.fail = True
        await s.asked_about("one")
        await s.asked_about("one")
        s.double.faults.fail = False
        await s.asked_about("one")
        await s.asked_about("one")
        assert s.keeper.ended == {}


async def test_the_404_of_another_server_is_no_word_of_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a proxy in front of the node that passes no channels on."""
    async with node() as double, client_of(settings_for(double)) as client:
        assert not await control_channel.lives(client, "one")

        async def service(method: str, path: str, **rest: object) -> NodeAnswer:
            return NodeAnswer(404, b"<h1>404 Not Found</h1>", "text/html")

        monkeypatch.setattr(client, "service", service)
        with pytest.raises(NodeError, match="cannot see whether the node carries stream one"):
            await control_channel.lives(client, "one")

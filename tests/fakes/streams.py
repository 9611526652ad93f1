"""A keeper of streams over a store and containers that only remember."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.model import Model
from orchd.realtime.container import ContainerSilent, Reply
from orchd.realtime.keeper import Keeper
from orchd.realtime.routes import StreamCall
from orchd.realtime.settings import StreamsSettings
from orchd.realtime.stream import StreamEnd
from orchd.sessions.letting_go import LettingGo
from orchd.sessions.table import SessionTable
from tests.fakes.stored import FakeStreamStore


class FakeContainers:
    """Attributes:
    asked: each call, with its address and body.
    answers: by call; 200 where none is given. An exception is raised.
    gates: a call waits for its own.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[StreamCall, Address, Mapping[str, str], bytes]] = []
        self.answers: dict[StreamCall, Reply | ContainerSilent | None] = {}
        self.gates: dict[StreamCall, asyncio.Event] = {}

    @property
    def calls(self) -> list[StreamCall]:
        return [call for call, *_ in self.asked]

    async def call(
        self, model: Model, address: Address, call: StreamCall, *, headers: Mapping[str, str], body: bytes
    ) -> Reply | None:
        self.asked.append((call, address, dict(headers), body))
        if (gate := self.gates.get(call)) is not None:
            await gate.wait()
        answer = self.answers.get(call, Reply(200, ((b"Content-Type", b"application/json"),), b'{"status":"success"}'))
        if isinstance(answer, ContainerSilent):
            raise answer
        return answer


class FakeRunners:
    """`keeper.KnownRunners`, from two functions.

    Attributes:
        gone_bad: of which nothing can be expected any more, and why.
        unserved: that don't answer their sessions now.
    """

    def __init__(self, models: Callable[[], Mapping[ModelKey, Model]], knows: Callable[[RunnerId], bool]) -> None:
        self.models = models
        self.knows = knows
        self.gone_bad: dict[RunnerId, str] = {}
        self.unserved: set[RunnerId] = set()

    def serves(self, runner: RunnerId) -> bool:
        return runner not in self.unserved

    def given_up(self, runner: RunnerId) -> str:
        return self.gone_bad.get(runner, "")


def a_letting_go(table: SessionTable) -> LettingGo:
    """Return what lets go of slots, on the running loop's clock."""
    loop = asyncio.get_running_loop()
    return LettingGo(table, loop.time, loop.call_later)


def a_keeper(
    table: SessionTable,
    models: Callable[[], Mapping[ModelKey, Model]] = dict,
    on_end: Callable[[StreamEnd], None] = lambda end: None,
    knows: Callable[[RunnerId], bool] = lambda runner: True,
    store: FakeStreamStore | None = None,
    letting_go: LettingGo | None = None,
    lost_s: Callable[[float], float] = lambda since: 0.0,
    **settings: Any,
) -> Keeper:
    letting_go = letting_go or a_letting_go(table)
    store = store or FakeStreamStore()
    runners = FakeRunners(models, knows)
    keeper = Keeper(StreamsSettings(**settings), table, letting_go, store, FakeContainers(), runners, lost_s)
    keeper.ended.connect(on_end)
    return keeper


def held_for_node(keeper: Keeper, key: ModelKey) -> frozenset[str]:
    """Return the node's sessions of a model that are held."""
    return frozenset(stream.id for stream in keeper.streams.of(key) if stream.origin.at_node)

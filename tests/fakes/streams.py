"""A keeper of streams over a store and containers that only remember."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.model import Model
from orchd.domain.ports import StoredModel, StoredStream
from orchd.realtime.container import ContainerSilent, Reply
from orchd.realtime.keeper import Keeper
from orchd.realtime.routes import Call
from orchd.realtime.settings import StreamsSettings
from orchd.realtime.stream import Ended
from orchd.sessions.letting_go import LettingGo
from orchd.sessions.table import SessionTable


class FakeStore:
    """`ports.Store`, in memory."""

    def __init__(self) -> None:
        self.kept: dict[tuple[ModelKey, str], StoredStream] = {}
        self.secrets: dict[str, str] = {}

    async def models(self) -> tuple[StoredModel, ...]:
        return ()

    async def save_models(self, current: tuple[Model, ...]) -> None: ...

    async def forget_generations(self, keep: frozenset[tuple[ModelKey, str]]) -> None: ...

    async def keep(self) -> None:
        pass

    async def secret(self, name: str) -> str | None:
        return self.secrets.get(name)

    async def save_secret(self, name: str, value: str) -> None:
        self.secrets[name] = value

    async def forget_secret(self, name: str) -> None:
        self.secrets.pop(name, None)

    async def streams(self) -> tuple[StoredStream, ...]:
        return tuple(self.kept.values())

    async def save_stream(self, stream: StoredStream) -> None:
        self.kept[stream.runner.key, stream.id] = stream

    async def forget_stream(self, key: ModelKey, id: str) -> None:
        self.kept.pop((key, id), None)

    async def close(self) -> None: ...


class FakeContainers:
    """Attributes:
    asked: each call, with its address and body.
    answers: by call; 200 where none is given. An exception is raised.
    gates: a call waits for its own.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[Call, Address, Mapping[str, str], bytes]] = []
        self.answers: dict[Call, Reply | ContainerSilent | None] = {}
        self.gates: dict[Call, asyncio.Event] = {}

    @property
    def calls(self) -> list[Call]:
        return [call for call, *_ in self.asked]

    async def call(
        self, model: Model, address: Address, call: Call, *, headers: Mapping[str, str], body: bytes
    ) -> Reply | None:
        self.asked.append((call, address, dict(headers), body))
        if (gate := self.gates.get(call)) is not None:
            await gate.wait()
        answer = self.answers.get(call, Reply(200, ((b"Content-Type", b"application/json"),), b'{"status":"success"}'))
        if isinstance(answer, ContainerSilent):
            raise answer
        return answer


def a_letting_go(table: SessionTable) -> LettingGo:
    """Return what lets go of slots, on the running loop's clock."""
    loop = asyncio.get_running_loop()
    return LettingGo(table, loop.time, loop.call_later)


def a_keeper(
    table: SessionTable,
    models: Callable[[], Mapping[ModelKey, Model]] = dict,
    on_end: Callable[[Ended], None] = lambda end: None,
    knows: Callable[[RunnerId], bool] = lambda runner: True,
    store: FakeStore | None = None,
    letting_go: LettingGo | None = None,
    lost_s: Callable[[float], float] = lambda since: 0.0,
    **settings: Any,
) -> Keeper:
    letting_go = letting_go or a_letting_go(table)
    store = store or FakeStore()
    return Keeper(
        StreamsSettings(**settings), table, letting_go, store, FakeContainers(), models, knows, on_end, lost_s
    )

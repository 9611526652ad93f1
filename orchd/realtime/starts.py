"""How a stream is started at its container, and how the container is asked about it later."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Protocol

from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.live_runner import SESSION_ID
from orchd.domain.model import Model
from orchd.domain.stores import StreamStore
from orchd.realtime.container import ContainerSilent, Reply
from orchd.realtime.records import StreamRecords
from orchd.realtime.routes import StreamCall
from orchd.realtime.session_channels import NoChannels, SessionChannels
from orchd.realtime.stream import Stream, Streams
from orchd.tasks import cancel, spawn

STREAM_ID = "X-Stream-Id"


class Containers(Protocol):
    async def call(
        self, model: Model, address: Address, call: StreamCall, *, headers: Mapping[str, str], body: bytes
    ) -> Reply | None: ...


class KnownRunners(Protocol):
    """What is served, and where; `reconcile.loop.Loop` is one."""

    def models(self) -> Mapping[ModelKey, Model]:
        """Return what is served now."""
        ...

    def knows(self, runner: RunnerId) -> bool:
        """Return whether a runner is there, or nobody can say yet."""
        ...

    def given_up(self, runner: RunnerId) -> str:
        """Return why nothing can be expected of a runner any more that is not replaced; empty = it serves."""
        ...


class StreamStarts:
    """Starts streams at their containers. The base of `StreamEndings`, which see."""

    def __init__(self, store: StreamStore, containers: Containers, runners: KnownRunners) -> None:
        self.streams = Streams()
        self._records = StreamRecords(store)
        self.containers = containers
        self._runners = runners
        self._starts: dict[Stream, asyncio.Task[Reply | ContainerSilent | NoChannels | None]] = {}

    async def close(self) -> None:
        """Let go: streams and containers go on."""
        await cancel(*self._starts.values())
        await self._records.close()

    def start(
        self,
        stream: Stream,
        model: Model,
        headers: Mapping[str, str],
        body: bytes,
        channels: SessionChannels | None = None,
    ) -> Coroutine[Any, Any, Reply | None]:
        """Note it on the disk and ask the container to start it. The answer can be awaited; None = no such route.

        This goes on when the one who waits for it leaves: a stop must not overtake the start.

        Args:
            channels: its media are to go through these; None = the body names them.

        Raises:
            ContainerSilent: when awaited.
            NoChannels: when awaited; the container was not asked.
        """
        stream.asked, stream.kept, stream.channels = True, True, channels
        asking = self._ask_to_start(stream, model, headers, body)
        start = self._starts[stream] = spawn(asking, name="start a stream")
        return _answer_to(start)

    async def _ask_to_start(
        self, stream: Stream, model: Model, headers: Mapping[str, str], body: bytes
    ) -> Reply | ContainerSilent | NoChannels | None:
        channels = stream.channels
        try:
            made = None if channels is None else await channels.make()
            await self._records.save(stream)
            if channels is None or made is None:
                return await self.ask(stream, StreamCall.START, model, headers, body)
            reply = await self.ask(stream, StreamCall.START, model, headers, made.start(body, stream.id, model))
            if reply is not None and reply.status < 300:
                return Reply(200, ((b"Content-Type", b"application/json"),), made.answer(stream.id))
            await self._remove_channels(stream)
            return reply
        except ContainerSilent as exc:
            return exc
        except NoChannels as exc:
            stream.asked, stream.channels = False, None
            return exc
        finally:
            del self._starts[stream]

    async def ask(
        self, stream: Stream, call: StreamCall, model: Model, headers: Mapping[str, str], body: bytes
    ) -> Reply | None:
        """Ask the container of a stream, naming the stream: it may have others. None = it has no such route.

        Args:
            headers: of the one who asks; names of streams in them don't count.

        Raises:
            ContainerSilent.
        """
        named = {name: value for name, value in headers.items() if name.lower() != STREAM_ID.lower()}
        named[STREAM_ID] = stream.id
        if stream.origin.reserved:
            named = {name: value for name, value in named.items() if name.lower() != SESSION_ID.lower()}
            named[SESSION_ID] = stream.id
        return await self.containers.call(model, stream.session.address, call, headers=named, body=body)

    async def _remove_channels(self, stream: Stream) -> None:
        """Behind the container's last word: it has something to say there. The end of its session removes them, too."""
        channels, stream.channels = stream.channels, None
        if channels is not None and not stream.node_knows:
            await channels.remove()


async def _answer_to(start: asyncio.Task[Reply | ContainerSilent | NoChannels | None]) -> Reply | None:
    answer: Reply | ContainerSilent | NoChannels | None = await asyncio.shield(start)
    if isinstance(answer, Exception):
        raise answer
    return answer
